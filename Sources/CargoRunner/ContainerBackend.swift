internal import CargoArtifact
internal import CargoDocker
internal import CargoFiles
internal import CargoSandbox
internal import CargoStore
internal import Synchronization
internal import SystemPackage

/// Runs a job as a container: the same request, events and outcome as in our own sandbox.
struct ContainerBackend: Sendable {
    let store: CargoStore
    let settings: ContainerSettings

    func run(_ request: RunRequest, onEvent: @Sendable (RunEvent) async -> Void) async throws -> RunOutcome {
        try Task.checkCancellation()
        let plan = try JobPlan(request)
        let sandbox = try SharedSandbox.get(store)
        let folder = try await blocking { [store] in try JobFolder(store: store, job: plan, sandbox: sandbox) }
        do {
            let outcome = try await run(plan, in: folder, onEvent: onEvent)
            try? await blocking { folder.remove() }
            return outcome
        } catch {
            try? await blocking { folder.remove() }
            throw (error as? EngineError).map(ContainerBackend.explain) ?? error
        }
    }

    private func run(
        _ plan: JobPlan, in folder: JobFolder, onEvent: @Sendable (RunEvent) async -> Void
    ) async throws -> RunOutcome {
        let request = plan.request
        if case .owner = settings.trust { try? await settings.removeEnded() }
        let runner = try await settings.runner(store: store, allowMissing: request.allowMissing)
        let job = try await blocking { [settings] in try ContainerLayout(plan, folder, settings).job() }
        let clock = LogClock()
        let log = Mutex(JobLog(limits: request.logLimits, interface: plan.config.interface, now: clock.seconds))
        let outcome = try await runner.run(job) { event in
            switch event {
            case .started: await onEvent(.started)
            case .progress(let progress):
                await onEvent(.provisioning(RunProgress(phase: progress.phase, current: progress.current, total: progress.total)))
            case .log(let stream, let bytes):
                let taken = log.withLock { $0.take(stream == .stdout ? .stdout : .stderr, bytes, now: clock.seconds) }
                for event in taken.events { await onEvent(event) }
                await clock.pause(taken.pause) { false }
            }
        }
        for event in log.withLock({ $0.finish() }) { await onEvent(event) }
        let account = log.withLock { $0 }
        let images = account.speech?.images ?? []
        let collector = OutputCollector(
            source: folder.output, target: request.output, maxBytes: plan.outputBytes, maxFiles: plan.outputFiles)
        let collected = try await blocking { try collector.collect(adding: images) }
        let isOver = outcome.stopped == .outputLimit
        let over = Refusal(
            "output_limit", "the job wrote more than its \(plan.outputBytes) bytes or \(plan.outputFiles) files of output")
        let outOfCPU =
            outcome.oomKilled ? nil : plan.cpuLimit(signal: outcome.signal, cpuSeconds: outcome.cpuSeconds)
        return RunOutcome(
            exitCode: outcome.exitCode, signal: outcome.signal, timedOut: outcome.timedOut || outOfCPU != nil,
            oomKilled: outcome.oomKilled,
            wallSeconds: outcome.wallSeconds, cpuSeconds: outcome.cpuSeconds, maxRSSBytes: outcome.maxRSSBytes,
            outputs: collected.outputs, logBytes: account.bytes, logDigest: account.digest, logTruncated: account.isTruncated,
            limit: isOver ? over : outOfCPU ?? collected.limit ?? plan.saidFailure(account, exitCode: outcome.exitCode),
            missing: [], skipped: collected.skipped, deniedCalls: [:],
            logLinesSplit: account.linesSplit, logPausedSeconds: account.pausedSeconds,
            malformedLines: account.speech?.malformed ?? 0)
    }

    /// The same sentence as an error of this room.
    static func explain(_ error: EngineError) -> any Error {
        switch error.code {
        case .imageRefused: Refusal("image_refused", error.description)
        case .commandNotFound, .commandNotExecutable: RunFailure(.commandNotFound, error.description)
        case .imageNotFound: RunFailure(.imageNotFound, error.description)
        case .interrupted: RunFailure(.interrupted, error.description)
        case .pullFailed, .provisioningTimedOut, .unreachable: RunFailure(.provisioningFailed, error.description)
        case .unsupported, .containerNotFound, .conflict, .badRequest, .failed: RunFailure(.runtime, error.description)
        }
    }
}
