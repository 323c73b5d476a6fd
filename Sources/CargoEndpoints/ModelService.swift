public import CargoWire

/// Answers requests to models: engines that the host starts, servers that it found, or several of those.
public protocol ModelService: Sendable {
    /// What can be asked now.
    func models() async -> [ServedModel]

    /// Answers in OpenAI's shape (`infer`: KServe's), whatever the backend speaks.
    ///
    /// `head` is called once, then `body` for each piece as it comes; awaiting them is the back-pressure, and cancelling the task
    /// ends the backend's work. Throws `ModelFailure`: before `head` the client gets it as an error; after it the stream ends with an
    /// error event that the caller writes.
    @concurrent func answer(
        _ request: ModelRequest, account: String,
        head: @Sendable (AnswerHead) async throws -> Void, body: @Sendable ([UInt8]) async throws -> Void
    ) async throws -> ModelUsage?

    /// How far the model that would answer this account is on its way into memory; nil where nothing is awaited, or nobody knows.
    func loading(_ model: String, account: String) async -> LoadProgress?
}

extension ModelService {
    public func loading(_ model: String, account: String) async -> LoadProgress? { nil }
}

/// How far a model is on its way into memory.
public struct LoadProgress: Hashable, Sendable {
    /// `waiting` for room beside other models, or `loading`.
    public var phase: String
    /// Bytes in memory, of those that its weights have.
    public var current: Int64
    public var total: Int64

    public init(phase: String, current: Int64, total: Int64) {
        self.phase = phase
        self.current = current
        self.total = total
    }
}

/// Why a request to a model has no answer, or no whole one.
public struct ModelFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// A word that a program can switch on; the set grows.
    public enum Code: String, Hashable, Sendable, CaseIterable {
        /// The request itself: a field, its type, its size, or something that the model cannot do.
        case badRequest = "bad_request"
        /// Prompt and answer are longer than the model reads at once: OpenAI's word, by which clients shorten it.
        case contextExceeded = "context_length_exceeded"
        case modelNotFound = "model_not_found"
        /// The backend is full, or loads the model just now.
        case overloaded
        /// Nobody listens there, or the backend ended.
        case unavailable = "model_unavailable"
        /// The backend was silent for longer than the host waits.
        case timedOut = "model_timed_out"
        /// What the backend sent is not what its protocol allows, or more than the host takes.
        case badAnswer = "bad_answer"
        /// The backend said that it failed.
        case failed = "model_failed"
    }

    public var code: Code
    /// The HTTP status that a client gets when nothing was answered yet.
    public var status: Int
    /// One sentence.
    public var message: String
    /// Another try, here or on another host, may help.
    public var retryable: Bool
    /// The field of the request that is at fault, where one is.
    public var param: String?

    public init(_ code: Code, status: Int? = nil, message: String, param: String? = nil, retryable: Bool? = nil) {
        self.code = code
        self.status = status ?? code.status
        self.message = message
        self.param = param ?? (code == .modelNotFound ? "model" : nil)
        self.retryable = retryable ?? code.isRetryable
    }

    public var description: String { "\(code.rawValue): \(message)" }
}

extension ModelFailure.Code {
    /// The HTTP status for a failure of this kind.
    public var status: Int {
        switch self {
        case .badRequest, .contextExceeded: 400
        case .modelNotFound: 404
        case .overloaded: 503
        case .unavailable, .badAnswer, .failed: 502
        case .timedOut: 504
        }
    }

    var isRetryable: Bool {
        switch self {
        case .overloaded, .unavailable, .timedOut: true
        case .badRequest, .contextExceeded, .modelNotFound, .badAnswer, .failed: false
        }
    }
}
