import CargoArtifact
import CargoQueue
import CargoScheduler
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// Page 000's host side: a worker browses what waits, then claims one job; who claims first has it. The same store, leases and
/// tokens as under `/hosts`: a worker is a host, and what it reports names its lease.
extension Gateway {
    private struct Registration: Decodable, Sendable {
        var name: String?
        var publicKey: String?
        var proof: JSONValue?

        enum CodingKeys: String, CodingKey {
            case name, proof
            case publicKey = "public_key"
        }
    }

    private struct Login: Decodable, Sendable {
        var nodeID: String
        var secretKey: String

        enum CodingKeys: String, CodingKey {
            case nodeID = "node_id"
            case secretKey = "secret_key"
        }
    }

    private struct WorkerCredentials: Encodable {
        var nodeID: String
        var secretKey: String?
        var workerToken: String
        var tokenType = "bearer"

        enum CodingKeys: String, CodingKey {
            case nodeID = "node_id"
            case secretKey = "secret_key"
            case workerToken = "worker_token"
            case tokenType = "token_type"
        }
    }

    private struct Offers: Encodable {
        var jobs: [WorkerOffer]
        var count: Int
        var message: String
    }

    func addWorkers(to router: Router<GatewayContext>) {
        let base = "/api/v1/workers"
        router.post("\(base)/register") { request, _ in
            let principal = try caller(request, .host)
            guard principal.host == nil else {
                throw GatewayError(403, "forbidden", "A host's own token registers no hosts; use an account's key.")
            }
            let ask = try await body(Registration.self, of: request, limit: 1 << 20)
            let registration = HostRegistration(name: ask.name ?? "worker", publicKey: ask.publicKey, proof: ask.proof)
            try Gateway.check(registration)
            let host = try await register(registration, by: principal)
            return try Answer.json(
                WorkerCredentials(nodeID: host.id, secretKey: host.token, workerToken: host.token), status: .created)
        }
        router.post("\(base)/login") { request, _ in
            let ask = try await body(Login.self, of: request, limit: 65536)
            guard queue.directory.authenticate(ask.secretKey)?.host == ask.nodeID else {
                throw GatewayError(401, "unauthorized", "There is no such worker with this secret; register it again.")
            }
            return try Answer.json(WorkerCredentials(nodeID: ask.nodeID, workerToken: ask.secretKey))
        }
        router.post("\(base)/heartbeat") { request, _ in
            let (host, _) = try worker(request)
            let beat = try await body(WorkerBeat.self, of: request, limit: 1 << 20)
            guard beat.models?.count ?? 0 <= 256, (1...4).contains(beat.maxContextTier ?? 4) else {
                throw GatewayError(
                    422, "invalid_heartbeat", "A worker has at most 256 models, and a 'max_context_tier' from 1 to 4.")
            }
            queue.heard(host, circled(beat.hostCapabilities, host))
            return Answer.bytes(ByteBuffer(string: #"{"status":"ok"}"#))
        }
        router.get("\(base)/jobs/available") { request, _ in
            let (host, _) = try worker(request)
            let limit = try integer(request, "limit", 1...100) ?? 5
            let capabilities = circled(queue.board.seen(host)?.capabilities ?? HostCapabilities(kinds: []), host)
            let jobs = try await queue.offers(ClaimAsk(host: host, capabilities: capabilities, claimID: nil), limit: limit)
            let offers = jobs.map {
                WorkerOffer($0, asked: queue.board.seen(host)?.report?.asked(for: $0.requirement.model) ?? 0)
            }
            let message = offers.isEmpty ? "Nothing waits that this worker could run." : "Claim one; looking reserves nothing."
            return try Answer.json(Offers(jobs: offers, count: offers.count, message: message))
        }
        router.post("\(base)/jobs/:id/claim") { request, context in
            let (host, _) = try worker(request)
            let id = try jobID(context)
            var ask = ClaimAsk(
                host: host, capabilities: circled(queue.board.seen(host)?.capabilities ?? HostCapabilities(kinds: []), host),
                claimID: nil)
            ask.only = id
            guard let granted = try await queue.claim(ask, wait: 0) else {
                throw GatewayError(409, "not_available", "Another worker has this job, or it waits no longer; look again.")
            }
            guard context.channel.isActive else {
                try await queue.store.undelivered(granted)
                return Response(status: .noContent)
            }
            return try Answer.json(JSONValue.object(try WorkerJob.fields(granted)))
        }
        router.post("\(base)/jobs/:id/complete") { request, context in
            let (_, principal) = try worker(request)
            let done = try await body(WorkerResult.self, of: request, limit: Gateway.largestReport)
            return try await finish(try jobID(context), done, principal).response
        }
        router.post("\(base)/jobs/:id/fail") { request, context in
            let (_, principal) = try worker(request)
            let failed = try await body(WorkerFailure.self, of: request, limit: 1 << 20)
            let error = JobError(code: failed.code ?? "worker_failed", message: String(failed.message.prefix(4096)))
            let failure = Failure(lease: failed.lease, error: error, retryable: failed.retryable)
            return try await fail(try jobID(context), Array(try Answer.encoder.encode(failure)), principal).response
        }
    }

    /// The host that calls with its own token.
    private func worker(_ request: Request) throws -> (host: String, Principal) {
        let principal = try caller(request, .host)
        guard let host = principal.host else {
            throw GatewayError(
                403, "forbidden", "A worker calls with its own token, which POST /api/v1/workers/register gave it.")
        }
        return (host, principal)
    }

    private func circled(_ capabilities: HostCapabilities, _ host: String) -> HostCapabilities {
        var capabilities = capabilities
        capabilities.circles = queue.groups.circles(ofHost: host)
        return capabilities
    }

    /// The result as the attempt's log or answer, then its end: the same calls that a host makes.
    private func finish(_ id: JobID, _ done: WorkerResult, _ principal: Principal) async throws -> HostReply {
        try check(done.lease, principal)
        let (key, _) = try await queue.store.holder(id, done.lease)
        let (record, _, _) = try await queue.store.job(key)
        var beat = Heartbeat(lease: done.lease, state: .processing)
        let isRequest = record.requirement.kind == Requirement.request
        let bytes: [UInt8]
        if isRequest {
            let request = try await queue.request(of: key)
            let (head, body) = try done.answer(to: request, id: id.description)
            bytes = body
            beat.answer = head
        } else {
            bytes = done.text
        }
        if !bytes.isEmpty {
            let chunk = LogChunk(stream: isRequest ? .answer : .stdout, offset: 0, data: String(decoding: bytes, as: UTF8.self))
            beat.logs = [chunk]
        }
        let beaten = try await heartbeat(id, Array(try Answer.encoder.encode(beat)), principal)
        guard beaten.status == 200, let reply = try? JSONDecoder().decode(HeartbeatReply.self, from: Data(beaten.body)) else {
            return beaten
        }
        guard reply.durableOffset >= Int64(bytes.count) else { throw GatewayError.diskFull }
        var end = Completion(lease: done.lease, exit: ExitReport(exitCode: done.exitCode ?? 0), outputs: [])
        (end.answer, end.usage, end.logBytes) = (beat.answer, done.usage, Int64(bytes.count))
        return try await complete(id, Array(try Answer.encoder.encode(end)), principal)
    }
}

/// What a worker says of itself.
struct WorkerBeat: Decodable, Sendable {
    struct Model: Decodable, Sendable {
        var id: String
        var platform: String?
    }

    var models: [Model]?
    var maxContextTier: Int?
    var docker: Bool?
    var capabilities: JSONValue?
    var region: String?

    enum CodingKeys: String, CodingKey {
        case models, docker, capabilities, region
        case maxContextTier = "max_context_tier"
    }

    /// A list of words, or an object of truths.
    private var words: Set<String> {
        switch capabilities {
        case .array(let elements)?: Set(elements.compactMap(\.text))
        case .object(let members)?: Set(members.filter { $0.value == .bool(true) }.keys)
        default: []
        }
    }

    var hostCapabilities: HostCapabilities {
        var host = HostCapabilities(kinds: ["process"])
        host.docker = docker == true || words.contains("docker")
        host.maxContextTier = maxContextTier
        host.region = region
        host.models = (models ?? []).map {
            ServedModel(id: $0.id, source: .endpoint, operations: [.chat, .completions, .embeddings], active: 0, slots: 1)
        }
        return host
    }
}

/// A job that a worker may claim.
struct WorkerOffer: Encodable {
    var jobID: String
    var model: String
    var type: String
    var priority: String
    /// Credits, as this worker asks.
    var estimatedReward: Double
    var createdAt: String
    var retryCount: Int
    /// Seconds after which it is worth looking again.
    var expiresIn = 30

    init(_ job: JobRecord, asked: Double) {
        jobID = job.key.id.description
        model = job.cargo ?? ""
        type =
            switch job.requirement.kind {
            case Requirement.request: "llm"
            case Requirement.image: "docker"
            default: "cargo"
            }
        priority = job.priority > 50 ? "high" : job.priority < 50 ? "low" : "normal"
        estimatedReward = asked
        createdAt = job.createdAt.text
        retryCount = job.state.attempt
    }

    enum CodingKeys: String, CodingKey {
        case model, type, priority
        case jobID = "job_id"
        case estimatedReward = "estimated_reward"
        case createdAt = "created_at"
        case retryCount = "retry_count"
        case expiresIn = "expires_in"
    }
}

/// A claimed job in a worker's words, with the whole of it beside them.
enum WorkerJob {
    static func fields(_ granted: GrantedClaim) throws -> [String: JSONValue] {
        let whole = try StrictJSON.parse(JobSpec.claim(granted), limit: ModelAsk.largestBody * 2).members
        let job = whole["job"]?.members ?? [:]
        var fields: [String: JSONValue] = [
            "job_id": .string(granted.job.key.id.description), "job": .object(job), "lease": whole["lease"] ?? .null,
            "model_id": .string(granted.job.cargo ?? ""), "platform": .null,
        ]
        guard let request = job["request"]?.members, let text = request["body"]?.text,
            case .object(let body)? = try? StrictJSON.parse(Array(text.utf8), limit: ModelAsk.largestBody)
        else {
            fields["job_type"] = .string(granted.job.requirement.kind == Requirement.image ? "docker" : "cargo")
            fields["input_data"] = job["input"] ?? .null
            return fields
        }
        if request["operation"]?.text == ModelRequest.Operation.embeddings.rawValue {
            fields["job_type"] = .string("embed")
            let input = body["input"] ?? .null
            fields["input_data"] = .object(["texts": input.text == nil ? input : .array([input])])
        } else {
            fields["job_type"] = .string("llm")
            let last = body["messages"]?.elements.last?.members["content"]
            fields["input_data"] = body["prompt"] ?? last ?? body["input"] ?? .null
            fields["messages"] = body["messages"]
        }
        let parameters = body.filter { !["model", "messages", "prompt", "input", "stream", "stream_options"].contains($0.key) }
        fields["parameters"] = .object(parameters)
        return fields
    }
}

/// What a worker made of a job.
struct WorkerResult: Decodable, Sendable {
    var lease: Lease
    /// A text, vectors for an embedding, or an answer in OpenAI's shape.
    var result: JSONValue?
    var exitCode: Int?
    var usage: ModelUsage?

    enum CodingKeys: String, CodingKey {
        case lease, result, usage
        case exitCode = "exit_code"
    }

    var text: [UInt8] {
        switch result {
        case nil, .null?: []
        case .string(let text)?: Array(text.utf8)
        case let value?: CanonicalJSON.encode(value)
        }
    }

    /// The result as the model's answer in OpenAI's shape.
    func answer(to request: ModelRequest, id: String) throws -> (AnswerHead, [UInt8]) {
        let result = result ?? .string("")
        let isShaped = result.members["choices"] != nil || result.members["data"] != nil
        guard !request.stream else {
            guard let text = result.text ?? WorkerResult.said(result) else { throw WorkerResult.unfit }
            let choice: JSONValue = .object([
                "index": .integer(0), "finish_reason": .string("stop"),
                "delta": .object(["role": .string("assistant"), "content": .string(text)]), "text": .string(text),
            ])
            let chunk = shape("chat.completion.chunk", id, request.model, ["choices": .array([choice])])
            return (
                AnswerHead(status: 200, contentType: "text/event-stream"),
                Array("data: ".utf8) + CanonicalJSON.encode(chunk) + Array("\n\ndata: [DONE]\n\n".utf8)
            )
        }
        let head = AnswerHead(status: 200, contentType: "application/json")
        if isShaped { return (head, CanonicalJSON.encode(result)) }
        switch request.operation {
        case .embeddings:
            let rows = result.members["embeddings"]?.elements ?? result.elements
            guard !rows.isEmpty, rows.allSatisfy({ !$0.elements.isEmpty }) else { throw WorkerResult.unfit }
            let data = rows.enumerated().map { index, row in
                JSONValue.object(["object": .string("embedding"), "index": .integer(Int64(index)), "embedding": row])
            }
            return (head, CanonicalJSON.encode(shape("list", id, request.model, ["data": .array(data)])))
        case .chat, .completions:
            guard let text = result.text else { throw WorkerResult.unfit }
            var choice: [String: JSONValue] = ["index": .integer(0), "finish_reason": .string("stop")]
            if request.operation == .chat {
                choice["message"] = .object(["role": .string("assistant"), "content": .string(text)])
            } else {
                choice["text"] = .string(text)
            }
            let name = request.operation == .chat ? "chat.completion" : "text_completion"
            return (head, CanonicalJSON.encode(shape(name, id, request.model, ["choices": .array([.object(choice)])])))
        case .images, .infer: throw WorkerResult.unfit
        }
    }

    private static let unfit = GatewayError(
        422, "invalid_result", "'result' is a text, a list of vectors for an embedding, or the answer in OpenAI's shape.")

    private static func said(_ value: JSONValue) -> String? {
        let choice = value.members["choices"]?.elements.first?.members ?? [:]
        return choice["message"]?.members["content"]?.text ?? choice["text"]?.text
    }

    private func shape(_ object: String, _ id: String, _ model: String, _ more: [String: JSONValue]) -> JSONValue {
        var fields: [String: JSONValue] = [
            "id": .string(id), "object": .string(object), "created": .integer(0), "model": .string(model),
        ]
        if let usage {
            let (prompt, completion) = (usage.promptTokens ?? 0, usage.completionTokens ?? 0)
            fields["usage"] = .object([
                "prompt_tokens": .integer(Int64(prompt)), "completion_tokens": .integer(Int64(completion)),
                "total_tokens": .integer(Int64(prompt + completion)),
            ])
        }
        return .object(fields.merging(more) { $1 })
    }
}

/// Why a worker could not do a job: a sentence, or a code and a sentence.
struct WorkerFailure: Decodable, Sendable {
    var lease: Lease
    var error: JSONValue
    var retryable: Bool?

    var code: String? {
        error.members["code"]?.text.flatMap { (1...64).contains($0.utf8.count) ? $0 : nil }
    }

    var message: String { error.text ?? error.members["message"]?.text ?? "The worker gave no reason." }
}
