/// How a cargo runs.
public enum CargoKind: String, Sendable, Codable, CaseIterable {
    case process, container, gguf, onnx, wasm, engine
}

/// How input and output travel between a job and its cargo.
public enum CargoInterface: String, Sendable, Codable, CaseIterable {
    case files
    case stdioJSONL = "stdio-jsonl"
    case http
}

/// What a cargo's process stands on: the host's read-only `/usr`, or its own bundled OCI layers.
public enum CargoRootfs: String, Sendable, Codable, CaseIterable {
    case host, layers
}

/// What a cargo may reach.
public enum CargoNetwork: Hashable, Sendable, Codable {
    case none
    case loopback
    /// `host:port` pairs, through the sandbox's own CONNECT proxy.
    case egress([String])
    /// The host's network, only where the owner's policy allows it.
    case host

    private struct Egress: Codable { var egress: [String] }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let word = try? container.decode(String.self) {
            switch word {
            case "none": self = .none
            case "loopback": self = .loopback
            case "host": self = .host
            default:
                throw DecodingError.dataCorruptedError(
                    in: container, debugDescription: "network is none, loopback, host or {egress: [host:port, …]}, not '\(word)'")
            }
        } else {
            self = .egress(try container.decode(Egress.self).egress)
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .none: try container.encode("none")
        case .loopback: try container.encode("loopback")
        case .host: try container.encode("host")
        case .egress(let targets): try container.encode(Egress(egress: targets))
        }
    }
}

/// The config blob of a cargo: everything `cargo.yaml` says that a host must know, as signed.
public struct CargoConfig: Hashable, Sendable, Codable {
    /// Bounds on what a job may leave in `/job/output`.
    public struct Outputs: Hashable, Sendable, Codable {
        public var maxBytes: ByteCount?
        public var maxFiles: Int?

        public init(maxBytes: ByteCount? = nil, maxFiles: Int? = nil) {
            self.maxBytes = maxBytes
            self.maxFiles = maxFiles
        }

        enum CodingKeys: String, CodingKey {
            case maxBytes = "max-bytes"
            case maxFiles = "max-files"
        }
    }

    /// Credits per unit; a unit that is nil is free.
    public struct Pricing: Hashable, Sendable, Codable {
        public var perJob: Double?
        public var perSecond: Double?
        public var per1kInputTokens: Double?
        public var per1kOutputTokens: Double?
        public var perImage: Double?

        public init() {}

        enum CodingKeys: String, CodingKey {
            case perJob = "per-job"
            case perSecond = "per-second"
            case per1kInputTokens = "per-1k-input-tokens"
            case per1kOutputTokens = "per-1k-output-tokens"
            case perImage = "per-image"
        }
    }

    /// What an engine needs to serve the cargo's model.
    public struct Serving: Hashable, Sendable, Codable {
        /// The file that is opened; the others of a split model lie beside it.
        public var weights: String
        /// Tokens of context to serve with.
        public var context: Int?
        /// What the header says.
        public var facts: ModelFacts?
        public var estimate: ModelEstimate?

        public init(weights: String, context: Int? = nil, facts: ModelFacts? = nil, estimate: ModelEstimate? = nil) {
            self.weights = weights
            self.context = context
            self.facts = facts
            self.estimate = estimate
        }
    }

    public var name: String
    public var version: String
    public var kind: CargoKind
    public var description: String?
    public var licenses: [String]?
    /// CNCF ModelPack's config, whole.
    public var model: JSONValue?
    /// Set for gguf and onnx cargos.
    public var serving: Serving?
    /// The engine that runs it, where its author does not take the kind's default.
    public var engine: String?
    /// Models that the cargo's chain or agent asks, by `publisher/name`; the host hands in a way to these and no others.
    public var models: [String]?
    /// Set for engine cargos.
    public var engineManifest: EngineManifest?
    public var command: [String]?
    public var interface: CargoInterface
    public var env: [String: String]?
    /// Environment names that a job may set.
    public var jobEnv: [String]?
    public var image: String?
    public var resources: Resources
    public var network: CargoNetwork
    public var sandbox: String
    public var rootfs: CargoRootfs
    public var outputs: Outputs?
    public var pricing: Pricing?
    public var cache: Bool?

    public init(
        name: String, version: String, kind: CargoKind, description: String? = nil, licenses: [String]? = nil,
        model: JSONValue? = nil, engine: String? = nil, command: [String]? = nil, interface: CargoInterface = .files,
        env: [String: String]? = nil, jobEnv: [String]? = nil, image: String? = nil, resources: Resources = Resources(),
        network: CargoNetwork = .none, sandbox: String = "inference", rootfs: CargoRootfs = .host,
        outputs: Outputs? = nil, pricing: Pricing? = nil, cache: Bool? = nil
    ) {
        self.name = name
        self.version = version
        self.kind = kind
        self.description = description
        self.licenses = licenses
        self.model = model
        self.engine = engine
        self.command = command
        self.interface = interface
        self.env = env
        self.jobEnv = jobEnv
        self.image = image
        self.resources = resources
        self.network = network
        self.sandbox = sandbox
        self.rootfs = rootfs
        self.outputs = outputs
        self.pricing = pricing
        self.cache = cache
    }

    enum CodingKeys: String, CodingKey {
        case name, version, kind, description, licenses, model, serving, engine, models, command, interface, env
        case engineManifest = "engine-manifest"
        case jobEnv = "job-env"
        case image, resources, network, sandbox, rootfs, outputs, pricing, cache
    }
}
