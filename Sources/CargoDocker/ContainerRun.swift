internal import CargoArtifact
internal import FoundationEssentials
internal import Synchronization

/// The running phase of one container that is made already: attach, start, follow, stop, conclude.
struct ContainerRun: Sendable {
    /// After the end, how long its streams may take to close, and after SIGKILL, how long the end may take.
    static let patience = Duration.seconds(10)
    /// How long an engine that stopped answering may be away before the job counts as lost.
    static let engineAway = Duration.seconds(60)

    let engine: Engine
    let id: String
    let job: ContainerJob
    let image: ReadyImage
    let control: ControlSocket

    /// What the parts of a run tell each other.
    private final class Progress: Sendable {
        struct State: Sendable {
            var started: ContinuousClock.Instant?
            var ended: ContinuousClock.Instant?
            var end: ContainerEnd?
            var execFailure: Int?
            var stopped: StopReason?
            /// The engine went away, and the streams with it: what the command wrote since then is lost.
            var isEngineLost = false
            /// Somebody else sent the container a signal.
            var wasTold = false
        }
        let state = Mutex(State())
        /// Asked to stop: at most one reason is heeded.
        let stops: AsyncStream<StopReason>
        /// Ends when the command began, or never will.
        let begun: AsyncStream<Never>
        private let beginning: AsyncStream<Never>.Continuation
        private let stopping: AsyncStream<StopReason>.Continuation

        init() {
            (stops, stopping) = AsyncStream.makeStream(of: StopReason.self, bufferingPolicy: .bufferingOldest(1))
            (begun, beginning) = AsyncStream.makeStream(of: Never.self, bufferingPolicy: .bufferingOldest(1))
        }

        func begin() { beginning.finish() }

        func stop(_ reason: StopReason) { stopping.yield(reason) }
        func finish() { stopping.finish() }
    }

    func toEnd(
        provisioningBegan: ContinuousClock.Instant, onEvent: @Sendable (ContainerEvent) async -> Void
    ) async throws -> ContainerOutcome {
        try Task.checkCancellation()
        let progress = Progress()
        return try await withoutActuallyEscaping(onEvent) { onEvent in
            // A task of its own, waited for here: the caller's cancellation stops the command, not what follows its end.
            let work = Task { try await follow(progress, provisioningBegan, onEvent) }
            return try await withTaskCancellationHandler {
                try await work.value
            } onCancel: {
                progress.stop(.cancelled)
            }
        }
    }

    private func follow(
        _ progress: Progress, _ provisioningBegan: ContinuousClock.Instant,
        _ onEvent: @escaping @Sendable (ContainerEvent) async -> Void
    ) async throws -> ContainerOutcome {
        let attachment = try await Attachment.open(engine, container: id, stdin: job.standardInput != nil)
        let frames = LogFrames(isTerminal: job.isTerminal)
        let began = ContinuousClock.now
        let code: Int? = try await withThrowingTaskGroup(of: Step.self) { group in
            group.addTask {
                await listen(progress, onEvent)
                return .wordsEnded
            }
            group.addTask {
                // A broken stream loses log, not the outcome.
                try? await read(attachment, frames, progress, onEvent)
                return .streamsClosed
            }
            group.addTask { .exited(try await exitCode(progress)) }
            group.addTask {
                await stopWhenAsked(progress)
                return .other
            }
            group.addTask {
                await guardOutput(progress)
                return .other
            }
            do {
                try await engine.start(id)
            } catch {
                group.cancelAll()
                progress.finish()
                throw startFailure(error)
            }
            var code: Int?
            var hasExited = false
            var hasStreams = true
            var hasWords = true
            do {
                // A container that never came to its pid 1 has no words to wait for.
                while !hasExited || hasStreams || (hasWords && control.isConnected), let step = try await group.next() {
                    switch step {
                    case .exited(let value):
                        code = value
                        hasExited = true
                        progress.begin()
                        group.addTask {
                            try? await Task.sleep(for: ContainerRun.patience)
                            return .outOfPatience
                        }
                    case .streamsClosed: hasStreams = false
                    case .wordsEnded: hasWords = false
                    case .outOfPatience:
                        hasStreams = false
                        hasWords = false
                    case .other: break
                    }
                }
            } catch {
                group.cancelAll()
                progress.finish()
                throw error
            }
            group.cancelAll()
            progress.finish()
            return code
        }
        return try await conclude(progress.state.withLock { $0 }, code: code, began: began, provisioningBegan: provisioningBegan)
    }

    private enum Step: Sendable {
        case exited(Int?), streamsClosed, wordsEnded, outOfPatience, other
    }

    /// Follows what pid 1 says.
    private func listen(_ progress: Progress, _ onEvent: @Sendable (ContainerEvent) async -> Void) async {
        for await word in control.words {
            switch word {
            case .executed:
                progress.state.withLock { $0.started = .now }
                await onEvent(.started)
                progress.begin()
            case .told: progress.state.withLock { $0.wasTold = true }
            case .failed(let errno): progress.state.withLock { $0.execFailure = errno }
            case .ended(let end):
                progress.state.withLock {
                    $0.end = end
                    $0.ended = .now
                }
            }
        }
    }

    private func read(
        _ attachment: Attachment, _ frames: LogFrames, _ progress: Progress, _ onEvent: @Sendable (ContainerEvent) async -> Void
    ) async throws {
        var frames = frames
        var hasBegun = false
        try await attachment.run(input: job.standardInput) { bytes in
            // The start is told before the first byte, though the two come by different ways.
            if !hasBegun { for await _ in progress.begun {} }
            hasBegun = true
            for piece in try frames.take(bytes) {
                var rest = piece.bytes[...]
                while !rest.isEmpty {
                    let part = rest.prefix(64 << 10)
                    await onEvent(.log(piece.stream == .stderr ? .stderr : .stdout, Array(part)))
                    rest = rest.dropFirst(part.count)
                }
            }
        }
    }

    /// The engine's word on the end; outlives a restart of the engine. Nil when it has gone but pid 1 told the end.
    private func exitCode(_ progress: Progress) async throws -> Int? {
        var lostSince: ContinuousClock.Instant?
        while true {
            do {
                return try await engine.waitForExit(id)
            } catch let error as EngineError where error.code == .unreachable {
                let now = ContinuousClock.now
                let since = lostSince ?? now
                lostSince = since
                progress.state.withLock { $0.isEngineLost = true }
                // Another attempt will do it whole; this one need not go on.
                await control.close()
                if let ended = progress.state.withLock({ $0.ended }), now - ended > .seconds(2) { return nil }
                guard now - since < ContainerRun.engineAway else { throw error }
                try await Task.sleep(for: .seconds(1))
                guard let state = try? await engine.inspect(id).state else { continue }
                if !state.running { return state.exitCode }
                lostSince = nil
            }
        }
    }

    /// Time, cancellation and output limit all end the same way: SIGTERM, grace, SIGKILL.
    private func stopWhenAsked(_ progress: Progress) async {
        await withTaskGroup(of: Void.self) { group in
            if let timeout = job.timeout {
                group.addTask {
                    // The clock starts with the command; until then there is nothing to time.
                    while progress.state.withLock({ $0.started }) == nil {
                        guard (try? await Task.sleep(for: .milliseconds(20))) != nil else { return }
                    }
                    guard (try? await Task.sleep(for: .seconds(timeout))) != nil else { return }
                    progress.stop(.timedOut)
                }
            }
            group.addTask {
                for await reason in progress.stops {
                    let isOver = progress.state.withLock { state in
                        guard state.ended == nil else { return true }
                        state.stopped = reason
                        return false
                    }
                    guard !isOver else { return }
                    await stop()
                    return
                }
            }
            await group.waitForAll()
        }
    }

    private func stop() async {
        if job.grace > 0 {
            if !control.send(signal: 15) { try? await engine.kill(id, signal: "TERM") }
            guard (try? await Task.sleep(for: .seconds(job.grace))) != nil else { return }
        }
        try? await engine.kill(id)
        // Where the engine itself is gone, pid 1 still ends everything when its line does.
        guard (try? await Task.sleep(for: .seconds(2))) != nil else { return }
        await control.close()
    }

    private func guardOutput(_ progress: Progress) async {
        guard let isOver = job.isOverOutputLimit else { return }
        while (try? await Task.sleep(for: .milliseconds(500))) != nil {
            if await isOver() {
                progress.stop(.outputLimit)
                return
            }
        }
    }

    /// An engine that could not start the container says so in words alone.
    private func startFailure(_ error: any Error) -> any Error {
        guard let error = error as? EngineError,
            error.code == .badRequest || error.code == .failed || error.code == .containerNotFound
        else { return error }
        return EngineError(.failed, "start the container of job \(job.id)", error.message)
    }

    private func conclude(
        _ state: Progress.State, code: Int?, began: ContinuousClock.Instant, provisioningBegan: ContinuousClock.Instant
    ) async throws -> ContainerOutcome {
        let operation = "run the command of job \(job.id)"
        if let errno = state.execFailure {
            let isMissing = errno == 2 || errno == 20
            throw EngineError(
                isMissing ? .commandNotFound : .commandNotExecutable, operation,
                isMissing
                    ? "the image does not have it; look at the image's PATH or give the command's whole path"
                    : "the image has it, but it cannot be executed (errno \(errno))")
        }
        let started = state.started
        if started == nil, state.end == nil, state.stopped == nil {
            // Pid 1 wrote its reason to standard error, which is in the log.
            let said = (try? await engine.inspect(id).state.error) ?? ""
            throw EngineError(
                .failed, operation, said.isEmpty ? "the container ended (\(code ?? -1)) before its command began" : said)
        }
        let oomFlag = state.end == nil ? ((try? await engine.inspect(id).state.oOMKilled) ?? false) : false
        let way = ContainerOutcome.way(engine: code, end: state.end, oomFlag: oomFlag, stopped: state.stopped)
        // Ended by nobody of ours, and not well, or with its log cut: what the engine did is not the command's outcome.
        let isEndedByOthers = !way.oomKilled && way.exitCode != 0 && (state.wasTold || state.end == nil)
        if state.stopped == nil, state.isEngineLost || isEndedByOthers {
            throw EngineError(.interrupted, operation, "the container engine ended it or was restarted; run the job again")
        }
        let ended = state.ended ?? .now
        return ContainerOutcome(
            exitCode: way.exitCode, signal: way.signal, oomKilled: way.oomKilled, stopped: state.stopped,
            wallSeconds: (ended - (started ?? began)).inSeconds, cpuSeconds: state.end?.cpuSeconds ?? 0,
            maxRSSBytes: state.end?.peakBytes ?? 0, imageID: image.id, imageDigest: image.digest,
            provisioningSeconds: ((started ?? began) - provisioningBegan).inSeconds)
    }
}

extension Duration {
    var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
