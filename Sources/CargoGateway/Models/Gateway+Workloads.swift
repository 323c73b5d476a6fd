import CargoArtifact
import CargoQueue
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// Page 004 of the products: a job is a workload and its input. A workload is a model that is served, or a cargo.
extension Gateway {
    /// The body of `POST /api/v1/jobs`.
    private struct WorkloadRequest: Decodable, Sendable {
        var workload: String
        var input: JSONValue?
        var priority: Int?
        var region: String?
    }

    /// A job in page 004's words.
    private struct Workload: Encodable {
        var id: String
        var workloadID: String
        var workloadSlug: String
        var status: String
        var output: JSONValue?
        var error: String?
        var usage: ModelUsage?
        var createdAt: String
        var startedAt: String?
        var completedAt: String?

        init(_ job: Job, output: JSONValue? = nil) {
            id = job.id
            let name = job.model ?? job.cargo ?? job.image ?? ""
            (workloadID, workloadSlug) = (job.digest ?? name, name)
            status = Workload.word(job)
            self.output = output
            error = job.error?.message
            (createdAt, startedAt, completedAt) = (job.createdAt, job.startedAt, job.finishedAt)
        }

        /// `pending queued running completed failed cancelled timeout`
        private static func word(_ job: Job) -> String {
            switch job.status {
            case .queued: "queued"
            case .provisioning, .processing: "running"
            case .complete: "completed"
            case .cancelled: "cancelled"
            case .error: job.error?.code == JobErrorCode.timedOut.rawValue ? "timeout" : "failed"
            }
        }

        enum CodingKeys: String, CodingKey {
            case id, status, output, error, usage
            case workloadID = "workload_id"
            case workloadSlug = "workload_slug"
            case createdAt = "created_at"
            case startedAt = "started_at"
            case completedAt = "completed_at"
        }
    }

    private struct Envelope<Value: Encodable>: Encodable { var data: Value }

    /// Page 000's fields, and 004's under `data`: the two pages share the path.
    private struct SharedJob: Encodable {
        var job: Job
        var data: Workload
        var result: JSONValue?

        enum CodingKeys: String, CodingKey {
            case data, result
            case errorMessage = "error_message"
        }

        func encode(to encoder: any Encoder) throws {
            try job.encode(to: encoder)
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(data, forKey: .data)
            try container.encodeIfPresent(result, forKey: .result)
            try container.encodeIfPresent(job.error?.message, forKey: .errorMessage)
        }
    }

    func addWorkloads(to router: Router<GatewayContext>) {
        router.post("/api/v1/jobs") { request, _ in
            let key = try await submitWorkload(request)
            var workload = Workload(try await describe(key))
            workload.status = "submitted"
            var response = try Answer.json(Envelope(data: workload), status: .created)
            response.headers[.location] = "/api/v1/jobs/\(key.id)"
            return response
        }
        router.get("/api/v1/jobs") { request, _ in
            let principal = try caller(request, .read)
            let limit = try integer(request, "limit", 1...100) ?? 20
            let offset = try integer(request, "offset", 0...10_000) ?? 0
            let records = try await queue.store.jobs(of: principal.account, status: nil, before: nil, limit: limit + offset)
            return try Answer.json(Envelope(data: records.dropFirst(offset).map { Workload(JobView.job($0.0, $0.1)) }))
        }
        router.get("/api/v1/jobs/:id") { request, context in
            let key = try key(context, try caller(request, .read))
            let job = try await describe(key)
            let said = try await said(by: job, key)
            return try Answer.json(SharedJob(job: job, data: Workload(job, output: said.map(Gateway.plain)), result: said))
        }
        router.get("/api/v1/jobs/:id/output") { request, context in
            let key = try key(context, try caller(request, .read))
            let job = try await describe(key)
            return try Answer.json(Envelope(data: Workload(job, output: try await said(by: job, key).map(Gateway.plain))))
        }
        router.delete("/api/v1/jobs/:id") { request, context in
            let principal = try caller(request, .write)
            let key = try key(context, principal)
            _ = try await queue.store.cancel(key, actor: "account:\(principal.account)")
            return try Answer.json(Envelope(data: Workload(try await describe(key))))
        }
        router.get("/api/v1/jobs/:id/stream") { request, context in
            let principal = try caller(request, .read)
            return try await workloadStream(try key(context, principal), reader: principal.keyID)
        }
    }

    private func submitWorkload(_ request: Request) async throws -> JobKey {
        let principal = try caller(request, .write)
        let wanted = try await body(WorkloadRequest.self, of: request)
        let isModel = !operations(of: wanted.workload, for: principal).isEmpty
        var job = isModel ? JobRequest(model: wanted.workload) : JobRequest(cargo: wanted.workload)
        job.input = wanted.input ?? .object([:])
        if isModel, case .object(var members) = job.input {
            // Its readers follow the tokens.
            members["stream"] = .bool(true)
            members["stream_options"] = .object(["include_usage": .bool(true)])
            job.input = .object(members)
        }
        job.priority = wanted.priority
        if let region = wanted.region { job.constraints = JobRequest.Constraints(region: region) }
        return try await accept(job, principal, trace: Trace(request)).job.key
    }

    private func said(by job: Job, _ key: JobKey) async throws -> JSONValue? {
        guard job.status == .complete else { return nil }
        return try await whatItSaid(key, job.attempt, isRequest: job.model != nil)
    }

    /// The text of a chat's answer, whole or as a stream; anything else as it is.
    private static func plain(_ said: JSONValue) -> JSONValue {
        if case .string(let text) = said, text.hasPrefix("data:") {
            var splitter = EventSplitter()
            let events = (try? splitter.feed(Array(text.utf8))) ?? []
            return .string(
                events.compactMap { data -> String? in
                    let chunk = try? StrictJSON.parse(data, limit: EventSplitter.largestEvent)
                    let choice = chunk?.members["choices"]?.elements.first?.members ?? [:]
                    return choice["delta"]?.members["content"]?.text ?? choice["text"]?.text
                }.joined())
        }
        let choice = said.members["choices"]?.elements.first?.members ?? [:]
        return choice["message"]?.members["content"] ?? choice["text"] ?? said
    }

    /// `{type: status|token|done|error …}` as the job goes on, whatever it is that runs.
    private func workloadStream(_ key: JobKey, reader: String) async throws -> Response {
        _ = try await queue.store.job(key)
        var headers = HTTPFields()
        headers[.contentType] = "text/event-stream"
        headers[.cacheControl] = "no-store"
        headers[GatewayHeader.accelBuffering] = "no"
        let queue = queue
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody { writer in
                var feed = EventFeed(queue, key, from: .start)
                defer { feed.close() }
                var words = WorkloadWords()
                while let events = try await feed.next(patience: Gateway.keepAlive) {
                    guard queue.directory.lives(reader) else {
                        try await writer.write(ByteBuffer(bytes: words.failure(.keyEnded)))
                        break
                    }
                    guard !events.isEmpty else {
                        try await writer.write(ByteBuffer(string: ": still here\n\n"))
                        continue
                    }
                    for event in events {
                        let out = try words.translate(event.event)
                        if !out.isEmpty { try await writer.write(ByteBuffer(bytes: out)) }
                    }
                }
                try await writer.finish(nil)
            })
    }
}

/// Turns a job's events into page 004's.
struct WorkloadWords {
    private var answer = EventSplitter()
    private var usage: JSONValue?
    /// The cargo said so itself.
    private var isDone = false

    mutating func translate(_ event: JobEvent) throws -> [UInt8] {
        switch event {
        case .status(let status):
            return status.status.isFinal
                ? end(status) : word(["type": .string("status"), "message": .string(status.status.rawValue)])
        case .progress(let value): return word(["type": .string("progress"), "progress": value])
        case .log(let chunk): return try said(chunk)
        // Page 004's own words.
        case .output(let event):
            let said = try? StrictJSON.parse(Array(event.line.utf8), limit: EventSplitter.largestEvent)
            if said?.members["type"] == .string("done") { isDone = true }
            return Array("data: \(event.line)\n\n".utf8)
        }
    }

    private mutating func said(_ chunk: LogChunk) throws -> [UInt8] {
        let bytes =
            chunk.data.map { Array($0.utf8) } ?? chunk.dataBase64.flatMap { Data(base64Encoded: $0) }.map { [UInt8]($0) } ?? []
        guard chunk.stream == .answer else {
            guard chunk.stream == .stdout else { return [] }
            return word(["type": .string("token"), "content": .string(String(decoding: bytes, as: UTF8.self))])
        }
        var out: [UInt8] = []
        for data in try answer.feed(bytes) {
            guard let piece = (try? StrictJSON.parse(data, limit: EventSplitter.largestEvent))?.members else { continue }
            if let usage = piece["usage"], usage != .null { self.usage = usage }
            let choice = piece["choices"]?.elements.first?.members ?? [:]
            guard let text = choice["delta"]?.members["content"]?.text ?? choice["text"]?.text, !text.isEmpty else { continue }
            out += word(["type": .string("token"), "content": .string(text)])
        }
        return out
    }

    /// How the stream says that it ends before its job.
    func failure(_ error: GatewayError) -> [UInt8] {
        word(["type": .string("error"), "message": .string(error.detail), "code": .string(error.code)])
    }

    private func end(_ status: StatusEvent) -> [UInt8] {
        guard status.status == .complete else {
            return word([
                "type": .string("error"), "message": .string(status.error?.message ?? status.status.rawValue),
                "code": .string(status.error?.code ?? status.status.rawValue),
            ])
        }
        var fields: [String: JSONValue] = ["type": .string("done")]
        fields["usage"] = usage
        return (isDone ? [] : word(fields)) + Array("data: [DONE]\n\n".utf8)
    }

    private func word(_ fields: [String: JSONValue]) -> [UInt8] {
        Array("data: ".utf8) + CanonicalJSON.encode(.object(fields)) + [10, 10]
    }
}
