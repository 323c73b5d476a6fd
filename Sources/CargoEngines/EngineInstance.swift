internal import CargoArtifact
internal import CargoEndpoints
internal import CargoFiles
internal import CargoRunner
internal import CargoStore
internal import FoundationEssentials
internal import Glibc
internal import Synchronization
internal import SystemPackage

/// One running engine with one model: started confined, probed until it answers, asked over its socket, ended.
final class EngineInstance: Sendable {
    /// Bytes of what the engine said last that are kept for its owner; never a job's (docs/rules.md 21).
    static let tailBytes = 16 << 10
    /// All that it says is read, for its owner wants the end of it; only a flood waits, because an engine that waits in its own
    /// `write` holds up every request.
    static let logLimits = LogLimits(total: .max, rate: 64 << 20, burst: 64 << 20)
    /// Between two probes of an engine that loads, the first and the longest.
    private static let firstProbe = Duration.milliseconds(2)
    private static let longestProbe = Duration.milliseconds(100)
    /// How long one probe may take.
    private static let probeTime = Duration.seconds(5)
    /// Between two probes of an idle engine, and how many may fail in a row.
    private static let healthPause = Duration.seconds(10)
    private static let mostFailedProbes = 3

    private struct State {
        var job: ServingJob?
        var tail: [UInt8] = []
        /// Why it is being ended, where it was not asked to stop.
        var failure: String?
        var isStopped = false
    }

    let request: RunRequest
    let manifest: EngineManifest
    /// What outcomes say of the engine.
    let record: EngineRecord?
    private let runner: JobRunner
    /// It serves one account alone.
    private let isOneAccounts: Bool
    /// What the cargo may ask other models through, where it names any.
    private let door: Door?
    private let state = Mutex(State())

    /// Who answers for the models that a cargo asks, and for whom.
    struct Door: Sendable {
        var service: any ModelService
        var account: String
    }

    init(
        _ request: RunRequest, engine: ReadyEngine, runner: JobRunner, isOneAccounts: Bool, record: EngineRecord? = nil,
        door: Door? = nil
    ) {
        var request = request
        let models = request.cargo.config.models ?? []
        self.door = models.isEmpty ? nil : door
        request.asksModels = self.door != nil
        self.request = request
        self.manifest = engine.manifest
        self.runner = runner
        self.isOneAccounts = isOneAccounts
        self.record = record
    }

    /// How it is asked.
    var server: ModelServer {
        var bounds = ServerBounds()
        let silence = Duration.seconds(manifest.silence?.value ?? EngineManifest.silenceTime)
        (bounds.idle, bounds.firstByte) = (silence, silence)
        let dialect: Dialect =
            switch manifest.dialect {
            case .llamaCpp: .llamaCpp
            case .ollama: .ollama
            case .openai, .openInference, nil: .openAI
            }
        return ModelServer(
            .connect { [self] in try await connect() }, dialect: dialect, bounds: bounds, isOneAccounts: isOneAccounts,
            fields: manifest.fields ?? [])
    }

    /// Bytes that it takes now.
    func memoryBytes() -> Int64? { state.withLock { $0.job }?.memoryBytes() }

    /// What the engine said last, for its owner.
    var tail: String { String(decoding: state.withLock { $0.tail }, as: UTF8.self) }

    func stop() {
        let job = state.withLock { state -> ServingJob? in
            state.isStopped = true
            return state.job
        }
        job?.stop()
    }

    /// Ends it because it takes no connection, where it has not ended by itself.
    func lose() {
        guard state.withLock({ $0.job })?.isOver == false else { return }
        fail("The engine takes no connection any more.")
    }

    /// Kills it as if it had crashed.
    func kill() { state.withLock { $0.job }?.kill() }

    /// Runs until it ends, is stopped, or the task is cancelled. `ready` is called once it answers its probe, `healthy`
    /// after each later one that it answered. Gives why it ended, or nil when it was stopped.
    func run(
        ready: @escaping @Sendable () async -> Void, healthy: @escaping @Sendable () async -> Void,
        isIdle: @escaping @Sendable () -> Bool
    ) async
        -> String?
    {
        // Whichever ends first ends the other: a dead engine needs no probe, and one that never is ready is ended.
        await withTaskGroup(of: Result<RunOutcome?, any Error>.self) { group in
            group.addTask {
                // A chain asks its models as long as it lives and no longer.
                await withTaskGroup(of: Void.self) { doors in
                    defer { doors.cancelAll() }
                    let opened = AsyncStream.makeStream(of: ServingJob.self, bufferingPolicy: .bufferingNewest(1))
                    doors.addTask { for await job in opened.stream { await self.answerModels(of: job) } }
                    return await self.serve { opened.continuation.yield($0) }
                }
            }
            group.addTask {
                do {
                    try await self.untilReady()
                    await ready()
                    try await self.watch(healthy, isIdle)
                } catch is CancellationError {
                } catch {
                    self.fail("\((error as? ModelFailure)?.message ?? "\(error)")")
                }
                return .success(nil)
            }
            var ended: Result<RunOutcome?, any Error> = .success(nil)
            for await result in group {
                if case .success(nil) = result { continue }
                ended = result
                group.cancelAll()
            }
            return reason(ended)
        }
    }

    private func answerModels(of job: ServingJob) async {
        guard let door, let models = request.cargo.config.models, let socket = job.takeModelSocket() else { return }
        do {
            try await ModelDoor(models: models, service: door.service, account: door.account, admits: { job.contains($0) })
                .run(on: socket)
        } catch is CancellationError {
        } catch {
            fail("The socket by which it asks models failed: \(error)")
        }
    }

    private func serve(started: @Sendable (ServingJob) -> Void) async -> Result<RunOutcome?, any Error> {
        do {
            return .success(
                try await runner.serve(
                    request,
                    serving: { job in
                        let isStopped = state.withLock { state in
                            state.job = job
                            return state.isStopped
                        }
                        if isStopped { job.stop() }
                        started(job)
                    },
                    onEvent: { event in
                        guard case .log(_, _, let bytes) = event else { return }
                        state.withLock { $0.tail = ($0.tail + bytes).suffix(EngineInstance.tailBytes) }
                    }))
        } catch {
            return .failure(error)
        }
    }

    private func reason(_ ended: Result<RunOutcome?, any Error>) -> String? {
        let (failure, isStopped) = state.withLock { ($0.failure, $0.isStopped) }
        if let failure { return failure }
        if isStopped { return nil }
        switch ended {
        case .failure(is CancellationError): return nil
        case .failure(let error): return "The engine could not be started: \(error)"
        case .success(let outcome?):
            if outcome.oomKilled { return "The engine was killed for its memory; the cargo's resources.memory sets the limit." }
            if let signal = outcome.signal { return "The engine was killed by signal \(signal)." }
            return "The engine ended with exit code \(outcome.exitCode ?? -1)."
        case .success(nil): return nil
        }
    }

    /// Ends it for a reason.
    private func fail(_ reason: String) {
        let job = state.withLock { state -> ServingJob? in
            state.failure = state.failure ?? reason
            return state.job
        }
        job?.kill()
    }

    private func connect() async throws -> CInt {
        guard let job = state.withLock({ $0.job }), !job.isOver else {
            throw ModelFailure(.unavailable, message: "The engine has ended.")
        }
        do {
            if let line = try await blocking({ try job.connect() }) { return line }
        } catch {
            throw ModelFailure(.badAnswer, message: "\(error)")
        }
        throw ModelFailure(.unavailable, message: "The engine does not listen on its socket.")
    }

    private func untilReady() async throws {
        guard let probe = manifest.ready else { return }
        let limit = probe.timeout?.value ?? EngineManifest.readyTime
        let end = ContinuousClock.now + .seconds(limit)
        var pause = EngineInstance.firstProbe
        var last = "it does not listen on its socket"
        while ContinuousClock.now < end {
            try await Task.sleep(for: pause)
            pause = min(pause * 2, EngineInstance.longestProbe)
            do {
                let answer = try await server.get(
                    probe.path, limit: 1 << 16, within: min(EngineInstance.probeTime, max(.milliseconds(100), end - .now)))
                if answer.status == 200 { return }
                last = "its last answer to \(probe.path) was \(answer.status)"
            } catch let failure as ModelFailure {
                // It answers, and not as an engine does: waiting makes that no better.
                if failure.code == .badAnswer { throw failure }
                if failure.code == .timedOut { last = "it did not answer \(probe.path)" }
            }
        }
        throw ModelFailure(.timedOut, message: "The engine was not ready within \(limit) s: \(last).")
    }

    /// Looks at it now and then. One that does not answer although it has nothing to do is ended.
    private func watch(_ healthy: @Sendable () async -> Void, _ isIdle: @Sendable () -> Bool) async throws {
        var failed = 0
        while true {
            try await Task.sleep(for: EngineInstance.healthPause)
            guard isIdle(), let probe = manifest.ready else {
                await healthy()
                continue
            }
            let answer = try? await server.get(probe.path, limit: 1 << 16, within: EngineInstance.probeTime)
            failed = answer?.status == 200 || !isIdle() ? 0 : failed + 1
            guard failed < EngineInstance.mostFailedProbes else {
                throw ModelFailure(.timedOut, message: "The engine no longer answers \(probe.path).")
            }
            await healthy()
        }
    }
}
