import CargoArtifact
import CargoEngines
import CargoMeter
import CargoRunner
import CargoStore
import CargoWire
import Glibc
import Logging
import SystemPackage

/// What this host offers with each claim: its machine, and the images that its container engine holds by now.
actor HostOffer {
    /// How old an answer may be: a claim each few milliseconds must not ask the engine each time.
    private static let freshness = Duration.seconds(10)

    private let store: CargoStore
    /// Nil where the owner has not turned containers on.
    private let containers: ContainerSettings?
    /// The owner's list.
    private let engines: FilePath
    private let meter: HostMeter?
    private let logger: Logger
    private var known: (capabilities: HostCapabilities, at: ContinuousClock.Instant)?

    private let region: String?
    private let jurisdiction: String?
    private let maxContextTier: Int?
    /// Formats of model files that the engines of the last look take.
    private var engineFormats: [String] = []

    init(
        store: CargoStore, containers: ContainerSettings?, engines: FilePath, meter: HostMeter? = nil,
        maxContextTier: Int? = nil, region: String? = nil, jurisdiction: String? = nil, logger: Logger
    ) {
        self.maxContextTier = maxContextTier
        self.store = store
        self.region = region
        self.jurisdiction = jurisdiction
        self.containers = containers
        self.engines = engines
        self.meter = meter
        self.logger = logger
    }

    /// Removes images beyond the budget on the way, so that what is said is still here.
    func current() async -> HostCapabilities {
        if let known, ContinuousClock.now - known.at < HostOffer.freshness { return known.capabilities }
        var images: [String]?
        if let containers {
            for image in (try? await containers.evictImages(store: store)) ?? [] {
                logger.info("removed an image that was not used for longest", metadata: ["image": "\(image)"])
            }
            images = await containers.heldImages(store: store)
        }
        let ready = await EngineSet.load(store: store, list: engines).ready
        let kinds = Set(ready.flatMap(\.manifest.kinds))
        engineFormats = ready.flatMap { engine in
            engine.manifest.formats ?? engine.manifest.kinds.filter { [.gguf, .onnx, .wasm].contains($0) }.map(\.rawValue)
        }
        var capabilities = HostOffer.machine(images: images, engines: kinds)
        capabilities.region = region
        capabilities.jurisdiction = jurisdiction
        capabilities.maxContextTier = maxContextTier
        capabilities.metrics = await meter?.current()
        known = (capabilities, .now)
        return capabilities
    }

    /// Formats of model files that its engines run.
    func formats() async -> [String] {
        _ = await current()
        return engineFormats
    }

    /// `images`: what its container engine holds, or nil when containers are off.
    /// `engines`: the kinds that its engines run.
    private static func machine(images: [String]?, engines: Set<CargoKind>) -> HostCapabilities {
        let others = engines.subtracting([.process, .container]).map(\.rawValue).sorted()
        var capabilities = HostCapabilities(kinds: ["process"] + (images == nil ? [] : ["container"]) + others)
        capabilities.docker = images != nil
        capabilities.images = images
        capabilities.cpu = Double(sysconf(Int32(_SC_NPROCESSORS_ONLN)))
        capabilities.memory = ByteCount(Int64(sysconf(Int32(_SC_PHYS_PAGES))) * Int64(sysconf(Int32(_SC_PAGESIZE))))
        return capabilities
    }
}
