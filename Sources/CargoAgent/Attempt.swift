import CargoArtifact
import CargoClient
import CargoRunner
import CargoStore
import CargoWire
import FoundationEssentials
import Logging

/// One attempt from claim to acknowledged outcome.
struct Attempt: Sendable {
    /// How the work of an attempt came out, before anybody was told.
    private enum Ended: Sendable {
        case ran(RunOutcome)
        case failed(Provisioning.Failed)
    }

    let session: HostSession
    let identity: HostIdentity
    let execution: any Execution
    let journal: Journal
    let delivery: Delivery
    let drainDeadline: Gate
    let logger: Logger

    /// Never throws: whatever happens is reported, or left to the lease's end.
    func run(_ claim: Claim, claimedAt: ContinuousClock.Instant) async {
        var logger = logger
        logger[metadataKey: "job"] = "\(claim.job.id)"
        logger[metadataKey: "attempt"] = "\(claim.job.attempt)"
        logger.info("claimed", metadata: ["cargo": "\(printable(claim.job.cargo ?? claim.job.image ?? "-"))"])
        let entry: Journal.Entry
        do {
            entry = try journal.begin(.init(coordinator: session.coordinatorURL, job: claim.job.id, lease: claim.lease))
        } catch {
            logger.error("cannot keep a journal: handing the job back", metadata: ["error": "\(error)"])
            await delivery.handBack(claim.job.id, claim.lease, because: "the host cannot write its journal: \(error)")
            return
        }
        let channel = AttemptChannel(
            job: claim.job.id, lease: claim.lease, grantedAt: claimedAt, session: session, logStart: 0, logger: logger)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await channel.beat() }
            group.addTask {
                await drainDeadline.wait()
                if drainDeadline.isOpen { await channel.stop(.draining) }
            }
            await work(claim, entry, channel, logger)
            group.cancelAll()
        }
    }

    private func work(_ claim: Claim, _ entry: Journal.Entry, _ channel: AttemptChannel, _ logger: Logger) async {
        let ended = await execute(claim, entry, channel)
        let reason = await channel.reason
        if reason == .leaseLost {
            logger.warning("dropped: the lease is lost")
            entry.remove()
            return
        }
        await channel.beginReporting()
        let outcome = await summary(ended, reason, claim, channel)
        do {
            try entry.write(outcome)
        } catch {
            logger.error("the outcome is not on disk: it is reported all the same", metadata: ["error": "\(error)"])
        }
        await delivery.deliver(outcome, of: entry, over: channel, logger)
    }

    /// Provisions and runs; a stop reason cancels it, and what it came to is still returned.
    private func execute(_ claim: Claim, _ entry: Journal.Entry, _ channel: AttemptChannel) async -> Ended {
        await withTaskGroup(of: Ended?.self) { group in
            group.addTask {
                await channel.stopRequested()
                return nil
            }
            group.addTask { await runToEnd(claim, entry, channel) }
            var ended: Ended?
            for await result in group {
                if let result { ended = result }
                group.cancelAll()
            }
            return ended ?? .failed(.init(.internalError, "the host lost track of the run", retryable: true))
        }
    }

    private func runToEnd(_ claim: Claim, _ entry: Journal.Entry, _ channel: AttemptChannel) async -> Ended {
        do {
            let outcome = try await execution.run(claim, entry, grace: await channel.grace) { event in
                switch event {
                case .provisioning(let progress): await channel.show(progress)
                case .started: await channel.report(.processing)
                case .log(let stream, _, let bytes): await channel.append(stream.onTheWire, bytes)
                }
            }
            return .ran(outcome)
        } catch {
            return .failed(FailureWords.failed(for: error))
        }
    }

    private func summary(_ ended: Ended, _ reason: StopReason?, _ claim: Claim, _ channel: AttemptChannel) async
        -> Journal.Outcome
    {
        var outcome = Journal.Outcome(logStart: await channel.logStart, log: await channel.logTail)
        if reason == .draining {
            outcome.failure = Failure(
                lease: claim.lease, error: JobError(.hostLost, "the host is shutting down and hands the job back"),
                retryable: true)
            return outcome
        }
        switch ended {
        case .ran(let run):
            var completion = FailureWords.completion(of: run, lease: claim.lease)
            // Unsigned is better than unreported: the coordinator decides what it takes.
            completion.outcome = try? identity.sign(
                try SignedOutcome(completion, of: claim.job, coordinator: session.coordinatorURL, engine: run.engine),
                type: SignedOutcome.payloadType)
            outcome.completion = completion
        case .failed(let failed):
            var error = failed.error
            if reason == .cancelled { error = JobError(.cancelled, "the job was cancelled before it ran") }
            outcome.failure = Failure(
                lease: claim.lease, error: error, retryable: reason == .cancelled ? false : failed.retryable)
        }
        return outcome
    }
}
