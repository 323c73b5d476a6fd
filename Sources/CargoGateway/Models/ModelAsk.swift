import CargoArtifact
import CargoQueue
import CargoWire
import Crypto
import FoundationEssentials
import HTTPTypes
import Hummingbird

/// One request to a model, whatever dialect it came in: what becomes a job.
struct ModelAsk: Sendable {
    var operation: ModelRequest.Operation
    var model: String
    /// JSON text in OpenAI's shape.
    var body: String
    var stream: Bool
    /// Seconds until whoever waits is told that it takes too long.
    var patience: Double
    /// Context tier, by the size of its prompt.
    var tier: Int
    /// Tokens that it will take, as far as its client has said.
    var expected: Int
    /// Its client's trace.
    var trace: Trace?

    /// Bytes of a request's body at most: images travel inside.
    static let largestBody = 32 << 20
    /// Seconds that a request may take when its client does not say, and at most; OpenAI's clients wait as long.
    static let usualPatience = 600.0
    static let longestPatience = 3600.0
    /// Seconds that request and answer are kept.
    static let retention = 3600.0
    /// Hosts that are asked before a request fails, as long as none has begun to answer.
    static let attempts = 3

    /// - Parameter name: the field that names the model.
    init(
        _ operation: ModelRequest.Operation, _ bytes: [UInt8], model name: String = "model", patience: Double
    ) throws {
        let fields = try ModelAsk.fields(bytes)
        guard case .string(let model)? = fields[name], !model.isEmpty, model.utf8.count <= 256 else {
            throw GatewayError(
                400, "invalid_body", "The field '\(name)' names the model; GET /v1/models lists those that are served.",
                param: name)
        }
        var stream = false
        switch fields["stream"] {
        case nil, .null?: break
        case .bool(let value)?: stream = value
        default: throw GatewayError(400, "invalid_body", "The field 'stream' is true or false.", param: "stream")
        }
        self.init(
            operation, model: model, body: String(decoding: bytes, as: UTF8.self), stream: stream, patience: patience,
            tier: ModelAsk.tier(of: fields), expected: ModelAsk.expected(fields, operation, bytes: bytes.count))
    }

    /// One that this server wrote itself, out of fields in another shape.
    init(_ operation: ModelRequest.Operation, model: String, fields: [String: JSONValue], stream: Bool, patience: Double) {
        let bytes = CanonicalJSON.encode(.object(fields))
        self.init(
            operation, model: model, body: String(decoding: bytes, as: UTF8.self), stream: stream, patience: patience,
            tier: ModelAsk.tier(of: fields), expected: ModelAsk.expected(fields, operation, bytes: bytes.count))
    }

    private init(
        _ operation: ModelRequest.Operation, model: String, body: String, stream: Bool, patience: Double, tier: Int,
        expected: Int
    ) {
        self.operation = operation
        self.model = model
        self.body = body
        self.stream = stream
        self.patience = patience
        self.tier = tier
        self.expected = expected
    }

    /// Tokens of an answer whose client names no bound, and at most.
    private static let usualAnswer: Int64 = 1024
    private static let largestAnswer: Int64 = 1 << 20

    /// A token is four bytes of the request, about, and an answer as long as it may be.
    static func expected(_ fields: [String: JSONValue], _ operation: ModelRequest.Operation, bytes: Int) -> Int {
        func number(_ name: String) -> Int64? {
            if case .integer(let value)? = fields[name], value >= 0 { min(value, largestAnswer) } else { nil }
        }
        guard operation == .chat || operation == .completions else { return bytes / 4 }
        let one = number("max_completion_tokens") ?? number("max_tokens") ?? usualAnswer
        return bytes / 4 + Int(min(one * max(1, number("n") ?? 1), largestAnswer))
    }

    /// By what the model reads, wherever it stands.
    private static func tier(of fields: [String: JSONValue]) -> Int {
        let prompt = ["messages", "prompt", "input"].compactMap { fields[$0] }
        return JobIntake.tier(of: .array(prompt))
    }

    static func fields(_ bytes: [UInt8]) throws -> [String: JSONValue] {
        guard case .object(let fields) = try StrictJSON.parse(bytes, limit: largestBody) else {
            throw GatewayError(400, "invalid_body", "The body is a JSON object.")
        }
        return fields
    }

    /// How long the client itself waits, by the headers that say so.
    static func patience(_ request: Request) throws -> Double {
        if let text = request.headers[ModelHeader.timeout] {
            guard let seconds = Seconds(text), seconds.value > 0 else {
                throw GatewayError(400, "invalid_header", "Longshore-Timeout is a time such as 30s.")
            }
            return min(seconds.value, longestPatience)
        }
        let told = request.headers[ModelHeader.stainlessTimeout].flatMap(Double.init) ?? usualPatience
        return told > 0 ? min(told, longestPatience) : usualPatience
    }

    /// The job: found by hosts that serve the model, tried again until one has begun to answer.
    func job(account: Int64, idempotency: NewJob.Idempotency?) throws -> NewJob {
        var claimed = ClaimedJob(id: "", attempt: 0, tier: tier, priority: 50)
        claimed.request = request
        claimed.timeout = Seconds(patience)
        var job = NewJob(
            id: nil, account: account, tier: tier, priority: 50, maxAttempts: ModelAsk.attempts, cargo: model, digest: nil,
            requirement: Requirement(model: model, tier: tier), spec: try JobSpec.encode(claimed), metadata: nil, files: [:],
            retention: ModelAsk.retention, idempotency: idempotency)
        job.trace = trace
        return job
    }

    /// As its host gets it.
    var request: ModelRequest {
        ModelRequest(operation: operation, model: model, body: body, stream: stream, trace: trace)
    }
}

/// Headers of requests to models and of their answers; each is a valid token (RFC 9110, section 5.1).
// swift-format-ignore: NeverForceUnwrap
enum ModelHeader {
    /// The request's job: who is cut off comes back with it.
    static let job = HTTPField.Name("Longshore-Job")!
    static let timeout = HTTPField.Name("Longshore-Timeout")!
    /// W3C Trace Context.
    static let traceParent = HTTPField.Name("traceparent")!
    static let traceState = HTTPField.Name("tracestate")!
    /// What OpenAI's and Anthropic's clients show as the id of a request.
    static let requestID = HTTPField.Name("X-Request-Id")!
    static let anthropicRequestID = HTTPField.Name("Request-Id")!
    /// Seconds that OpenAI's and Anthropic's clients wait for the next bytes.
    static let stainlessTimeout = HTTPField.Name("X-Stainless-Read-Timeout")!
    static let anthropicVersion = HTTPField.Name("Anthropic-Version")!
    static let apiKey = HTTPField.Name("X-Api-Key")!
}
