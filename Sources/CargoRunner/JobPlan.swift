internal import CargoArtifact
internal import CargoSandbox
internal import CargoStore
internal import SystemPackage

/// What one request comes to on this host: checked, with every limit filled in. Decides; touches nothing.
struct JobPlan {
    /// What a job gets where neither it nor its cargo says.
    static let memory: Int64 = 2 << 30
    static let processes = 512
    static let disk: Int64 = 1 << 30
    static let files = 1000
    static let seconds = 3600.0
    /// Most bytes of all arguments and of the parameters.
    static let argumentBytes = 1 << 20
    static let parameterBytes = 1 << 20

    let request: RunRequest
    let resources: Resources
    let parameters: [UInt8]

    var config: CargoConfig { request.cargo.config }
    /// Of what is executed: the engine's where one runs the cargo.
    private var program: CargoConfig { request.engine?.cargo.config ?? config }
    /// What brings the root file system, where it is not the host's.
    var programCargo: StoredCargo { request.engine?.cargo ?? request.cargo }

    /// Most bytes and files in `/job/output`.
    var outputBytes: Int64 {
        min(resources.disk?.bytes ?? JobPlan.disk, config.outputs?.maxBytes?.bytes ?? resources.disk?.bytes ?? JobPlan.disk)
    }
    var outputFiles: Int { max(0, config.outputs?.maxFiles ?? JobPlan.files) }
    /// Most entries of any kind there: folders and what is left out have no bound of their own.
    var outputEntries: Int { outputFiles * 4 + 1000 }
    var seconds: Double { resources.time?.value ?? JobPlan.seconds }
    /// Processor time of all processes together; nil is unlimited.
    var cpuSeconds: Double? { resources.cpuTime.map { max(0.01, $0.value) } }

    init(_ request: RunRequest) throws {
        self.request = request
        let config = request.cargo.config
        resources = config.resources.lowered(by: request.limits)
        let isContainer = request.runsInContainer
        let hasImage = request.cargo.image != nil
        switch config.kind {
        case .process where isContainer && !hasImage:
            throw Refusal(
                "kind", "a cargo of kind process without an image has nothing to run in a container; use --backend sandbox")
        case .process where config.rootfs == .layers && !hasImage:
            throw Refusal("rootfs", "this cargo asks for layers and brings none; pack it with image: {bundled: image.tar}")
        case .container where !isContainer && !hasImage:
            throw Refusal(
                "image",
                "this cargo only names its image, which a container engine must pull: start Docker or Podman, or pack the image with it (image: {bundled: image.tar})"
            )
        case .process, .container: break
        case _ where request.engine != nil && config.kind != .container: break
        default:
            throw Refusal(
                "kind",
                isContainer
                    ? "a cargo of kind \(config.kind.rawValue) brings no image; run it with --backend sandbox"
                    : "cargos of kind \(config.kind.rawValue) need an engine that this host does not have; its owner adds one with 'cargo-run engines add'"
            )
        }
        let command = request.engine?.command ?? config.command ?? []
        guard config.kind == .container || !command.isEmpty else {
            throw Refusal("command", "this cargo names no command; add one to its cargo.yaml")
        }
        try JobEnvironment.check(request.environment, allowed: config.jobEnv ?? [])
        let words = command + request.arguments
        guard words.reduce(0, { $0 + $1.utf8.count + 1 }) <= JobPlan.argumentBytes, words.allSatisfy({ !$0.utf8.contains(0) })
        else {
            throw Refusal("arguments", "the arguments are longer than \(JobPlan.argumentBytes) bytes or hold a zero byte")
        }
        for input in request.inputs { _ = try SafePath(input.name) }
        guard Set(request.inputs.map(\.name)).count == request.inputs.count else {
            throw Refusal("inputs", "two inputs have the same name")
        }
        switch config.network {
        case .none, .loopback: break
        case _ where request.engine != nil:
            throw Refusal("network", "a cargo that an engine runs gets no network")
        case .egress where isContainer:
            throw Refusal("network", "a container gets no single network targets; run the cargo with --backend sandbox")
        case .egress(let targets):
            for target in targets where EgressTarget(target) == nil {
                throw Refusal(
                    "network", "'\(target.prefix(300))' is no network target; a target is one host:port, without patterns")
            }
        case .host:
            guard request.allowHostNetwork else {
                throw Refusal("network", "this cargo asks for the host's network, which this host's owner has not allowed")
            }
        }
        let gpus = resources.gpu?.count ?? (resources.gpu?.vram == nil ? 0 : 1)
        guard request.gpus.count >= gpus else {
            throw Refusal("gpu", "this cargo asks for \(gpus) GPUs, and \(request.gpus.count) are assigned to it on this host")
        }
        parameters = CanonicalJSON.encode(.object(request.parameters))
        guard parameters.count <= JobPlan.parameterBytes else {
            throw Refusal(
                "parameters", "the parameters are longer than \(JobPlan.parameterBytes) bytes; pass them as an input file")
        }
    }

    /// Whether the cargo's own image is what the process stands on.
    var needsRoot: Bool {
        !request.runsInContainer && programCargo.image != nil && (program.kind == .container || program.rootfs == .layers)
    }

    /// A cargo that says `error` and ends as if all were well has failed all the same.
    func saidFailure(_ log: JobLog, exitCode: Int?) -> Refusal? {
        guard exitCode == 0, let message = log.speech?.failure else { return nil }
        return Refusal("cargo_error", message)
    }

    /// Everything the sandbox needs, over a job's prepared folder; `root` where `needsRoot` says so.
    func spec(in folder: JobFolder, root: CarriedRoot? = nil) throws -> SandboxSpec {
        let own = request.engine?.command ?? config.command
        let command = own.flatMap { $0.isEmpty ? nil : $0 } ?? root?.command ?? []
        guard !command.isEmpty else {
            throw Refusal("no-command", "the image names no command and the cargo gives none; add one to its cargo.yaml")
        }
        var spec = SandboxSpec(command: command + request.arguments)
        let environment = (root?.environment ?? [:]).merging(program.env ?? [:]) { $1 }
        spec.environment = JobEnvironment.make(
            cargo: environment.merging(root == nil ? [:] : ["PATH": program.env?["PATH"] ?? CarriedRoot.path]) { $1 },
            job: request.environment, name: config.name, version: config.version, jobID: request.jobID)
        spec.workingFolder = request.cargo.parts.isEmpty ? root?.workingFolder ?? "/cargo" : "/cargo"
        if let root {
            spec.root = .layers(root.layers)
            spec.temporaryFolders = root.volumes
        }
        for part in request.cargo.parts {
            switch part {
            case .tree(let path): spec.cargo.append(path)
            case .file(let path, let blob):
                spec.shares.append(.init(source: blob, target: "/cargo/" + (try SafePath(path).text), isFolder: false))
            }
        }
        if let engine = request.engine { try add(engine, to: &spec) }
        spec.folders += ["/job/input", "/job/run"]
        spec.shares += folder.inputShares
        spec.shares.append(.init(source: folder.output, target: "/job/output", isFolder: true, isWritable: true))
        if program.interface == .http {
            spec.shares.append(.init(source: folder.socketFolder, target: "/job/run", isFolder: true, isWritable: true))
        }
        if let models = folder.modelFolder {
            spec.folders.append("/job/models")
            spec.shares.append(.init(source: models, target: "/job/models", isFolder: true))
        }
        spec.files["/job/params.json"] = parameters
        if config.interface == .stdioJSONL, request.engine == nil || config.kind == .wasm {
            spec.standardInput = parameters + [10]
        }
        switch config.network {
        case .none, .loopback: spec.network = .isolated
        case .host: spec.network = .host
        case .egress(let targets):
            spec.network = .egress(targets.compactMap { EgressTarget($0) }, privateAddresses: request.allowPrivateTargets)
            let proxy = "http://127.0.0.1:\(EgressTarget.proxyPort)"
            spec.environment += [("HTTPS_PROXY", proxy), ("https_proxy", proxy), ("NO_PROXY", "localhost,127.0.0.1")]
        }
        if !request.gpus.isEmpty {
            let gpus = try GPUInventory().assignment(of: request.gpus, skipsHooks: request.allowMissing.contains("cdi-hooks"))
            spec.devices = gpus.devices
            spec.shares += gpus.shares
            spec.environment += gpus.environment.sorted { $0.key < $1.key }.map { (name: $0.key, value: $0.value) }
        }
        spec.profile = program.sandbox
        spec.limits = .init(
            memory: resources.memory?.bytes ?? JobPlan.memory, processes: resources.pids ?? JobPlan.processes, cpu: resources.cpu,
            // Files in /tmp and /dev/shm count too, so the bound is not the output's alone where that is smaller: what
            // grows past it is found by looking.
            fileSize: max(outputBytes, spec.temporaryBytes) + 4096)
        // A whole second more than the sum has: what runs as one process is stopped for the sum, with its grace.
        spec.limits.cpuSeconds = cpuSeconds.map { Int($0.rounded(.up)) + 1 }
        spec.limits.diskRate = request.diskRate.map { .init(bytes: $0, under: folder.output) }
        spec.allowMissing = request.allowMissing
        spec.tracesCalls = request.tracesCalls
        return spec
    }

    /// The engine's own files, what its owner granted it, and the environment where it passes that on itself.
    private func add(_ engine: EngineUse, to spec: inout SandboxSpec) throws {
        for part in engine.cargo.parts {
            guard case .tree(let path) = part, !spec.folders.contains(EngineUse.folder) else {
                throw Refusal("engine", "an engine's own files are one layer; pack \(engine.cargo.config.name) without weights")
            }
            spec.folders.append(EngineUse.folder)
            spec.shares.append(.init(source: path, target: EngineUse.folder, isFolder: true))
        }
        for share in try engine.shares() {
            spec.shares.append(.init(source: share.path, target: share.path.string, isFolder: share.isFolder))
        }
        let inner = JobEnvironment.make(
            cargo: config.env ?? [:], job: request.environment, name: config.name, version: config.version, jobID: request.jobID)
        spec.command = engine.command(environment: inner) + request.arguments
    }
}

extension JobPlan {
    static let cpuTimeRule = "cpu_time_limit"

    static func cpuLimit(_ seconds: Double) -> Refusal {
        Refusal(cpuTimeRule, "the job used more than its \(seconds) s of processor time")
    }

    /// Whether the kernel ended a process for its processor time (SIGXCPU, then SIGKILL), told from what else kills.
    func cpuLimit(signal: Int?, cpuSeconds used: Double) -> Refusal? {
        guard let cpuSeconds, let signal, signal == 24 || signal == 9, used >= cpuSeconds else { return nil }
        return JobPlan.cpuLimit(cpuSeconds)
    }
}
