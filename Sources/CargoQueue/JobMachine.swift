public import CargoWire

/// What decides a job's fate: the part of its row that the state machine reads and writes.
public struct JobState: Hashable, Sendable {
    public var status: JobStatus
    /// The lease epoch: rises with every claim; 0 before the first.
    public var attempt: Int
    /// Attempts that the job itself failed.
    public var failures: Int
    /// Attempts that ended because their host was lost.
    public var losses: Int
    public var maxAttempts: Int
    public var cancelRequested: Bool
    /// Who holds or held the last attempt.
    public var host: String?
    /// Hosts that a next attempt should avoid, the newest last, at most eight.
    public var avoided: [String]

    public init(maxAttempts: Int) {
        status = .queued
        attempt = 0
        failures = 0
        losses = 0
        self.maxAttempts = maxAttempts
        cancelRequested = false
        host = nil
        avoided = []
    }
}

/// What can happen to a job.
public enum JobInput: Hashable, Sendable {
    case claimed(host: String)
    case started
    /// The process ended; `error` names a limit that its exit does not show.
    case finished(ExitReport, error: JobError?)
    /// The host could not run it.
    case failed(JobError, retryable: Bool)
    /// The lease ran out, or the host gave the job back before its end.
    case hostLost
    /// The claim's answer never reached its host: nothing ran, so nothing is counted.
    case claimUndelivered
    case cancelRequested
    /// A dead letter is tried again from the start.
    case replayed
    /// The owner has the result.
    case acknowledged
}

/// One row of the audit trail that a step asks for.
public struct StepRecord: Hashable, Sendable {
    public var status: JobStatus
    public var attempt: Int
    public var host: String?
    public var exit: ExitReport?
    public var error: JobError?
    public var note: String?
}

/// What a step asks of the world around the state machine.
public enum JobAction: Hashable, Sendable {
    /// Into the ready queue, after the backoff of the nth own failure (0: at once).
    case enqueue(backoffOf: Int)
    case grantLease
    case endLease
    /// Final: wake who waits, keep the result.
    case settle
}

/// The answer of the state machine: the new state, the rows to write, the effects to cause.
public struct JobStep: Hashable, Sendable {
    public var state: JobState
    public var record: StepRecord?
    public var actions: [JobAction]
}

/// An input that the state does not allow: the caller's lease or request is stale.
public struct StaleInput: Error, Hashable, Sendable {
    public let status: JobStatus
}

/// The life of a job as a pure function.
///
/// | state | input | next | effects |
/// |---|---|---|---|
/// | queued | claimed | provisioning | attempt + 1, lease granted |
/// | queued | cancelRequested | cancelled | settled |
/// | provisioning | started | processing | |
/// | provisioning, processing | cancelRequested | same, flag set | host is told at its next heartbeat |
/// | provisioning, processing | finished, exit 0 | complete | lease ended, settled |
/// | provisioning, processing | finished otherwise; failed | queued while attempts are left and it may help, else error | lease ended |
/// | provisioning, processing | hostLost | queued, host avoided; at the third loss error `poison` | lease ended |
/// | provisioning, processing | any of the three above with the flag set | cancelled | lease ended, settled |
/// | provisioning | claimUndelivered | queued | lease ended, nothing counted |
/// | error | replayed | queued | counts from the start |
/// | complete, error, cancelled | cancelRequested | same | none: cancelling what ended is no error |
/// | complete, error, cancelled | acknowledged | same | a row of the audit trail |
///
/// Everything else is stale. `complete`, `error` and `cancelled` accept no result: exactly one was accepted.
public struct JobMachine: Hashable, Sendable {
    /// Losing its host this often makes a job a dead letter.
    public var maxLosses: Int

    /// What the row of an acknowledgement says; a second one right behind it says nothing new.
    static let acknowledgement = "result acknowledged"

    public init(maxLosses: Int = 3) { self.maxLosses = maxLosses }

    public func step(_ state: JobState, _ input: JobInput) throws(StaleInput) -> JobStep {
        var next = state
        switch (state.status, input) {
        case (.queued, .claimed(let host)):
            next.status = .provisioning
            next.attempt += 1
            next.host = host
            return JobStep(state: next, record: record(next), actions: [.grantLease])
        case (.queued, .cancelRequested):
            next.cancelRequested = true
            return cancelled(next, actions: [])
        case (.provisioning, .started):
            next.status = .processing
            return JobStep(state: next, record: record(next), actions: [])
        case (.processing, .started):
            return JobStep(state: state, record: nil, actions: [])
        case (.provisioning, .cancelRequested), (.processing, .cancelRequested):
            guard !state.cancelRequested else { return JobStep(state: state, record: nil, actions: []) }
            next.cancelRequested = true
            return JobStep(state: next, record: record(next, note: "cancel requested"), actions: [])
        case (.provisioning, .claimUndelivered):
            if state.cancelRequested { return cancelled(next, actions: [.endLease]) }
            next.status = .queued
            return JobStep(
                state: next, record: record(next, note: "claim not delivered"), actions: [.endLease, .enqueue(backoffOf: 0)])
        case (.provisioning, .finished(let exit, let error)), (.processing, .finished(let exit, let error)):
            return finished(next, exit, error)
        case (.provisioning, .failed(let error, let retryable)), (.processing, .failed(let error, let retryable)):
            if state.cancelRequested { return cancelled(next, actions: [.endLease]) }
            return failed(next, error, exit: nil, retryable: retryable)
        case (.provisioning, .hostLost), (.processing, .hostLost):
            return lost(next)
        case (.complete, .cancelRequested), (.error, .cancelRequested), (.cancelled, .cancelRequested):
            return JobStep(state: state, record: nil, actions: [])
        case (.complete, .acknowledged), (.error, .acknowledged), (.cancelled, .acknowledged):
            return JobStep(state: state, record: record(state, note: Self.acknowledgement), actions: [])
        case (.error, .replayed):
            next.status = .queued
            next.failures = 0
            next.losses = 0
            next.cancelRequested = false
            return JobStep(state: next, record: record(next, note: "replayed"), actions: [.enqueue(backoffOf: 0)])
        default:
            throw StaleInput(status: state.status)
        }
    }

    private func finished(_ state: JobState, _ exit: ExitReport, _ error: JobError?) -> JobStep {
        var next = state
        if state.cancelRequested { return cancelled(next, exit: exit, actions: [.endLease]) }
        guard let error = error ?? Self.error(of: exit) else {
            next.status = .complete
            return JobStep(state: next, record: record(next, exit: exit), actions: [.endLease, .settle])
        }
        return failed(next, error, exit: exit, retryable: true)
    }

    private func failed(_ state: JobState, _ error: JobError, exit: ExitReport?, retryable: Bool) -> JobStep {
        var next = state
        next.failures += 1
        if retryable, next.failures < next.maxAttempts {
            next.status = .queued
            avoid(state.host, in: &next)
            return JobStep(
                state: next, record: record(next, exit: exit, error: error),
                actions: [.endLease, .enqueue(backoffOf: next.failures)])
        }
        next.status = .error
        return JobStep(state: next, record: record(next, exit: exit, error: error), actions: [.endLease, .settle])
    }

    private func lost(_ state: JobState) -> JobStep {
        var next = state
        next.losses += 1
        avoid(state.host, in: &next)
        if state.cancelRequested { return cancelled(next, actions: [.endLease]) }
        if next.losses >= maxLosses {
            next.status = .error
            let error = JobError(
                .poison,
                "The job lost its host \(next.losses) times. See that the cargo does not bring its host down, then replay it.")
            return JobStep(state: next, record: record(next, error: error), actions: [.endLease, .settle])
        }
        next.status = .queued
        let error = JobError(.hostLost, "The host stopped answering; the job is tried on another.")
        return JobStep(state: next, record: record(next, error: error), actions: [.endLease, .enqueue(backoffOf: 0)])
    }

    private func cancelled(_ state: JobState, exit: ExitReport? = nil, actions: [JobAction]) -> JobStep {
        var next = state
        next.status = .cancelled
        let error = JobError(.cancelled, "The job was cancelled.")
        return JobStep(state: next, record: record(next, exit: exit, error: error), actions: actions + [.settle])
    }

    private func avoid(_ host: String?, in state: inout JobState) {
        guard let host else { return }
        state.avoided.removeAll { $0 == host }
        state.avoided.append(host)
        if state.avoided.count > 8 { state.avoided.removeFirst() }
    }

    private func record(_ state: JobState, exit: ExitReport? = nil, error: JobError? = nil, note: String? = nil) -> StepRecord {
        StepRecord(
            status: state.status, attempt: state.attempt, host: state.attempt == 0 ? nil : state.host, exit: exit, error: error,
            note: note)
    }

    /// The error that an exit report alone says; nil for exit code 0.
    public static func error(of exit: ExitReport) -> JobError? {
        if exit.timedOut { return JobError(.timedOut, "The job ran longer than its time limit.") }
        if exit.oomKilled { return JobError(.oomKilled, "The job used more memory than its limit and was killed.") }
        if let signal = exit.signal { return JobError(.signalled, "The job was killed by signal \(signal).") }
        guard let code = exit.exitCode else { return JobError(.internalError, "The host reported neither exit code nor signal.") }
        return code == 0 ? nil : JobError(.exitNonzero, "The job exited with code \(code).")
    }
}

/// How long a job waits before its next own attempt.
public enum Backoff {
    /// Seconds after the nth failure: 1, 2, 4 … at most 300, each between three quarters and five quarters of that.
    /// - Parameter random: in 0..<1.
    public static func seconds(failure: Int, random: Double) -> Double {
        guard failure > 0 else { return 0 }
        let base = min(300, Double(1 << min(failure - 1, 16)))
        return base * (0.75 + random / 2)
    }
}
