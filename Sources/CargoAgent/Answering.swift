import CargoArtifact
import CargoClient
import CargoEndpoints
import CargoRunner
import CargoWire
import Crypto
import FoundationEssentials
import Logging
import Synchronization

/// One request to a model from claim to report. It has no journal: an answer that nobody waits for any more is worth nothing.
struct Answering: Sendable {
    /// How long bytes wait for others once an answer flows: below what a reader sees, above what each heartbeat costs.
    static let gathering: Duration = .milliseconds(5)
    /// Between two looks at a model that is being loaded for a request.
    static let lookPause: Duration = .milliseconds(250)
    /// Seconds that one answer may take when the coordinator does not say.
    static let usualTime = 600.0
    /// How long a report is repeated to a coordinator that does not take it.
    static let patience: Duration = .seconds(120)

    /// How an answer came out.
    private enum Ended: Sendable {
        case answered(ModelUsage?)
        case failed(JobError, retryable: Bool)
    }

    let session: HostSession
    let identity: HostIdentity
    let service: any ModelService
    let drainDeadline: Gate
    let logger: Logger
    /// Told once the model has no more to do for the request: what is left is to report it.
    var answered: @Sendable () -> Void = {}

    /// Never throws: whatever happens is reported, or left to the lease's end.
    func run(_ claim: Claim, claimedAt: ContinuousClock.Instant) async {
        guard let request = claim.job.request else { return }
        var logger = logger
        logger[metadataKey: "job"] = "\(claim.job.id)"
        let channel = AttemptChannel(
            job: claim.job.id, lease: claim.lease, grantedAt: claimedAt, session: session, logStart: 0, logger: logger,
            gathering: Answering.gathering)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await channel.beat() }
            group.addTask {
                await drainDeadline.wait()
                if drainDeadline.isOpen { await channel.stop(.draining) }
            }
            await work(request, claim, channel, logger)
            group.cancelAll()
        }
    }

    private func work(_ request: ModelRequest, _ claim: Claim, _ channel: AttemptChannel, _ logger: Logger) async {
        let sent = AnswerRecord()
        let ended = await answer(request, claim, channel, sent)
        answered()
        let reason = await channel.reason
        if reason == .leaseLost {
            logger.warning("dropped a request: the lease is lost")
            return
        }
        await channel.beginReporting()
        switch reason {
        case .cancelled:
            await report(.failed(JobError(.cancelled, "the request was cancelled"), retryable: false), claim, channel, sent)
        case .draining:
            let error = JobError(.hostLost, "the host is shutting down and hands the request back")
            await report(.failed(error, retryable: true), claim, channel, sent)
        default: await report(ended, claim, channel, sent)
        }
    }

    /// Asks the service; a stop reason or the request's time ends it.
    private func answer(_ request: ModelRequest, _ claim: Claim, _ channel: AttemptChannel, _ sent: AnswerRecord) async -> Ended {
        let seconds = claim.job.timeout?.value ?? Answering.usualTime
        return await withTaskGroup(of: Ended?.self) { group in
            group.addTask {
                await channel.stopRequested()
                return nil
            }
            group.addTask {
                guard (try? await Task.sleep(for: .seconds(seconds))) != nil else { return nil }
                return .failed(JobError(.timedOut, "The model did not finish within \(seconds) seconds."), retryable: false)
            }
            group.addTask { await ask(request, claim, channel, sent) }
            let first = await group.next() ?? nil
            group.cancelAll()
            return first ?? .failed(JobError(.internalError, "the host lost track of the request"), retryable: true)
        }
    }

    private func ask(_ request: ModelRequest, _ claim: Claim, _ channel: AttemptChannel, _ sent: AnswerRecord) async -> Ended {
        async let _: Void = show(request, claim, channel, sent)
        do {
            let usage = try await service.answer(
                request, account: claim.job.account ?? "",
                head: { head in
                    sent.begin(head)
                    await channel.begin(head)
                },
                body: { bytes in
                    sent.add(bytes)
                    await channel.append(.answer, bytes)
                    try Task.checkCancellation()
                })
            return .answered(usage)
        } catch let failure as ModelFailure where (400..<500).contains(failure.status) && !failure.retryable && sent.head == nil {
            // The client's own mistake is an answer like any other: asking elsewhere would not mend it.
            let body = Answering.refusal(failure)
            sent.begin(AnswerHead(status: failure.status, contentType: "application/json"))
            sent.add(body)
            await channel.begin(AnswerHead(status: failure.status, contentType: "application/json"))
            await channel.append(.answer, body)
            return .answered(nil)
        } catch let failure as ModelFailure {
            return .failed(JobError(code: failure.code.rawValue, message: failure.message), retryable: failure.retryable)
        } catch is CancellationError {
            return .failed(JobError(.cancelled, "the request was stopped"), retryable: true)
        } catch {
            return .failed(JobError(.internalError, "\(error)"), retryable: true)
        }
    }

    /// Shows how far the model's load has come, until the answer begins.
    private func show(_ request: ModelRequest, _ claim: Claim, _ channel: AttemptChannel, _ sent: AnswerRecord) async {
        while (try? await Task.sleep(for: Answering.lookPause)) != nil, sent.head == nil {
            guard let load = await service.loading(request.model, account: claim.job.account ?? "") else { continue }
            await channel.show(RunProgress(phase: load.phase, current: load.current, total: load.total))
        }
    }

    /// A refusal in OpenAI's shape.
    static func refusal(_ failure: ModelFailure) -> [UInt8] {
        let error: JSONValue = .object([
            "error": .object([
                "message": .string(failure.message), "type": .string("invalid_request_error"),
                "param": failure.param.map(JSONValue.string) ?? .null, "code": .string(failure.code.rawValue),
            ])
        ])
        return (try? JSONEncoder().encode(error)).map { Array($0) } ?? []
    }

    private func report(_ ended: Ended, _ claim: Claim, _ channel: AttemptChannel, _ sent: AnswerRecord) async {
        var backoff = Backoff()
        let end = ContinuousClock.now + Answering.patience
        while !Task.isCancelled, ContinuousClock.now < end {
            guard await channel.flush() else { return }
            do {
                switch ended {
                case .answered(let usage):
                    let completion = completion(usage, claim, sent)
                    try await session.call { try await $0.complete(claim.job.id, completion) }
                case .failed(let error, let retryable):
                    let failure = Failure(lease: claim.lease, error: error, retryable: retryable)
                    try await session.call { try await $0.fail(claim.job.id, failure) }
                }
                return
            } catch let error as ClientError where AttemptChannel.meansLost(error) || !error.isTransient {
                logger.warning("the coordinator does not take an answer", metadata: ["error": "\(error)"])
                return
            } catch {
                try? await Task.sleep(for: backoff.next())
            }
        }
    }

    private func completion(_ usage: ModelUsage?, _ claim: Claim, _ sent: AnswerRecord) -> Completion {
        let seconds = sent.seconds
        var completion = Completion(lease: claim.lease, exit: ExitReport(exitCode: 0, wallSeconds: seconds), outputs: [])
        (completion.logBytes, completion.logSHA256) = sent.summary
        completion.answer = sent.head
        completion.usage = usage
        completion.outcome = try? identity.sign(
            try SignedOutcome(completion, of: claim.job, coordinator: session.coordinatorURL, engine: sent.head?.engine),
            type: SignedOutcome.payloadType)
        return completion
    }
}

/// What went out of one answer: its head, and the length and digest of its bytes.
private final class AnswerRecord: Sendable {
    private struct State {
        var head: AnswerHead?
        var bytes: Int64 = 0
        var hasher = SHA256()
    }

    private let state = Mutex(State())
    private let start = ContinuousClock.now

    var head: AnswerHead? { state.withLock { $0.head } }
    var seconds: Double { (ContinuousClock.now - start) / .seconds(1) }
    var summary: (Int64?, String?) {
        state.withLock { state in
            (state.bytes, state.hasher.finalize().reduce(into: "") { $0 += ($1 < 16 ? "0" : "") + String($1, radix: 16) })
        }
    }

    func begin(_ head: AnswerHead) { state.withLock { $0.head = head } }

    func add(_ bytes: [UInt8]) {
        state.withLock { state in
            state.bytes += Int64(bytes.count)
            state.hasher.update(data: bytes)
        }
    }
}
