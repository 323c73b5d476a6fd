public import CargoArtifact

/// What `cargo.yaml` says: the config that hosts will see, and what only packing needs.
public struct CargoSource: Hashable, Sendable {
    /// The `model:` block of gguf and onnx cargos.
    public struct Model: Hashable, Sendable {
        /// Paths of weight files, in order.
        public var weights: [String] = []
        /// Tokens of context that the cargo wants to be served with.
        public var context: Int?
    }

    /// `image:` of a container cargo, or of one with `rootfs: layers`.
    public enum Image: Hashable, Sendable {
        /// Pulled by the host, where its owner allows that.
        case named(String)
        /// An image or root file system beside `cargo.yaml` that travels inside the cargo: see `CarriedImage`.
        case bundled(String)
    }

    public var config: CargoConfig
    public var model: Model?
    public var image: Image?
    /// Nil: everything beside `cargo.yaml`.
    public var files: [String]?

    static let keys = [
        "name", "version", "kind", "description", "licenses", "model", "engine", "models", "command", "interface", "env",
        "job-env",
        "image",
        "files", "resources", "network", "sandbox", "rootfs", "outputs", "pricing", "cache",
    ]

    /// Reads the text of a `cargo.yaml`. Throws `SourceFailure` with line and column.
    public init(yaml text: String) throws {
        let file = try YAMLValue.parse(text)
        let top = try file.members(CargoSource.keys)
        func required(_ key: String) throws -> YAMLValue {
            guard let value = top[key] else { throw file.failure("'\(key)' is missing") }
            return value
        }
        let name = try required("name")
        guard CargoName(try name.string()) != nil else {
            throw name.failure("a name is publisher/name in lower-case letters, digits and single . _ - between them")
        }
        let version = try required("version")
        guard CargoVersion(try version.string()) != nil else {
            throw version.failure("a version is semantic, such as 1.2.0 or 1.2.0-rc.1, without '+build'")
        }
        let kind = try required("kind").choice(CargoKind.self)
        config = CargoConfig(name: try name.string(), version: try version.string(), kind: kind)
        config.description = try top["description"]?.string()
        config.licenses = try top["licenses"]?.strings()
        config.command = try top["command"]?.strings()
        if let interface = try top["interface"]?.choice(CargoInterface.self) { config.interface = interface }
        config.env = try top["env"].map(CargoSource.environment)
        config.jobEnv = try top["job-env"].map(CargoSource.environmentNames)
        if let resources = top["resources"] { config.resources = try CargoSource.resources(resources) }
        if let network = top["network"] { config.network = try CargoSource.network(network) }
        if let sandbox = top["sandbox"] {
            config.sandbox = try sandbox.string()
            guard !config.sandbox.isEmpty, config.sandbox.utf8.allSatisfy({ (97...122).contains($0) || $0 == 45 }) else {
                throw sandbox.failure("a sandbox is the name of a profile, such as inference, gpu, strict or build")
            }
        }
        if let rootfs = try top["rootfs"]?.choice(CargoRootfs.self) { config.rootfs = rootfs }
        config.outputs = try top["outputs"].map(CargoSource.outputs)
        config.pricing = try top["pricing"].map(CargoSource.pricing)
        config.cache = try top["cache"]?.bool()
        if let engine = top["engine"], kind == .engine {
            config.engineManifest = try CargoSource.engineManifest(engine)
            // What listens is asked over its socket; what runs to its end needs none.
            if config.engineManifest?.dialect != nil { config.interface = .http }
        } else if let engine = top["engine"] {
            config.engine = try engine.string()
            guard CargoName(try engine.string()) != nil else { throw engine.failure("an engine is publisher/name") }
        }
        config.models = try top["models"].map(CargoSource.modelNames)
        files = try top["files"]?.list().map { try CargoSource.path($0) }
        model = try top["model"].map(CargoSource.model)
        image = try top["image"].map { try CargoSource.image($0, isRoot: config.rootfs == .layers) }
        if case .named(let name) = image { config.image = name }
        try check(file, top)
    }

    /// What must be there, and what must not, for each kind.
    private func check(_ file: YAMLValue, _ top: [String: YAMLValue]) throws {
        func refuse(_ keys: String...) throws {
            for key in keys {
                if let value = top[key] { throw value.failure("'\(key)' does not belong to a \(config.kind.rawValue) cargo") }
            }
        }
        func need(_ key: String, _ why: String) throws {
            if top[key] == nil { throw file.failure("a \(config.kind.rawValue) cargo needs '\(key)': \(why)") }
        }
        func needBundled() throws {
            guard case .bundled = image else {
                throw (top["image"] ?? top["rootfs"] ?? file).failure(
                    "'rootfs: layers' needs an image that travels inside: image: {bundled: image.tar}, or the folder of a root file system"
                )
            }
        }
        switch config.kind {
        case .process, .engine:
            // What an engine runs needs no program of its own, and a server that is there already is not started.
            if config.engine == nil, config.engineManifest?.server == nil {
                try need("command", "the program to run, such as [python3, main.py]")
            }
            if config.kind == .engine {
                try need("engine", "what it serves, such as {protocol: openai, kinds: [gguf], ready: {path: /health}}")
                try refuse("network")
            }
            try refuse("model")
            if config.rootfs != .layers, let image = top["image"] {
                throw image.failure("'image' does not belong to a \(config.kind.rawValue) cargo without 'rootfs: layers'")
            }
            if config.rootfs == .layers { try needBundled() }
        case .wasm:
            try need("command", "the module and its arguments, such as [main.wasm]")
            try refuse("image", "model")
        case .container:
            try need("image", "NAME@sha256:…, or bundled: image.tar")
            try refuse("model", "engine")
            if config.rootfs == .layers { try needBundled() }
        case .gguf, .onnx:
            try need("model", "the weights, such as {weights: model.\(config.kind.rawValue)}")
            try refuse("image", "command")
        }
        if ![.process, .engine, .container].contains(config.kind), config.rootfs == .layers, let rootfs = top["rootfs"] {
            throw rootfs.failure("'rootfs: layers' does not belong to a \(config.kind.rawValue) cargo")
        }
        if let models = top["models"], config.engine == nil || config.kind != .process {
            throw models.failure("'models' belongs to a process cargo that names an engine, such as longshore/langchain")
        }
        if let command = top["command"], try command.strings().isEmpty { throw command.failure("the command is empty") }
    }

    private static func path(_ value: YAMLValue) throws -> String {
        let text = try value.string()
        do { return try SafePath(text).text } catch let refusal as Refusal { throw value.failure(refusal.message) }
    }

    /// Most models that one cargo may ask.
    private static let mostModels = 16

    static func modelNames(_ value: YAMLValue) throws -> [String] {
        let names = try value.list().map { item in
            let name = try item.string()
            guard (1...256).contains(name.utf8.count), name.unicodeScalars.allSatisfy({ $0.value > 32 && $0.value != 127 })
            else { throw item.failure("a model is publisher/name, or the name that a model server of the host gives it") }
            return name
        }
        guard (1...mostModels).contains(names.count), Set(names).count == names.count else {
            throw value.failure("1 to \(mostModels) models are named, each once")
        }
        return names
    }

    private static func model(_ value: YAMLValue) throws -> Model {
        let members = try value.members(["weights", "context"])
        guard let weights = members["weights"] else { throw value.failure("'weights' is missing: the path of the model file") }
        var model = Model()
        if weights.isScalar {
            model.weights = [try path(weights)]
        } else {
            model.weights = try weights.list().map { try path($0) }
        }
        guard !model.weights.isEmpty, Set(model.weights).count == model.weights.count else {
            throw weights.failure("weights must name each file once, and at least one")
        }
        model.context = try members["context"]?.integer(1...1 << 30)
        return model
    }

    /// A plain word is a path where it can be no image to pull: as a root file system, or with the ending of an archive.
    private static func image(_ value: YAMLValue, isRoot: Bool) throws -> Image {
        if value.isMapping {
            guard let path = try value.members(["bundled"])["bundled"] else { throw value.failure("'bundled' is missing") }
            return .bundled(try CargoSource.path(path))
        }
        let name = try value.string()
        let isArchive = [".tar", ".tar.gz", ".tgz"].contains(where: name.hasSuffix) && !name.contains(":")
        if !name.contains("@"), isRoot || isArchive { return .bundled(try CargoSource.path(value)) }
        guard !name.isEmpty, name.utf8.count <= 512, name.utf8.allSatisfy({ $0 > 32 && $0 < 127 }), !name.hasPrefix("-") else {
            throw value.failure("an image is a name such as alpine@sha256:…, or bundled: image.tar")
        }
        guard let at = name.lastIndex(of: "@"), Digest(name[name.index(after: at)...]) != nil else {
            throw value.failure("an image's tag can move: pin it as NAME@sha256:… (docker images --digests), or bundle it")
        }
        return .named(name)
    }
}
