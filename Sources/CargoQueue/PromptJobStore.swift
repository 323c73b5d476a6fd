public import CargoWire

/// A store that takes the steps of a job's life without a task that waits for each: it calls back, on its own thread and once
/// the step is on disk. A callback must not block. What throws has changed nothing, and what fails has kept nothing.
public protocol PromptJobStore: JobStore {
    func submit(_ job: NewJob, then: @escaping @Sendable (Result<Submission, any Error>) -> Void) throws

    /// Grants what waits now; false where nothing does, or where it takes more than that to say.
    /// - Parameter mayUse: whether the host may have jobs of an account.
    func claim(
        _ ask: ClaimAsk, of mayUse: @Sendable (Int64) -> Bool,
        then: @escaping @Sendable (Result<GrantedClaim, any Error>) -> Void
    ) -> Bool

    /// Whether a lease is out.
    func isHeld(_ id: JobID, under lease: Lease) -> Bool

    func report(
        _ id: JobID, _ lease: Lease, _ input: JobInput, _ end: AttemptEnd,
        then: @escaping @Sendable (Result<JobRecord, any Error>) -> Void
    ) throws

    /// Takes a claim back whose answer reached nobody. Should that fail, its lease runs out.
    func giveBack(_ claim: GrantedClaim)
}

/// The steps of a job's life that come thousands of times a second, for callers on an event loop: each does what the call of
/// the same name does, or answers that it takes more than a commit.
extension JobQueue {
    /// False: `submit` of the store is to be called.
    public func submitPromptly(
        _ job: NewJob, then: @escaping @Sendable (Result<Submission, any Error>) -> Void
    ) throws -> Bool {
        guard let prompt else { return false }
        try prompt.submit(job, then: then)
        return true
    }

    /// False: nothing is to be had without waiting, or it takes more than a commit to say.
    public func claimPromptly(
        _ ask: ClaimAsk, isGone: @escaping @Sendable () -> Bool,
        then: @escaping @Sendable (Result<GrantedClaim?, any Error>) -> Void
    ) -> Bool {
        guard let prompt else { return false }
        let ask = heard(ask)
        return prompt.claim(ask, of: { groups.mayUse(ask.host, $0) }) { [self] result in
            guard case .success(let granted) = result else { return then(result.map { $0 }) }
            if isGone() {
                prompt.giveBack(granted)
                return then(.success(nil))
            }
            gave(granted, to: ask.host)
            then(.success(granted))
        }
    }

    /// False: bytes of the log are on their way to the disk.
    public func completePromptly(
        _ id: JobID, _ completion: Completion, then: @escaping @Sendable (Result<JobRecord, any Error>) -> Void
    ) throws -> Bool {
        guard let prompt, logs.isFlushed(id, attempt: completion.lease.epoch) else { return false }
        let end = try end(of: id, completion, isHeld: prompt.isHeld(id, under: completion.lease))
        try prompt.report(id, completion.lease, .finished(completion.exit, error: completion.error), end) { [self] result in
            if case .success(let record) = result { ended(record, completion, end) }
            then(result)
        }
        return true
    }
}
