internal import CargoArtifact
internal import CargoFiles
internal import FoundationEssentials
internal import SystemPackage

/// Runs containers, one call each, from image to outcome.
public struct ContainerRunner: Sendable {
    let engine: Engine
    let images: ContainerImages
    let isRootless: Bool

    /// Asks the engine what it enforces; refuses one that would leave a limit out (as `docker info` warns).
    public init(engine: Engine, images: ContainerImages, allowMissing: Set<String> = []) async throws {
        self.engine = engine
        self.images = images
        let information = try await engine.information()
        isRootless = information.isRootless
        let missing = ContainerRunner.missing(information).filter { !allowMissing.contains($0) }
        guard missing.isEmpty else {
            throw Refusal(
                missing[0],
                "the container engine cannot enforce \(missing.joined(separator: ", ")) on this host; "
                    + "`docker info` says why, --allow-missing takes it as it is")
        }
    }

    /// What of our limits an engine would take and not enforce.
    static func missing(_ information: EngineInformation) -> [String] {
        var missing: [String] = []
        if !(information.limitsMemory && information.limitsProcesses && information.limitsCPU) { missing.append("cgroup") }
        if !information.filtersSystemCalls { missing.append("seccomp") }
        return missing
    }

    /// Runs to the end. `onEvent` is awaited, so a slow reader slows the container instead of filling memory.
    ///
    /// Cancelling the task stops the command (SIGTERM, `grace`, SIGKILL) and still returns its outcome. Throws
    /// `EngineError` or `Refusal` when nothing was run, `CancellationError` when it was cancelled before that. However it
    /// ends, the container is gone afterwards.
    public func run(_ job: ContainerJob, onEvent: @Sendable (ContainerEvent) async -> Void) async throws -> ContainerOutcome {
        let began = ContinuousClock.now
        let (image, body) = try await provision(job, onEvent: onEvent)
        let control = try await ControlSocket.listen(in: job.control)
        do {
            // The name holds the job's id for people; the end of it makes each attempt's own.
            let name =
                "longshore-\(job.id.filter { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-") }.prefix(64))-"
                + String(UInt32.random(in: .min ... .max), radix: 36)
            let id = try await engine.create(body, name: name)
            let run = ContainerRun(engine: engine, id: id, job: job, image: image, control: control)
            let outcome: ContainerOutcome
            do {
                outcome = try await run.toEnd(provisioningBegan: began, onEvent: onEvent)
            } catch {
                await remove(id, control)
                throw error
            }
            await remove(id, control)
            return outcome
        } catch {
            await control.close()
            throw error
        }
    }

    /// Image and body, within the provisioning time.
    private func provision(
        _ job: ContainerJob, onEvent: @Sendable (ContainerEvent) async -> Void
    ) async throws -> (ReadyImage, ContainerBody) {
        let late = EngineError(
            .provisioningTimedOut, "bring the image of job \(job.id) here",
            "it took longer than \(job.provisioningTimeout) seconds")
        let image = try await withoutActuallyEscaping(onEvent) { onEvent in
            try await withTimeLimit(seconds: job.provisioningTimeout, orThrow: late) {
                try await images.ready(job.image) { await onEvent(.progress($0)) }
            }
        }
        let profile = try ContainerProfile.prepared(job.profile)
        var spec = ContainerSpec(
            image: image.id, job: job.id, agent: job.agent, control: job.control,
            profile: String(decoding: profile, as: UTF8.self))
        if engine.kind == .podman {
            // Podman takes the profile as a file of its host.
            let folder = try Folder.open(job.control)
            try folder.writeAtomically("seccomp.json", profile, permissions: 0o644)
            spec.profile = folder.path.appending("seccomp.json").string
        }
        spec.command = job.command
        spec.arguments = job.arguments
        spec.environment = job.environment
        spec.workingFolder = job.workingFolder
        spec.shares = job.shares
        spec.limits = job.limits
        spec.network = job.network
        spec.gpus = job.gpus
        spec.hasInput = job.standardInput != nil
        spec.isTerminal = job.isTerminal
        let host = ContainerHost(engine: engine.kind, isRootless: isRootless, jobUser: job.user)
        return (image, try ContainerBody(spec, image: image.wishes, host: host))
    }

    /// Also when the caller was cancelled meanwhile.
    private func remove(_ id: String, _ control: ControlSocket) async {
        let work = Task {
            await control.close()
            try? await engine.remove(id)
        }
        await work.value
    }

    /// Removes the containers that an earlier life of `agent` left on this host; returns their jobs' ids.
    ///
    /// `onlyEnded`: those that run are left alone, where several processes share the name.
    @discardableResult
    public static func removeLeftovers(of agent: String, engine: Engine, onlyEnded: Bool = false) async throws -> [String] {
        var jobs: [String] = []
        for container in try await engine.containers(labels: ["\(ContainerLabel.agent)=\(agent)"]) {
            if onlyEnded, !["exited", "dead"].contains(container.state ?? "") { continue }
            try await engine.remove(container.id)
            jobs.append(container.labels?[ContainerLabel.job] ?? container.id)
        }
        return jobs.sorted()
    }
}

/// Runs `body`; cancels it and throws `failure` when it takes longer.
func withTimeLimit<Value: Sendable>(
    seconds: Double, orThrow failure: EngineError, _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
    try await withThrowingTaskGroup(of: Value.self) { group in
        group.addTask { try await body() }
        group.addTask {
            try await Task.sleep(for: .seconds(seconds))
            throw failure
        }
        defer { group.cancelAll() }
        guard let first = try await group.next() else { throw failure }
        return first
    }
}
