/// Where a job's end is announced, as its owner asked at submit.
public struct Callback: Hashable, Sendable {
    public var url: String
    /// Which body the receiver expects: `job`, or the dialect that the job was submitted through (`gen/TASK`).
    public var shape: String

    public init(url: String, shape: String = "job") {
        self.url = url
        self.shape = shape
    }
}

/// One message of the outbox: written in the commit that ended its job, kept until its receiver took it or time ran out.
public struct Webhook: Hashable, Sendable {
    public enum Status: String, Sendable, Codable { case waiting, delivered, abandoned }

    /// The message's name to its receiver, the same in every attempt.
    public var id: JobID
    public var job: JobKey
    public var callback: Callback
    public var status: Status
    /// When the job ended, or when the message was last replayed: the time that retries are counted from.
    public var since: Timestamp
    /// Attempts since then.
    public var attempts: Int
    /// When it is tried next, while it waits.
    public var due: Timestamp

    public init(
        id: JobID, job: JobKey, callback: Callback, status: Status = .waiting, since: Timestamp, attempts: Int = 0,
        due: Timestamp
    ) {
        self.id = id
        self.job = job
        self.callback = callback
        self.status = status
        self.since = since
        self.attempts = attempts
        self.due = due
    }
}

/// One line of the delivery log.
public struct WebhookAttempt: Hashable, Sendable {
    public var at: Timestamp
    /// The receiver's HTTP status; nil when none came.
    public var answer: Int?
    public var milliseconds: Int64
    /// One sentence, when it was not taken; at most 500 characters.
    public var problem: String?

    public init(at: Timestamp, answer: Int?, milliseconds: Int64, problem: String?) {
        self.at = at
        self.answer = answer
        self.milliseconds = milliseconds
        self.problem = problem.map { String($0.prefix(500)) }
    }
}

/// What becomes of a message after an attempt.
public enum WebhookFate: Hashable, Sendable {
    case delivered
    case again(at: Timestamp)
    case abandoned
}

/// The durable side of webhooks. Delivery is at least once: a message whose attempt was not settled before its hold
/// ended is due again.
public protocol WebhookOutbox: Sendable {
    /// Messages that are due, oldest first, held for `seconds` so that no other coordinator sends them too.
    /// - Parameter skipping: accounts that have enough under way already.
    func takeWebhooks(limit: Int, skipping: Set<Int64>, holdSeconds: Double) async throws -> [Webhook]
    /// Writes the attempt into the log and lets the message go on.
    func settle(_ webhook: Webhook, _ attempt: WebhookAttempt, _ fate: WebhookFate) async throws
    /// The messages of a job and the log of each, oldest first; at most 100 lines a message.
    func webhooks(of job: JobKey) async throws -> [(Webhook, [WebhookAttempt])]
    /// Sends a message once more, with all its retries; throws `StoreError.notFound` for a message of another job.
    func replay(webhook id: JobID, of job: JobKey) async throws
    /// The secrets that sign now: the newest first, and the one before it until its time is over. Makes the first one.
    func webhookSecrets(of account: Int64, making fresh: String) async throws -> [String]
    /// Makes `fresh` the newest; the one before it signs beside it for `overlapSeconds`.
    func rotateWebhookSecret(of account: Int64, to fresh: String, overlapSeconds: Double) async throws
    /// How long the oldest message that is due has been waiting.
    func webhookLag() async throws -> Double
}
