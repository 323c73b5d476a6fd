import CargoArtifact
import CargoFiles
import CargoQueue
import CargoRegistry
import CargoSigning
import CargoStore
import CargoWire
import Crypto
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// The consumer's calls: submit, look, wait, cancel.
extension Gateway {
    func addJobs(to router: Router<GatewayContext>) {
        router.post("/jobs") { request, _ in try await submit(request) }
        router.get("/jobs") { request, _ in try await listJobs(request) }
        router.get("/jobs/:id") { request, context in try await getJob(request, context) }
        router.post("/jobs/:id/cancel") { request, context in
            let principal = try caller(request, .write)
            let key = try key(context, principal)
            let record = try await queue.store.cancel(key, actor: "account:\(principal.account)")
            if !record.state.status.isFinal, let host = record.state.host {
                await tunnels.cancelled(key.id.description, on: host)
            }
            let answer = try await describe(key)
            return Answer.json(answer, status: record.state.status.isFinal ? .ok : .accepted)
        }
        router.post("/jobs/:id/replay") { request, context in
            let principal = try caller(request, .write)
            let key = try key(context, principal)
            let hold = try await queue.usage.admit(principal)
            do {
                _ = try await queue.store.replay(key, actor: "account:\(principal.account)")
            } catch {
                queue.usage.release(hold)
                throw error
            }
            if let asked = try? await queue.request(of: key) {
                queue.charge(key.id, to: principal, model: asked.model, bytes: asked.body.utf8.count, hold: hold)
            } else {
                queue.usage.release(hold)
            }
            return Answer.json(try await describe(key), status: .accepted)
        }
        router.get("/jobs/:id/audit") { request, context in try await audit(request, context) }
        router.post("/uploads") { request, _ in
            let principal = try caller(request, .write)
            let announced = request.headers[.contentLength].flatMap { Int64($0) }
            try queue.store.admit(announced ?? 0, account: principal.account)
            try disk.check(announced ?? 0, .newWork)
            let upload = try await keep(request, for: .newWork) { digest, size in
                let upload = Upload(id: UUIDv7.make(), size: size, sha256: digest.hex)
                try await queue.store.addUpload(upload, account: principal.account)
                return upload
            }
            return try Answer.json(upload, status: .created)
        }
    }

    private func submit(_ request: Request) async throws -> Response {
        let submission = try await submission(request)
        if submission.repeated { return Answer.json(try await describe(submission.job.key), status: .accepted) }
        var response = Answer.json(receipt(submission.job, metadata: submission.metadata), status: .accepted)
        response.headers[.location] = "/jobs/\(submission.job.key.id)"
        return response
    }

    /// A job that was just taken, as its owner is told.
    func receipt(_ record: JobRecord, metadata: JSONValue?) -> Job {
        var job = JobView.job(record, JobResult())
        job.metadata = metadata
        job.notice = queue.obstacle(of: record)
        return job
    }

    /// A job that was taken, whatever shape it came in.
    struct Accepted {
        var job: JobRecord
        var repeated: Bool
        var metadata: JSONValue?
    }

    /// - Parameters:
    ///   - shape: which body a callback gets.
    ///   - wanted: what a model is to do, where the path says so.
    func submission(
        _ request: Request, shape: String = "job", wanted: ModelRequest.Operation? = nil
    ) async throws -> Accepted {
        let principal = try caller(request, .write)
        let bytes = try await bytes(of: request, limit: Gateway.largestJSON)
        var body = try Gateway.read(JobRequest.self, from: bytes, limit: Gateway.largestJSON)
        if body.model != nil, body.input == nil {
            // What is for the model may stand beside the job's own fields, as in a request that is answered at once.
            body.input = .object(try ModelAsk.fields(bytes).filter { !JobIntake.jobFields.contains($0.key) })
        }
        return try await accept(
            body, principal, shape: shape, wanted: wanted,
            idempotency: try Gateway.idempotency(request.headers[GatewayHeader.idempotencyKey], bytes),
            weighs: bytes.count, trace: Trace(request))
    }

    static func idempotency(_ key: String?, _ body: [UInt8]) throws -> NewJob.Idempotency? {
        guard let key else { return nil }
        guard !key.isEmpty, key.utf8.count <= 255 else {
            throw GatewayError(400, "invalid_header", "An Idempotency-Key has 1 to 255 bytes.")
        }
        return NewJob.Idempotency(operation: "submit", key: key, bodyDigest: Data(SHA256.hash(data: body)))
    }

    /// Takes a job, whatever shape it came in.
    func accept(
        _ body: JobRequest, _ principal: Principal, shape: String = "job", wanted: ModelRequest.Operation? = nil,
        idempotency: NewJob.Idempotency? = nil, weighs: Int = 4096, trace: Trace? = nil
    ) async throws -> Accepted {
        var intake = intake { operations(of: $0, for: principal) }
        intake.trace = trace
        let take = { [intake] () async throws -> Submission in
            var job = try await intake.job(body, account: principal.account, idempotency: idempotency, wanted: wanted)
            job.callback?.shape = shape
            return try await queue.store.submit(job)
        }
        var prompt: [UInt8] = []
        var expected = 0
        if body.model != nil, case .object(let fields)? = body.input {
            prompt = CanonicalJSON.encode(.object(fields))
            expected = ModelAsk.expected(fields, wanted ?? .chat, bytes: prompt.count)
        }
        // Limits of a key hold whatever its requests are called.
        let hold = try await queue.usage.admit(principal, expecting: expected)
        let submission: Submission
        do {
            // Only a job with files names blobs.
            submission = try await disk.submitting(weighs) {
                body.files?.isEmpty ?? true ? try await take() : try await blobGuard.naming(take)
            }
        } catch {
            queue.usage.release(hold)
            throw error
        }
        if let model = body.model, !submission.repeated {
            queue.charge(submission.job.key.id, to: principal, model: model, bytes: prompt.count, hold: hold)
        } else {
            queue.usage.release(hold)
        }
        return Accepted(job: submission.job, repeated: submission.repeated, metadata: body.metadata)
    }

    func intake(_ operations: @escaping @Sendable (String) -> Set<ModelRequest.Operation> = { _ in [] }) -> JobIntake {
        JobIntake(queue: queue, blobs: blobs, registry: registry, addresses: addresses, operations: operations)
    }

    private func listJobs(_ request: Request) async throws -> Response {
        let principal = try caller(request, .read)
        let query = request.uri.queryParameters
        let limit = try integer(request, "limit", 1...500) ?? 50
        let before = try query["before"].map { text in
            guard let id = JobID(text) else { throw GatewayError(400, "invalid_query", "'before' is the id of a job.") }
            return id
        }
        let status = try query["status"].map { text in
            guard let status = JobStatus(rawValue: String(text)) else {
                throw GatewayError(
                    400, "invalid_query", "'status' is one of \(JobStatus.allCases.map(\.rawValue).joined(separator: ", ")).")
            }
            return status
        }
        let records = try await queue.store.jobs(of: principal.account, status: status, before: before, limit: limit)
        let jobs = records.map { JobView.job($0.0, $0.1) }
        let next = records.count == limit ? records.last?.0.key.id.description : nil
        return try Answer.json(JobList(jobs: jobs, next: next))
    }

    private func getJob(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try caller(request, .read)
        let key = try key(context, principal)
        let wait = try wait(request, most: 60)
        let (record, result, metadata) = try await queue.job(key, wait: wait)
        return Answer.json(try view(record, result, metadata: metadata))
    }

    /// The job with what stands in its way.
    func view(_ record: JobRecord, _ result: JobResult, metadata: Data?) throws -> Job {
        var job = try JobView.job(record, result, metadata: metadata)
        if let obstacle = queue.obstacle(of: record) { job.notice = obstacle }
        if record.state.status.isFinal { job.auditHead = try signedHead(of: record) }
        return job
    }

    /// A DSSE envelope over the last row of the job's audit trail.
    private func signedHead(of record: JobRecord) throws -> JSONValue {
        let head = AuditHead(
            job: record.key.id.description, sequence: record.sequence, head: hexadecimal(record.head))
        let envelope = try DSSE.sign(
            payload: try CanonicalJSON.encode(head), type: AuditHead.payloadType, key: identity)
        return try JSONDecoder().decode(JSONValue.self, from: Data(try envelope.json()))
    }

    func describe(_ key: JobKey) async throws -> Job {
        let (record, result, metadata) = try await queue.store.job(key)
        return try view(record, result, metadata: metadata)
    }

    private struct AuditRow: Encodable {
        var sequence: Int64
        var at: String
        var actor: String
        var status: JobStatus
        var attempt: Int
        var host: String?
        var detail: JSONValue
        var hash: String
    }

    private struct Audit: Encodable {
        var id: String
        var head: String
        /// Whether the chain holds, as this coordinator computes it; a client computes it again.
        var valid: Bool
        var transitions: [AuditRow]
        var signedHead: JSONValue
        /// PEM of the key that signed it.
        var key: String
        /// The Ed25519 keys of the hosts that worked on it, 32 bytes in base64, by the hosts' ids.
        var hosts: [String: String]

        enum CodingKeys: String, CodingKey {
            case id, head, valid, transitions, key, hosts
            case signedHead = "signed_head"
        }
    }

    /// Every transition of a job with its hash, so that a client can check the chain itself.
    private func audit(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let principal = try caller(request, .read)
        let key = try key(context, principal)
        let (record, _, _) = try await queue.store.job(key)
        // What was written since the record was read is left for the next time, so that head and rows agree.
        let rows = try await queue.store.transitions(of: key, after: 0, limit: 10_000).filter { $0.sequence <= record.sequence }
        guard let last = rows.last else { throw GatewayError.noSuchJob }
        var hosts: [String: String] = [:]
        for host in Set(rows.compactMap(\.host)) { hosts[host] = queue.directory.host(host)?.publicKey }
        let audit = Audit(
            id: key.id.description, head: hexadecimal(last.hash), valid: AuditChain.firstBreak(in: rows, of: key.id) == nil,
            transitions: try rows.map { row in
                AuditRow(
                    sequence: row.sequence, at: row.at.text, actor: row.actor, status: row.status, attempt: row.attempt,
                    host: row.host, detail: try JSONDecoder().decode(JSONValue.self, from: row.detail),
                    hash: hexadecimal(row.hash))
            }, signedHead: try signedHead(of: record), key: identity.publicKey.pem, hosts: hosts)
        return try Answer.json(audit)
    }
}

/// A job as its owner sees it.
enum JobView {
    static func job(_ record: JobRecord, _ result: JobResult) -> Job {
        var job = Job(
            id: record.key.id.description, status: record.state.status, tier: record.tier, priority: record.priority,
            attempt: record.state.attempt, createdAt: record.createdAt.text)
        switch record.requirement.kind {
        case Requirement.image: job.image = record.cargo
        case Requirement.request: job.model = record.cargo
        default: job.cargo = record.cargo
        }
        job.digest = record.digest
        job.host = record.state.host
        job.startedAt = record.startedAt?.text
        job.finishedAt = record.finishedAt?.text
        if record.state.status.isFinal {
            job.exit = result.exit
            job.exitCode = result.exit?.exitCode
            job.error = result.error
            job.outputs = result.outputs
        } else if record.state.cancelRequested {
            job.notice = "Cancel was asked for; the host is told at its next heartbeat."
        } else if record.state.status == .queued, let error = result.error {
            job.notice = "It is tried again after: \(error.message)"
        }
        return job
    }

    static func job(_ record: JobRecord, _ result: JobResult, metadata: Data?) throws -> Job {
        var job = job(record, result)
        job.metadata = try metadata.map { try JSONDecoder().decode(JSONValue.self, from: $0) }
        return job
    }
}
