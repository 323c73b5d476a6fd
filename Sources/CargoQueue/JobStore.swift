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
    public let job: JobRecord
    public let lease: Lease
    /// `NewJob.spec` as it was submitted, and its files' blobs.
    public let spec: Data
}

/// Who asks for a job, and what for.
public struct ClaimAsk: Sendable {
    public var host: String
    public var capabilities: HostCapabilities
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
    public var outcome: Data?

    public init(outputs: [OutputFile] = [], logBytes: Int64? = nil, logSHA256: String? = nil, outcome: Data? = nil) {
        self.outputs = outputs
        self.logBytes = logBytes
        self.logSHA256 = logSHA256
        self.outcome = outcome
    }
}

/// Jobs, leases and their audit trail, durable: what a call returned is on disk.
///
/// Implementations pass one conformance suite. Every write of a host matches its whole lease and the job's state in
/// the statement that writes (RULES.md 10).
public protocol JobStore: Sendable {
    func submit(_ job: NewJob) async throws -> Submission
    func job(_ key: JobKey) async throws -> (JobRecord, JobResult, metadata: Data?)
    /// Newest first; `before` is the last id of the page before.
    func jobs(of account: Int64, status: JobStatus?, before: JobID?, limit: Int) async throws -> [JobRecord]
    func transitions(of key: JobKey, after sequence: Int64, limit: Int) async throws -> [Transition]
    /// The same claim id gives the same claim while its lease lives. Nil when nothing waits that the host may run.
    func claim(_ ask: ClaimAsk) async throws -> GrantedClaim?
    /// Renews; answers whether the job should be cancelled. Kept in memory or flushed in batches.
    func renew(_ id: JobID, _ lease: Lease) async throws -> Bool
    /// One input of the lease's holder; the same end again gives the same answer as long as it is the job's accepted one.
    func report(_ id: JobID, _ lease: Lease, _ input: JobInput, _ end: AttemptEnd) async throws -> JobRecord
    func cancel(_ key: JobKey, actor: String) async throws -> JobRecord
    func replay(_ key: JobKey, actor: String) async throws -> JobRecord
    /// A file that the attempt under this lease uploaded; visible once the attempt is accepted.
    func stage(_ output: OutputFile, for id: JobID, _ lease: Lease) async throws
    /// The account and attempt under a live lease.
    func holder(_ id: JobID, _ lease: Lease) async throws -> (key: JobKey, attempt: Int)
    /// Leases that ran out become lost hosts, delayed jobs become ready. Called every 100 ms.
    func tick() async throws
}
