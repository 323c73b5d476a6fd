import CargoClient
import CargoFiles
import CargoWire
import Logging
import SystemPackage

/// Brings outcomes to the coordinator: outputs, then the log's end, then the report; again until it is acknowledged.
struct Delivery: Sendable {
    /// An attempt keeps its slot this long for a coordinator that does not answer; its outcome then stays in the journal,
    /// which is read at the next start.
    static let patience: Duration = .seconds(3600)
    /// Answers that no repetition will change are believed after this many.
    static let refusals = 3

    let session: HostSession
    /// Once it is open nothing is repeated: the journal keeps what is left for the next start.
    let drainDeadline: Gate

    /// Returns when the coordinator took the outcome, or never will.
    func deliver(
        _ outcome: Journal.Outcome, of entry: Journal.Entry, over channel: AttemptChannel, _ logger: Logger
    ) async {
        var backoff = Backoff()
        var refused = 0
        let end = ContinuousClock.now + Delivery.patience
        while !Task.isCancelled {
            do {
                try await report(outcome, of: entry, over: channel)
                logger.info("reported", metadata: ["outcome": "\(Delivery.word(for: outcome))"])
                return entry.remove()
            } catch let error as ClientError where AttemptChannel.meansLost(error) {
                logger.warning("the coordinator no longer wants this outcome", metadata: ["answer": "\(error.code)"])
                return entry.remove()
            } catch let error as ClientError where !error.isTransient && error.status != 401 {
                refused += 1
                logger.error("the coordinator refuses the outcome", metadata: ["error": "\(error)"])
                if refused >= Delivery.refusals {
                    await giveUp(entry, because: error)
                    return entry.remove()
                }
            } catch {
                logger.notice("the outcome was not taken yet", metadata: ["error": "\(error)"])
                if ContinuousClock.now > end || drainDeadline.isOpen { return }
            }
            try? await Task.sleep(for: backoff.next())
        }
    }

    /// A job that this host will not finish goes back to the queue at once instead of at the lease's end.
    func handBack(_ job: String, _ lease: Lease, because reason: String) async {
        let failure = Failure(lease: lease, error: JobError(.hostLost, reason), retryable: true)
        try? await session.call { try await $0.fail(job, failure) }
    }

    private func report(_ outcome: Journal.Outcome, of entry: Journal.Entry, over channel: AttemptChannel) async throws {
        let job = entry.claimed.job
        let lost = ClientError(status: 409, code: "lease_lost", message: "the lease is lost")
        if let completion = outcome.completion {
            for output in completion.outputs { try await upload(output, of: entry) }
            guard await channel.flush() else { throw Task.isCancelled ? CancellationError() : lost }
            try await session.call { try await $0.complete(job, completion) }
        } else if let failure = outcome.failure {
            guard await channel.flush() else { throw Task.isCancelled ? CancellationError() : lost }
            try await session.call { try await $0.fail(job, failure) }
        }
    }

    private func upload(_ output: OutputFile, of entry: Journal.Entry) async throws {
        let file = try Folder.open(entry.output).open(output.path)
        let claimed = entry.claimed
        try await session.call {
            try await $0.putOutput(claimed.job, path: output.path, file: file, size: output.size, lease: claimed.lease)
        }
    }

    private func giveUp(_ entry: Journal.Entry, because error: ClientError) async {
        let failure = Failure(
            lease: entry.claimed.lease, error: JobError(.internalError, "the coordinator refused the result: \(error.message)"),
            retryable: false)
        try? await session.call { try await $0.fail(entry.claimed.job, failure) }
    }

    private static func word(for outcome: Journal.Outcome) -> String {
        if let failure = outcome.failure { return failure.error.code }
        guard let exit = outcome.completion?.exit else { return "-" }
        if exit.timedOut { return "timed_out" }
        if let signal = exit.signal { return "signal \(signal)" }
        return "exit \(exit.exitCode ?? -1)"
    }
}
