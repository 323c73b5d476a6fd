public import CargoArtifact

/// One HTTP request to a model, as the gateway checked it.
public struct ModelRequest: Hashable, Sendable, Codable {
    /// What is asked of the model, by the path below `/v1` that asks it.
    public enum Operation: String, Hashable, Sendable, Codable, CaseIterable {
        case chat = "chat/completions"
        case completions
        case embeddings
        case images = "images/generations"
        /// The Open Inference Protocol (KServe V2): `inputs` and `outputs`.
        case infer
    }

    public var operation: Operation
    /// As the client named it.
    public var model: String
    /// JSON text in OpenAI's (or KServe's) shape; the backend gets it with its own model name.
    public var body: String
    /// The answer comes as server-sent events.
    public var stream: Bool
    /// Its client's trace, for the model server.
    public var trace: Trace?

    public init(operation: Operation, model: String, body: String, stream: Bool = false, trace: Trace? = nil) {
        self.operation = operation
        self.model = model
        self.body = body
        self.stream = stream
        self.trace = trace
    }
}

/// A model that a host can answer for now.
public struct ServedModel: Hashable, Sendable, Codable {
    /// Who runs it: an engine of this product's, or a server that was there.
    public enum Source: String, Hashable, Sendable, Codable { case cargo, endpoint }
    /// Where its weights are now: in (V)RAM, or on disk.
    public enum Presence: String, Hashable, Sendable, Codable { case loaded, stored }

    /// `publisher/name` of a cargo, or the server's own id.
    public var id: String
    public var source: Source
    /// The root manifest of a cargo.
    public var digest: String?
    public var operations: [ModelRequest.Operation]
    public var presence: Presence
    /// Tokens.
    public var context: Int?
    /// `gguf`, `onnx`, ….
    public var format: String?
    public var quantization: String?
    /// Requests now.
    public var active: Int
    /// Requests at once.
    public var slots: Int

    public init(
        id: String, source: Source, digest: String? = nil, operations: [ModelRequest.Operation], presence: Presence = .loaded,
        context: Int? = nil, format: String? = nil, quantization: String? = nil, active: Int = 0, slots: Int = 1
    ) {
        self.id = id
        self.source = source
        self.digest = digest
        self.operations = operations
        self.presence = presence
        self.context = context
        self.format = format
        self.quantization = quantization
        self.active = active
        self.slots = slots
    }
}

/// How the answer to a model request begins: its body follows as `answer` chunks of the log.
///
/// Hosts write it and clients read it, so one that no answer has is refused where it is read: a status that is neither 200
/// nor a failure (others have no body, or mean another protocol), a type that is no media type.
public struct AnswerHead: Hashable, Sendable, Codable {
    public var status: Int
    public var contentType: String
    /// The engine that answers. Never on the wire here: the signed outcome says it.
    public var engine: EngineRecord?

    public init(status: Int, contentType: String) {
        self.status = status
        self.contentType = contentType
    }

    enum CodingKeys: String, CodingKey {
        case status
        case contentType = "content_type"
    }

    /// Bytes of a media type at most.
    private static let largestType = 200

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        status = try container.decode(Int.self, forKey: .status)
        contentType = try container.decode(String.self, forKey: .contentType)
        guard status == 200 || (400...599).contains(status) else {
            throw DecodingError.dataCorruptedError(
                forKey: .status, in: container, debugDescription: "The status of an answer is 200, or from 400 to 599.")
        }
        guard (1...AnswerHead.largestType).contains(contentType.utf8.count), contentType.utf8.contains(UInt8(ascii: "/")),
            contentType.utf8.allSatisfy({ (32..<127).contains($0) })
        else {
            throw DecodingError.dataCorruptedError(
                forKey: .contentType, in: container, debugDescription: "The type of an answer is a media type in ASCII.")
        }
    }
}

/// What an answer took.
public struct ModelUsage: Hashable, Sendable, Codable {
    public var promptTokens: Int?
    public var completionTokens: Int?

    public init(promptTokens: Int? = nil, completionTokens: Int? = nil) {
        self.promptTokens = promptTokens
        self.completionTokens = completionTokens
    }

    enum CodingKeys: String, CodingKey {
        case promptTokens = "prompt_tokens"
        case completionTokens = "completion_tokens"
    }
}
