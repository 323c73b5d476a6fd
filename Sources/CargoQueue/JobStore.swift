public import CargoArtifact
public import CargoWire
public import FoundationEssentials

/// Why a store did not do what was asked, in words that the gateway turns into answers.
public enum StoreError: Error, Hashable, Sendable {
    /// No such job for this account.
    case notFound
    /// The lease is not, or no longer, the job's.
    case leaseLost
    /// The id is taken by another job.
    case idTaken
    /// The idempotency key was used with another body.
    case idempotencyConflict
    /// The job's state does not allow it.
    case wrongState(JobStatus)
    /// Outputs that the completion lists are not uploaded; at most ten are named.
    case outputsMissing([String])
    /// The account's quota of queued jobs is used up.
    case quotaExceeded(Int)
    /// The account's quota of bytes is used up.
    case byteQuotaExceeded(Int64)
    /// The commit failed: nothing of it was kept.
    case unavailable(String)
}

/// A submitted job, or the one that the same idempotency key made before.
public struct Submission: Sendable {
    public let job: JobRecord
    public let repeated: Bool
}

/// A claim that the store granted.
public struct GrantedClaim: Sendable {
    @Boxed public private(set) var job: JobRecord
    public let lease: Lease
    /// `NewJob.spec` as it was submitted, and its files' blobs.
    public let spec: Data
}

/// Who asks for a job, and what for.
public struct ClaimAsk: Sendable {
    public var host: String
    @Boxed public var capabilities: HostCapabilities
    /// This very job and no other: of a host that looked what waits.
    public var only: JobID?
    public var claimID: String?

    public init(host: String, capabilities: HostCapabilities, claimID: String?) {
        self.host = host
        self.capabilities = capabilities
        self.claimID = claimID
    }
}

/// What an attempt's end carries besides the state machine's input.
public struct AttemptEnd: Sendable {
    public var outputs: [OutputFile]
    public var logBytes: Int64?
    public var logSHA256: String?
    public var outcome: JSONValue?
    public var answer: AnswerHead?
    public var usage: ModelUsage?

    public init(outputs: [OutputFile] = [], logBytes: Int64? = nil, logSHA256: String? = nil, outcome: JSONValue? = nil) {
        self.outputs = outputs
        self.logBytes = logBytes
        self.logSHA256 = logSHA256
        self.outcome = outcome
    }
}

/// Jobs, leases and their audit trail, durable: what a call returned is on disk.
///
/// Implementations pass one conformance suite. Every write of a host matches its whole lease and the job's state in
/// the statement that writes (docs/rules.md 10).
public protocol JobStore: Sendable {
    /// Rises when the store is restored from a copy or fails over: leases of another generation are void.
    var generation: Int { get }
    /// The attempts that run: whoever keeps their logs opens them again after a start.
    func runningAttempts() async throws -> [RunningAttempt]
    /// Jobs that wait and attempts that run, for the operator.
    func counts() async throws -> StoreCounts
    /// Goes through one commit, so that an answer means that the store can write.
    func probe() async throws
    /// What an operator should know about how safe the store is, one sentence each.
    func warnings() async throws -> [String]
    /// Commits what waits and closes; nothing can be written afterwards.
    func close()

    func submit(_ job: NewJob) async throws -> Submission
    func job(_ key: JobKey) async throws -> (JobRecord, JobResult, metadata: Data?)
    /// Newest first; `before` is the last id of the page before.
    func jobs(of account: Int64, status: JobStatus?, before: JobID?, limit: Int) async throws -> [(JobRecord, JobResult)]
    func transitions(of key: JobKey, after sequence: Int64, limit: Int) async throws -> [Transition]
    /// The same claim id gives the same claim while its lease lives. Nil when nothing waits that the host may run.
    func claim(_ ask: ClaimAsk) async throws -> GrantedClaim?
    /// What a claim could be given, the highest priority first, then the oldest. Looking reserves nothing.
    func offers(_ ask: ClaimAsk, limit: Int) async throws -> [JobRecord]
    /// The job as its host sees it (`ClaimedJob` without id and attempt), as it was submitted.
    func spec(of key: JobKey) async throws -> [UInt8]
    /// Renews; answers whether the job should be cancelled. Kept in memory or flushed in batches.
    func renew(_ id: JobID, _ lease: Lease) async throws -> Bool
    /// One input of the lease's holder; the same end again gives the same answer as long as it is the job's accepted one.
    func report(_ id: JobID, _ lease: Lease, _ input: JobInput, _ end: AttemptEnd) async throws -> JobRecord
    /// The claim's answer could not be delivered: the job goes back as if it had not been claimed.
    func undelivered(_ claim: GrantedClaim) async throws
    func cancel(_ key: JobKey, actor: String) async throws -> JobRecord
    func replay(_ key: JobKey, actor: String) async throws -> JobRecord
    /// The owner has the result: a row of the audit trail, and what else is kept of the job goes soon
    /// (`StoreSettings.acknowledgedSeconds`). Repeated at once it changes nothing.
    func acknowledge(_ key: JobKey, actor: String) async throws -> JobRecord
    /// A file that the attempt under this lease uploaded; visible once the attempt is accepted.
    func stage(_ output: OutputFile, for id: JobID, _ lease: Lease) async throws
    /// The account and attempt under a live lease.
    func holder(_ id: JobID, _ lease: Lease) async throws -> (key: JobKey, attempt: Int)
    /// The blobs behind a job's input files, HEX by name.
    func files(of key: JobKey) async throws -> [String: String]
    /// Refuses so many bytes more of an account that is over its quota: asked before they come.
    func admit(_ bytes: Int64, account: Int64) throws
    /// Makes uploaded bytes known under an id of this account.
    func addUpload(_ upload: Upload, account: Int64) async throws
    func upload(_ id: String, account: Int64) async throws -> Upload?
    /// What waits of one account, and where one of its jobs stands.
    func queueView(of account: Int64, job: JobID?) async throws -> QueueView

    /// Lets whoever has a token (kept by its hash) read one job until a time.
    func share(_ key: JobKey, tokenHash: Data, until: Timestamp) async throws
    /// Ends every share of a job.
    func unshare(_ key: JobKey) async throws
    /// The job that a token opens now.
    func shared(_ tokenHash: Data) async throws -> JobKey?

    /// Forgets payload, result, outputs and shares of at most `limit` jobs whose retention is over, and uploads as old;
    /// their audit trail stays. Answers what they leave outside of the store.
    func expire(limit: Int) async throws -> Expired
    /// Whether anything still names a blob (HEX).
    func usesBlob(_ sha256: String) async throws -> Bool

    /// Leases that ran out become lost hosts, delayed jobs become ready. Called every 100 ms.
    func tick() async throws
}

/// How much a store holds.
public struct StoreCounts: Hashable, Sendable {
    /// Delayed ones included.
    public var queued: Int
    public var leases: Int
    /// When the oldest job that could run now was submitted.
    public var oldest: Timestamp?

    public init(queued: Int, leases: Int, oldest: Timestamp? = nil) {
        self.queued = queued
        self.leases = leases
        self.oldest = oldest
    }
}

/// What a store tells the coordinator around it. Each is called on the store's own thread and must not block.
public struct StoreHooks: Sendable {
    /// A job with this requirement became ready: one waiter should ask. A hint; who waits asks again by itself.
    public var onReady: @Sendable (Requirement) -> Void = { _ in }
    /// Jobs with this requirement are ready and not claimed: told every few seconds, for what a hint cannot know.
    public var onStillReady: @Sendable (Requirement) -> Void = { _ in }
    /// A job's row changed.
    public var onChange: @Sendable (JobID) -> Void = { _ in }
    /// Before the commit that ends a lease: nothing more may be written under it.
    public var onLeaseEnding: @Sendable (JobID, Int) -> Void = { _, _ in }
    /// A message came into the outbox.
    public var onWebhook: @Sendable () -> Void = {}
    /// Keys, hosts or groups changed.
    public var onAccounts: @Sendable () -> Void = {}
    /// A lease was granted.
    public var onClaim: @Sendable () -> Void = {}
    /// A job came to its end.
    public var onEnd: @Sendable (JobRecord) -> Void = { _ in }
    /// A host lost its job.
    public var onLeaseLost: @Sendable (JobID, String) -> Void = { _, _ in }
    /// A commit carried so many writes.
    public var onCommit: @Sendable (Int) -> Void = { _ in }

    public init() {}
}

/// Accounts, keys and hosts, durable.
public protocol AccountStore: RecordStore {
    /// The coordinator's own secret of this name, one for all that share the store; `fresh` becomes it at the first call.
    func secret(_ name: String, making fresh: String) async throws -> String
    /// The keys of one account or of all, oldest first, revoked ones where they are asked for.
    func keys(of account: Int64?, revoked: Bool) async throws -> [KeyRecord]
    func hosts() async throws -> [HostRecord]
    /// Makes a key, and its account where the name is new.
    func addKey(_ key: NewKey, account: String) async throws -> KeyRecord
    /// Gives a key that is not revoked another secret or other details. Throws `notFound` where there is none.
    func changeKey(_ id: String, hash: Data, details: KeyRecord.Details) async throws
    /// Ends a key; again it changes nothing.
    func revokeKey(_ id: String) async throws
    /// Makes a host known, or the same again when its account knows the public key, with a key of its own; its former
    /// keys end.
    func addHost(_ host: HostRecord, slots: Int?, capabilities: HostCapabilities?, key: NewKey) async throws -> HostRecord
    /// Gives a host another key as its identity.
    func changeHost(_ id: String, publicKey: String) async throws
    /// Forgets a host and ends its keys.
    func removeHost(_ id: String) async throws
}

/// A key about to be kept: its hash, never its text.
public struct NewKey: Hashable, Sendable {
    public var id: String
    public var hash: Data
    public var name: String
    public var scopes: Set<Scope>
    public var details = KeyRecord.Details()
}

/// What waits, of one account.
public struct QueueView: Hashable, Sendable {
    /// Jobs with the same status, cargo and tier.
    public struct Group: Hashable, Sendable {
        public var status: JobStatus
        public var cargo: String?
        public var tier: Int
        public var count: Int
        public var oldest: Timestamp
    }

    public var groups: [Group] = []
    /// Jobs of this account that go before the one asked for; nil when it does not wait.
    public var position: Int?

    public init() {}
}

/// What expired jobs leave behind outside of the store.
public struct Expired: Sendable {
    /// Each with its last attempt: their log segments go.
    public var jobs: [(key: JobKey, attempt: Int)] = []
    /// Blobs (HEX) that they named; others may name them too.
    public var blobs: Set<String> = []
    /// There is more.
    public var isFull = false

    public init() {}
}
