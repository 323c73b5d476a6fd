import CargoArtifact
import CargoFiles
import CargoQueue
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird

/// The product pages' own shapes over the same functions: none has logic of its own.
extension Gateway {
    private struct Message: Encodable {
        var messageID: String
        enum CodingKeys: String, CodingKey { case messageID = "message_id" }
    }

    private struct Output: Encodable {
        var messageID: String
        var status: String
        var result: JSONValue?
        var error: JobError?
        enum CodingKeys: String, CodingKey {
            case messageID = "message_id"
            case status, result, error
        }
    }

    private struct Submitted: Encodable {
        var id: String
        var jobID: String
        var status: JobStatus
        enum CodingKeys: String, CodingKey {
            case id
            case jobID = "job_id"
            case status
        }
    }

    /// Bytes of standard output that a result carries at most.
    private static let largestResult = 4 << 20

    func addDialects(to router: Router<GatewayContext>) {
        // Page 003: queue first.
        router.post("/gen/:task") { request, context in
            let task = try task(context)
            let wanted: ModelRequest.Operation? =
                switch task {
                case "instruct", "text-eval": .chat
                case "embeddings": .embeddings
                case "image": .images
                default: nil
                }
            let submission = try await submission(request, shape: "gen/" + task, wanted: wanted)
            return try Answer.json(Message(messageID: submission.job.key.id.description), status: .accepted)
        }
        router.get("/output/gen/:task/:id") { request, context in
            _ = try task(context)
            let key = try key(context, try caller(request, .read))
            let (record, result, _) = try await queue.store.job(key)
            var output = Output(messageID: key.id.description, status: record.state.status.rawValue)
            output.error = record.state.status.isFinal ? result.error : nil
            if record.state.status == .complete {
                output.result = try await whatItSaid(
                    key, record.state.attempt, isRequest: record.requirement.kind == Requirement.request)
            }
            return try Answer.json(output)
        }
        // Page 000: submit, look, acknowledge.
        router.post("/api/v1/jobs/submit") { request, _ in
            let submission = try await submission(request)
            let id = submission.job.key.id.description
            return try Answer.json(Submitted(id: id, jobID: id, status: submission.job.state.status), status: .accepted)
        }
        // `GET /api/v1/jobs/{id}` is shared with page 004: see `addWorkloads`.
        router.post("/api/v1/jobs/:id/acknowledge") { request, context in try await acknowledge(request, context) }
        router.post("/jobs/:id/ack") { request, context in try await acknowledge(request, context) }
    }

    private func task(_ context: GatewayContext) throws -> String {
        let tasks = ["instruct", "embeddings", "text-eval", "tts", "image"]
        guard let task = context.parameters.get("task"), tasks.contains(task) else {
            throw GatewayError(404, "unknown_task", "The tasks are \(tasks.joined(separator: ", ")).")
        }
        return task
    }

    /// The caller has the result: a job that has not ended cannot be acknowledged. What is kept of it goes soon.
    private func acknowledge(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let key = try key(context, try caller(request, .write))
        do {
            _ = try await queue.store.acknowledge(key, actor: "account:\(key.account)")
        } catch StoreError.wrongState(let status) {
            throw GatewayError(409, "not_finished", "The job is \(status.rawValue); acknowledge it once it has ended.")
        }
        return Answer.json(try await describe(key))
    }

    /// The text of a cargo that speaks in events; nil when it said no token.
    private func tokens(_ key: JobKey, _ attempt: Int) async throws -> String? {
        struct Token: Decodable {
            var type: String
            var content: String?
        }
        let queue = queue
        var reader = LogReader()
        var text = ""
        var rest: [UInt8] = []
        while text.utf8.count < Gateway.largestResult,
            let piece = try await queue.logBytes(key, attempt: attempt, stream: .event, from: &reader)
        {
            rest += piece
            while let end = rest.firstIndex(of: 10) {
                if let token = try? JSONDecoder().decode(Token.self, from: Data(rest[..<end])), token.type == "token" {
                    text += token.content ?? ""
                }
                rest.removeFirst(end + 1)
            }
        }
        return text.isEmpty ? nil : text
    }

    /// What the job printed, or the model answered: as JSON where it is JSON, else as text.
    func whatItSaid(_ key: JobKey, _ attempt: Int, isRequest: Bool) async throws -> JSONValue {
        let queue = queue
        var reader = LogReader()
        var bytes: [UInt8] = []
        while bytes.count < Gateway.largestResult,
            let piece = try await queue.logBytes(key, attempt: attempt, stream: isRequest ? .answer : .stdout, from: &reader)
        {
            bytes += piece
        }
        if bytes.isEmpty, let said = try await tokens(key, attempt) { return .string(said) }
        if let value = try? StrictJSON.parse(bytes, limit: Gateway.largestResult) { return value }
        return .string(String(decoding: bytes, as: UTF8.self))
    }
}
