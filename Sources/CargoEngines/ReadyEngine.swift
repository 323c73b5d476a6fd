public import CargoArtifact
public import CargoRunner
public import CargoStore
internal import FoundationEssentials
internal import Glibc
internal import SystemPackage

/// An engine of this host with all that it needs: how a cargo becomes a launch.
public struct ReadyEngine: Sendable {
    public let entry: EngineList.Entry
    public let cargo: StoredCargo
    public let manifest: EngineManifest
    /// The template whose paths are all granted.
    let template: [String]

    /// Throws `Refusal` when its owner has not granted what it needs.
    public init(_ entry: EngineList.Entry, cargo: StoredCargo) throws {
        guard let manifest = cargo.config.engineManifest, cargo.config.kind == .engine else {
            throw Refusal("engine", "\(cargo.config.name) is no engine")
        }
        for path in Array(entry.grants.values) + (entry.visible ?? []) { try EngineUse.check(FilePath(path)) }
        guard manifest.server == nil else {
            throw Refusal("engine", "\(entry.name) is a server that runs already; nothing of it is started")
        }
        self.entry = entry
        self.cargo = cargo
        self.manifest = manifest
        let templates = [cargo.config.command ?? []] + (manifest.alternatives ?? [])
        guard let template = templates.first(where: { EngineManifest.grants(of: $0).isSubset(of: Set(entry.grants.keys)) }) else {
            let wanted = templates.map { EngineManifest.grants(of: $0).sorted().joined(separator: " and ") }
            throw Refusal(
                "grant",
                "\(entry.name) needs a path that was not granted: \(wanted.joined(separator: ", or ")); run 'cargo-run engines add' with --grant NAME=PATH"
            )
        }
        self.template = template
    }

    /// Requests of one model at once.
    public var slots: Int { max(1, min(EngineManifest.mostSlots, entry.slots ?? manifest.slots ?? EngineManifest.defaultSlots)) }

    /// Whether one instance of a cargo may serve several accounts. Never where it asks other models: whom it asks for must be clear.
    public func isShared(_ config: CargoConfig) -> Bool {
        entry.trusted == true && manifest.dataOnly == true && config.models == nil
    }

    /// What can be asked of this very model here: what it can do of what the engine answers.
    func operations(of config: CargoConfig) -> [String] {
        let all = manifest.operations ?? []
        // An engine for those alone that name it knows better than a header what it makes of their files.
        guard manifest.byName != true, let able = config.serving?.facts?.operations else { return all }
        return all.filter(able.contains)
    }

    /// Whether it runs this cargo.
    public func runs(_ config: CargoConfig) -> Bool {
        guard manifest.kinds.contains(config.kind) else { return false }
        if let engine = config.engine, engine != entry.name { return false }
        if manifest.byName == true, config.engine == nil { return false }
        // A process brings its own program: an engine is only for those that ask for it.
        if config.kind == .process, config.engine == nil { return false }
        guard let formats = manifest.formats, let format = config.serving?.facts?.format else { return true }
        return formats.contains(format)
    }

    /// The engine for a cargo: the one that it names, else the first that takes its kind and format.
    public static func choose(_ engines: [ReadyEngine], for config: CargoConfig) throws -> ReadyEngine {
        if let found = engines.first(where: { $0.runs(config) }) { return found }
        throw Refusal(
            "engine",
            config.engine.map {
                "this host has no engine '\($0)', which \(config.name) asks for; its owner adds it with 'cargo-run engines add'"
            }
                ?? "this host has no engine for \(config.kind.rawValue) cargos; its owner adds one with 'cargo-run engines add'")
    }

    /// Bytes and GPUs that a model is expected to take.
    func need(for config: CargoConfig) -> WarmPool.Need {
        let estimate = config.serving?.estimate.map { Int64(clamping: $0.total) + Int64(ModelEstimate.engineBytes) }
        let memory = estimate ?? config.resources.memory?.bytes ?? 1 << 30
        let gpus = entry.gpus ?? []
        let share = gpus.isEmpty ? 0 : config.resources.gpu?.vram?.bytes ?? memory / Int64(gpus.count)
        return WarmPool.Need(memory: memory, vram: share, gpus: gpus, slots: slots)
    }

    /// The launch for a cargo.
    public func use(for config: CargoConfig) throws -> EngineUse {
        EngineUse(
            cargo: cargo, command: try command(for: config),
            grants: (Array(entry.grants.values) + (entry.visible ?? [])).sorted().map { FilePath($0) })
    }

    /// The template with everything filled in but the job's environment.
    func command(for config: CargoConfig) throws -> [String] {
        var values = entry.grants
        let context = config.serving?.context ?? Int(ModelEstimate.defaultContext)
        let cores = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
        for word in EngineManifest.Word.allCases {
            switch word {
            case .model: values[word.rawValue] = try ReadyEngine.model(of: config)
            case .socket: values[word.rawValue] = EngineUse.socket
            case .context: values[word.rawValue] = String(context)
            case .contextOfAll: values[word.rawValue] = String(context * slots)
            case .slots: values[word.rawValue] = String(slots)
            case .threads:
                values[word.rawValue] = String(max(1, min(cores, config.resources.cpu.map { Int($0.rounded(.up)) } ?? cores)))
            case .gpuLayers: values[word.rawValue] = entry.gpus?.isEmpty == false ? "999" : "0"
            case .engine: values[word.rawValue] = EngineUse.folder
            case .name: values[word.rawValue] = config.name
            case .models: values[word.rawValue] = EngineUse.models
            case .arguments, .environment, .embeddings: break
            }
        }
        return template.flatMap { element -> [String] in
            switch element {
            case "{" + EngineManifest.Word.arguments.rawValue + "}":
                return Array((config.command ?? []).dropFirst(config.kind == .wasm ? 1 : 0))
            case EngineUse.environmentWord: return [element]
            case "{" + EngineManifest.Word.embeddings.rawValue + "}":
                return config.serving?.facts?.operations?.contains("embeddings") == true ? ["--embeddings"] : []
            default: return [ReadyEngine.fill(element, values)]
            }
        }
    }

    /// Each name in braces replaced once: what is put in is never read for further names.
    private static func fill(_ element: String, _ values: [String: String]) -> String {
        var filled = ""
        var rest = element[...]
        while let open = rest.firstIndex(of: "{"), let close = rest[open...].firstIndex(of: "}") {
            let name = String(rest[rest.index(after: open)..<close])
            filled += rest[..<open]
            filled += values[name] ?? "{\(name)}"
            rest = rest[rest.index(after: close)...]
        }
        return filled + rest
    }

    private static func model(of config: CargoConfig) throws -> String {
        let path = config.kind == .wasm ? config.command?.first : config.serving?.weights
        guard let path else { return "" }
        return "/cargo/" + (try SafePath(path).text)
    }
}
