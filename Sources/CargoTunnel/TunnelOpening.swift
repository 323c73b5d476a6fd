/// What a stream is for. Names of jobs and models only: no address and no header ever crosses the tunnel (docs/rules.md 19).
public struct TunnelOpening: Hashable, Sendable, Codable {
    /// Each is one call that REST has too, except `answer`, `request` and `cancel`, which the coordinator opens.
    public enum Operation: String, Hashable, Sendable, Codable, CaseIterable {
        case claim, heartbeat, complete, fail, report
        /// The answer to a model request as it comes: four bytes, big-endian, say how long the JSON of a heartbeat is that stands
        /// behind them; the bytes that follow those in it are the rest. Each eight bytes back, big-endian, say how much of the
        /// answer's log is on the coordinator's disk; the last of them, once the host has said all, that everything is.
        case answering
        /// A request to a model that is kept in memory only: `question` names it, its JSON is the body, head `AnswerHead`,
        /// trailer `ModelUsage`. An empty piece before the head says that the host has begun.
        case answer
        /// A request to a model that the host has room for and has not asked for: a claim's answer as the body, which the host takes
        /// by a head with status 200.
        case request
        /// The job was cancelled.
        case cancel
        /// Nothing; the other side ends it. Measures the way.
        case echo

        /// Which side may open it.
        public var opener: TunnelStreams.Side { [.answer, .request, .cancel].contains(self) ? .coordinator : .host }
    }

    /// What an `answer` is asked for.
    public struct Question: Hashable, Sendable, Codable {
        /// As `ModelRequest.Operation` writes it.
        public var operation: String
        public var model: String
        public var stream: Bool
        /// Whose it is, as a word that says nothing else: caches are kept apart by it.
        public var account: String
        /// Where its client stands in a trace (W3C Trace Context), as the two words that say so.
        public var traceparent: String?
        public var tracestate: String?

        public init(operation: String, model: String, stream: Bool, account: String) {
            self.operation = operation
            self.model = model
            self.stream = stream
            self.account = account
        }
    }

    public var operation: Operation
    public var job: String?
    public var question: Question?

    public init(_ operation: Operation, job: String? = nil, question: Question? = nil) {
        self.operation = operation
        self.job = job
        self.question = question
    }
}

/// Why a stream ended early, in words that both sides switch on.
public struct TunnelFault: Error, Hashable, Sendable, Codable {
    public var code: String
    public var message: String
    /// Of HTTP, as it would have been answered.
    public var status: Int
    public var retryable: Bool
    /// The field of a request that is at fault.
    public var param: String?

    public init(code: String, message: String, status: Int = 502, retryable: Bool = false, param: String? = nil) {
        self.code = code
        self.message = message
        self.status = status
        self.retryable = retryable
        self.param = param
    }

    /// The connection went: whoever asked may ask again, another way.
    public static let lost = TunnelFault(
        code: "tunnel_lost", message: "The connection to the host was lost.", status: 503, retryable: true)
    public static let cancelled = TunnelFault(code: "cancelled", message: "The other side wants no more of this.", status: 409)
}
