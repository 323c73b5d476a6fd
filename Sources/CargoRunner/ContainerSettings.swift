internal import CargoArtifact
internal import CargoDocker
public import CargoStore
internal import FoundationEssentials
public import SystemPackage

/// Where a cargo runs.
public enum RunBackend: String, Hashable, Sendable, CaseIterable {
    /// In our own sandbox.
    case sandbox
    /// In a container of Docker or Podman.
    case docker
    /// A container for cargos of that kind, the sandbox for all others.
    case auto
}

/// How far something is on its way to this host.
public struct RunProgress: Hashable, Sendable, Codable {
    /// `pulling`, `extracting` or `loading`.
    public var phase: String
    /// Bytes here, of those announced so far.
    public var current: Int64
    public var total: Int64

    public init(phase: String, current: Int64, total: Int64) {
        self.phase = phase
        self.current = current
        self.total = total
    }
}

/// What a host's owner says about containers.
public struct ContainerSettings: Hashable, Sendable {
    /// Whose images may run here.
    public enum Trust: Hashable, Sendable {
        /// The person at this machine runs it for themselves: whatever the engine has or can pull, with the owner's own
        /// logins where `credentials` names the `config.json` that `docker login` wrote.
        case owner(credentials: FilePath?)
        /// Strangers' jobs: anonymous pulls of names that match one of these patterns (`docker.io/library/*`, `ghcr.io/acme/*`;
        /// `local:NAME` also allows an image that lies on this host). Images that a signed cargo carries need none.
        case strangers(allowing: [String])
    }

    /// The engine's socket; nil tries `DOCKER_HOST`, Docker's and Podman's.
    public var socket: FilePath?
    /// The name under which leftovers are found: the host's id, or the machine's own for single runs.
    public var agent: String
    public var trust: Trust
    /// Bytes of images that are kept.
    public var imageBudget: Int64 = 64 << 30
    /// For pull, load and creation, apart from run time.
    public var provisioningSeconds = 1800.0

    public init(agent: String, trust: Trust, socket: FilePath? = nil) {
        self.agent = agent
        self.trust = trust
        self.socket = socket
    }

    /// Public registries that `--allow-images` without a pattern means.
    public static let publicRegistries = ImagePolicy.publicRegistries
}

extension ContainerSettings {
    private static let imageFolder = "containers"

    /// What the engine on this host is called, e.g. `docker, Engine API 1.41`; throws a sentence that says what to do.
    public func engineDescription() async throws -> String {
        let engine = try await explained { try await connect() }
        return "\(engine.kind.rawValue), Engine API \(engine.version)"
    }

    /// Whether an engine answers here.
    public func isAvailable() async -> Bool { (try? await connect()) != nil }

    /// Removes the containers that an earlier life of this agent left; returns their jobs' ids.
    public func removeLeftovers() async throws -> [String] {
        try await explained { try await ContainerRunner.removeLeftovers(of: agent, engine: try await connect()) }
    }

    /// Removes the ended containers of killed single runs: those that run belong to someone who still waits.
    func removeEnded() async throws {
        try await ContainerRunner.removeLeftovers(of: agent, engine: try await connect(), onlyEnded: true)
    }

    /// Images that jobs may name and that need no pull, at most 256; empty when no engine answers.
    public func heldImages(store: CargoStore) async -> [String] {
        guard let images = try? await images(engine: try await connect(), store: store) else { return [] }
        return (try? await images.held()) ?? []
    }

    /// Fetches an image by name ahead of its first job; returns its id.
    public func prefetch(
        _ name: String, store: CargoStore, onProgress: @Sendable (RunProgress) async -> Void
    ) async throws -> String {
        guard let reference = ImageReference(name) else {
            throw Refusal("image", "'\(name.prefix(200))' is no image name; write it as NAME[:TAG] or NAME@sha256:DIGEST")
        }
        return try await explained {
            try await images(engine: try await connect(), store: store).prefetch(.named(reference)) {
                await onProgress(RunProgress(phase: $0.phase, current: $0.current, total: $0.total))
            }
        }
    }

    /// Removes least recently used images beyond the budget; returns their ids.
    public func evictImages(store: CargoStore) async throws -> [String] {
        try await explained { try await images(engine: try await connect(), store: store).evict() }
    }

    func connect() async throws -> Engine {
        guard let path = socket ?? EngineSocket.find(environment: ProcessInfo.processInfo.environment) else {
            throw EngineError(
                .unreachable, "find a container engine",
                "no Docker or Podman socket is here; start one, or set DOCKER_HOST=unix://PATH")
        }
        return try await Engine.connect(path)
    }

    func runner(store: CargoStore, allowMissing: Set<String>) async throws -> ContainerRunner {
        let engine = try await connect()
        return try await ContainerRunner(
            engine: engine, images: try await images(engine: engine, store: store), allowMissing: allowMissing)
    }

    private func images(engine: Engine, store: CargoStore) async throws -> ContainerImages {
        let index = ImageCacheIndex(folder: store.root.appending(ContainerSettings.imageFolder))
        switch trust {
        case .owner(let path):
            let credentials = try path.map { try RegistryCredentials(contentsOf: $0) } ?? .anonymous
            return ContainerImages(engine: engine, index: index, trust: .owner, credentials: credentials, budget: imageBudget)
        case .strangers(let patterns):
            return ContainerImages(
                engine: engine, index: index, trust: .stranger(ImagePolicy(patterns: patterns)), budget: imageBudget)
        }
    }

    private func explained<Value>(_ body: () async throws -> Value) async throws -> Value {
        do { return try await body() } catch let error as EngineError { throw ContainerBackend.explain(error) }
    }
}
