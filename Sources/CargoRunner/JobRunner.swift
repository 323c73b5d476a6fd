internal import CargoArtifact
internal import CargoFiles
internal import CargoSandbox
public import CargoStore
internal import SystemPackage

/// Turns (cargo, inputs, limits) into events and one outcome; knows nothing of queues or HTTP.
public struct JobRunner: Sendable {
    let store: CargoStore

    public init(store: CargoStore) { self.store = store }

    /// Runs to the end. `onEvent` is awaited, so a slow reader slows the job instead of filling memory.
    /// Cancelling the task stops the job (SIGTERM, `grace`, SIGKILL) and still returns its outcome.
    /// Throws `Refusal` (exit 126) or `RunFailure` (exit 125 or 127) when nothing was run, `CancellationError` when it
    /// was cancelled before that.
    public func run(_ request: RunRequest, onEvent: @Sendable (RunEvent) async -> Void) async throws -> RunOutcome {
        try Task.checkCancellation()
        var request = request
        request.backend = await request.chosenBackend()
        if request.runsInContainer {
            guard let settings = request.containers else {
                throw Refusal("containers", "the owner of this host has not turned containers on")
            }
            return try await ContainerBackend(store: store, settings: settings).run(request, onEvent: onEvent)
        }
        return try await confined(request, timeout: true, onStart: { _ in }, onEvent: onEvent)
    }

    /// Runs a cargo that serves until it ends by itself, is stopped or the task is cancelled; no run time bounds it.
    ///
    /// `serving` is called once, when the command was executed, and must return soon; nothing may listen yet.
    public func serve(
        _ request: RunRequest, serving: @Sendable (ServingJob) async -> Void, onEvent: @Sendable (RunEvent) async -> Void
    ) async throws -> RunOutcome {
        try Task.checkCancellation()
        var request = request
        request.backend = .sandbox
        return try await confined(
            request, timeout: false, onStart: { await serving(try ServingJob(process: $0, folder: $1)) }, onEvent: onEvent)
    }

    private func confined(
        _ request: RunRequest, timeout: Bool,
        onStart: @Sendable ((ConfinedProcess, JobFolder)) async throws -> Void,
        onEvent: @Sendable (RunEvent) async -> Void
    ) async throws -> RunOutcome {
        let job = try JobPlan(request)
        let sandbox = try SharedSandbox.get(store)
        let root = try await root(of: job, onEvent: onEvent)
        let folder = try await blocking { [store] in try JobFolder(store: store, job: job, sandbox: sandbox) }
        do {
            let outcome = try await run(
                job, in: folder, root, sandbox, timeout: timeout ? job.seconds : nil, onStart: onStart, onEvent: onEvent)
            try? await blocking { folder.remove() }
            return outcome
        } catch {
            try? await blocking { folder.remove() }
            throw (error as? SandboxError).map(SharedSandbox.explain) ?? error
        }
    }

    /// The first run of an image on this host unpacks it, which is no run time of the job.
    private func root(of job: JobPlan, onEvent: @Sendable (RunEvent) async -> Void) async throws -> CarriedRoot? {
        guard job.needsRoot, let image = job.programCargo.image else { return nil }
        let bytes = image.layers.reduce(0) { $0 + $1.descriptor.size }
        await onEvent(.provisioning(RunProgress(phase: "extracting", current: 0, total: bytes)))
        return try await blocking { [store] in try CarriedRoot(job.programCargo, in: store) }
    }

    private func run(
        _ job: JobPlan, in folder: JobFolder, _ root: CarriedRoot?, _ sandbox: Sandbox, timeout: Double?,
        onStart: @Sendable ((ConfinedProcess, JobFolder)) async throws -> Void,
        onEvent: @Sendable (RunEvent) async -> Void
    ) async throws -> RunOutcome {
        let spec = try job.spec(in: folder, root: root)
        let missing = sandbox.missing(for: spec)
        try Task.checkCancellation()
        let process = try await sandbox.launch(spec, as: folder.user)
        let verdict = Verdict()
        let clock = LogClock()
        var log = JobLog(limits: job.request.logLimits, interface: job.config.interface, now: clock.seconds)
        let end: ProcessEnding
        do {
            async let _ = OutputWatch.guarding(
                folder.output, bytes: job.outputBytes, files: job.outputFiles, entries: job.outputEntries, process, verdict)
            async let _ = CPUWatch.guarding(process, seconds: job.cpuSeconds, verdict)
            async let ending = process.wait(timeout: timeout, grace: job.request.grace)
            try await onStart((process, folder))
            await onEvent(.started)
            while let piece = try await process.nextOutput() {
                let stream: RunEvent.Stream = piece.stream == .standardOutput ? .stdout : .stderr
                let taken = log.take(stream, piece.bytes, now: clock.seconds)
                for event in taken.events { await onEvent(event) }
                await clock.pause(taken.pause) { process.isOver }
            }
            for event in log.finish() { await onEvent(event) }
            end = try await ending
        }
        let collector = OutputCollector(
            source: folder.output, target: job.request.output, maxBytes: job.outputBytes, maxFiles: job.outputFiles)
        let images = log.speech?.images ?? []
        let collected = try await blocking { try collector.collect(adding: images) }
        if end.outOfMemoryKills == 0, let limit = job.cpuLimit(signal: end.signal, cpuSeconds: end.cpuSeconds) {
            verdict.set(limit)
        }
        let isOutOfTime = end.timedOut || verdict.limit?.rule == JobPlan.cpuTimeRule
        return RunOutcome(
            exitCode: isOutOfTime ? nil : end.exitCode, signal: end.signal, timedOut: isOutOfTime,
            oomKilled: end.outOfMemoryKills > 0,
            wallSeconds: end.wallSeconds, cpuSeconds: end.cpuSeconds, maxRSSBytes: end.maxRSSBytes, outputs: collected.outputs,
            logBytes: log.bytes, logDigest: log.digest, logTruncated: log.isTruncated,
            limit: verdict.limit ?? collected.limit ?? job.saidFailure(log, exitCode: end.exitCode), missing: missing,
            skipped: collected.skipped,
            deniedCalls: process.deniedCalls, logLinesSplit: log.linesSplit, logPausedSeconds: log.pausedSeconds,
            malformedLines: log.speech?.malformed ?? 0)
    }
}
