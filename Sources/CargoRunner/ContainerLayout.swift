internal import CargoArtifact
internal import CargoDocker
internal import CargoFiles
internal import CargoSandbox
internal import CargoStore
internal import Glibc
internal import SystemPackage

/// What of a job's folder stands where inside its container: the same places as in our sandbox.
///
/// A mount point inside a read-only mount cannot be made by the engine, so whatever is nested is prepared on this host.
struct ContainerLayout {
    let plan: JobPlan
    let folder: JobFolder
    let settings: ContainerSettings
    private let place: FilePath

    init(_ plan: JobPlan, _ folder: JobFolder, _ settings: ContainerSettings) {
        self.plan = plan
        self.folder = folder
        self.settings = settings
        place = folder.output.removingLastComponent()
    }

    private var request: RunRequest { plan.request }
    private var config: CargoConfig { plan.request.cargo.config }

    /// Everything that the container needs. Touches the disk; call from `blocking`.
    func job() throws -> ContainerJob {
        let control = place.appending("control")
        _ = try Folder.open(control, create: 0o755)
        guard let profile = SandboxProfiles.json(named: config.sandbox) else {
            throw Refusal(
                "profile",
                "there is no sandbox profile '\(config.sandbox.prefix(64))'; this host has \(Sandbox.profileNames.joined(separator: ", "))"
            )
        }
        var job = ContainerJob(
            image: try image(), id: request.jobID, agent: settings.agent, profile: profile, control: control)
        job.command = config.command.flatMap { $0.isEmpty ? nil : $0 }
        job.arguments = request.arguments
        job.environment = environment()
        job.shares = try shares()
        job.workingFolder = request.cargo.parts.isEmpty ? nil : "/cargo"
        job.limits.memory = plan.resources.memory?.bytes ?? JobPlan.memory
        job.limits.processes = plan.resources.pids ?? JobPlan.processes
        // The runner's own bound is this host's cores.
        job.limits.cpu = plan.resources.cpu ?? 1024
        job.limits.fileSize = plan.outputBytes
        job.limits.cpuSeconds = plan.cpuSeconds.map { Int($0.rounded(.up)) }
        if !request.gpus.isEmpty { job.gpus = .cdi(request.gpus.map { "nvidia.com/gpu=\($0)" }) }
        if config.network == .host { job.network = .host }
        if config.interface == .stdioJSONL { job.standardInput = plan.parameters + [10] }
        job.user = folder.user.isSeparate ? folder.user.id : nil
        job.timeout = plan.seconds
        job.provisioningTimeout = settings.provisioningSeconds
        job.grace = request.grace
        let (output, bytes, entries) = (folder.output, plan.outputBytes, plan.outputEntries)
        job.isOverOutputLimit = {
            let use = try? await blocking { try OutputWatch.measure(try Folder.open(output), depth: 0, entries: entries) }
            return use.map { $0.bytes > bytes || $0.entries > entries } ?? false
        }
        return job
    }

    private func image() throws -> ContainerImage {
        if let image = request.cargo.image {
            return .bundled(
                BundledImage(
                    manifest: image.manifest.config.digest, config: image.manifest.config, configPath: image.config,
                    layers: image.layers.map { .init(descriptor: $0.descriptor, path: $0.blob) }))
        }
        guard let name = config.image, let reference = ImageReference(name) else {
            throw Refusal("image", "the cargo brings no image and names none that could be pulled")
        }
        return .named(reference)
    }

    private func environment() -> [String: String] {
        let all = JobEnvironment.make(
            cargo: config.env ?? [:], job: request.environment, name: config.name, version: config.version, jobID: request.jobID)
        var environment = Dictionary(all.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
        // Images keep programs in /sbin too; the container's own default knows.
        if config.env?["PATH"] == nil { environment["PATH"] = nil }
        return environment
    }

    private func shares() throws -> [ContainerShare] {
        var shares = folder.inputShares.map { ContainerShare(source: $0.source, target: $0.target) }
        if shares.isEmpty { shares.append(ContainerShare(source: place.appending("input"), target: "/job/input")) }
        shares += try cargo()
        let parameters = try Folder.open(place)
        try parameters.writeAtomically("params.json", plan.parameters, permissions: 0o644)
        shares.append(ContainerShare(source: place.appending("params.json"), target: "/job/params.json"))
        // The image may name its own user; the folder above lets nobody else come here.
        for path in [folder.output, folder.socketFolder] {
            guard path.withPlatformString({ chmod($0, 0o777) }) == 0 else {
                throw RunFailure(.runtime, "the folder \(path) cannot be opened to the container's user")
            }
        }
        shares.append(ContainerShare(source: folder.output, target: "/job/output", isWritable: true))
        if config.interface == .http {
            shares.append(ContainerShare(source: folder.socketFolder, target: "/job/run", isWritable: true))
        }
        return shares
    }

    /// `/cargo`: one tree as it is; single files over places that are made for them first.
    private func cargo() throws -> [ContainerShare] {
        var trees: [FilePath] = []
        var files: [(path: String, blob: FilePath)] = []
        for part in request.cargo.parts {
            switch part {
            case .tree(let path): trees.append(path)
            case .file(let path, let blob): files.append((try SafePath(path).text, blob))
            }
        }
        guard trees.count + (files.isEmpty ? 0 : 1) <= 1 else {
            throw Refusal(
                "cargo-parts",
                "a container's /cargo is one layer of files or single files, not both; pack the files into the image")
        }
        if let tree = trees.first { return [ContainerShare(source: tree, target: "/cargo")] }
        guard !files.isEmpty else { return [] }
        let base = try Folder.open(place.appending("cargo"), create: 0o755)
        for file in files {
            var inner = base
            let parts = file.path.split(separator: "/").map(String.init)
            for part in parts.dropLast() {
                try inner.makeFolder(part, permissions: 0o755)
                inner = try inner.folder(part)
            }
            _ = try inner.open(parts.last ?? "", .readWrite, options: [.create, .exclusiveCreate], permissions: 0o444)
        }
        return [ContainerShare(source: base.path, target: "/cargo")]
            + files.map { ContainerShare(source: $0.blob, target: "/cargo/" + $0.path) }
    }
}
