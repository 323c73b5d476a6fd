/// What a stream is for. Names of jobs and models only: no address and no header ever crosses the tunnel (RULES.md 19).
public struct TunnelOpening: Hashable, Sendable, Codable {
    /// Each is one call that REST has too, except `answer` and `cancel`, which the coordinator opens.
    public enum Operation: String, Hashable, Sendable, Codable, CaseIterable {
        case claim, heartbeat, complete, fail, report
        /// A request to a model that is kept in memory only: body `ForwardedRequest`, head `AnswerHead`, trailer `ModelUsage`.
        case answer
        /// The job was cancelled.
        case cancel
        /// Nothing; the other side ends it. Measures the way.
        case echo

        /// Which side may open it.
        public var opener: TunnelStreams.Side { self == .answer || self == .cancel ? .coordinator : .host }
    }

    public var operation: Operation
    public var job: String?

    public init(_ operation: Operation, job: String? = nil) {
        self.operation = operation
        self.job = job
    }
}

/// Why a stream ended early, in words that both sides switch on.
public struct TunnelFault: Error, Hashable, Sendable, Codable {
    public var code: String
    public var message: String
    /// Of HTTP, as it would have been answered.
    public var status: Int
    public var retryable: Bool

    public init(code: String, message: String, status: Int = 502, retryable: Bool = false) {
        self.code = code
        self.message = message
        self.status = status
        self.retryable = retryable
    }

    /// The connection went: whoever asked may ask again, another way.
    public static let lost = TunnelFault(
        code: "tunnel_lost", message: "The connection to the host was lost.", status: 503, retryable: true)
    public static let cancelled = TunnelFault(code: "cancelled", message: "The other side wants no more of this.", status: 409)
}
