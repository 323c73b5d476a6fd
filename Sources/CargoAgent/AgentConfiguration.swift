public import CargoArtifact
public import CargoClient
public import CargoEndpoints
public import CargoMeter
public import CargoRunner
public import CargoWire
public import SystemPackage

/// What an agent is told at its start.
public struct AgentConfiguration: Sendable {
    /// The coordinator under the account's key, which is used for registration alone.
    public var coordinator: CoordinatorClient
    public var name: String
    /// Jobs at once, at least 1.
    public var slots: Int
    /// `$LONGSHORE_HOME`.
    public var home: FilePath
    /// Read again for each job, so that a revocation holds at once.
    public var trust: FilePath
    /// The operator's explicit word for mechanisms that this host lacks.
    public var allowMissing: Set<String>
    /// Which container images strangers' jobs may name (patterns, see `ContainerSettings.Trust`); nil: containers are off.
    public var allowedImages: [String]?
    /// Bytes of pulled images that are kept; nil takes the default of `ContainerSettings`.
    public var imageBudget: ByteCount?

    /// The owner's list of engines, by which jobs on models and modules run.
    public var engines: FilePath
    /// What answers requests to models; nil: this host serves none.
    public var models: (any ModelService)?
    /// The same as chains may ask it; nil where no chain runs.
    public var chainModels: (any ModelService)?

    /// What measures this host for its offers; nil: it says nothing of itself.
    public var meter: HostMeter?

    /// What is kept and passed on of each job's log.
    public var logLimits = LogLimits()
    /// Bytes a second of the store's disk for each job, each way; nil is unlimited.
    public var diskRate: Int64?
    /// Shows a person the code by which a host without credentials is let in; nil: it is not to pair.
    public var showPairing: (@Sendable (Pairing) -> Void)?
    /// Only its own account and its groups may use it.
    public var closed = false
    /// Groups of the account that it serves from its registration on.
    public var groups: [String] = []
    /// Whether it keeps a tunnel to the coordinator open; without one every call goes over REST.
    public var usesTunnel = true
    /// What this host asks for, in credits by model, `_default` for the others.
    public var prices: [String: Double] = [:]
    /// Bytes of models that it fetches ahead because requests wait for them; 0: none.
    public var fetchBudget: Int64 = 0
    /// Where it stands, and whose law holds there: filters of jobs.
    public var region: String?
    public var jurisdiction: String?
    /// The largest prompts that it takes (1 to 4); nil takes all.
    public var maxContextTier: Int?

    /// How long running jobs may take to end once the agent was told to.
    public var drain: Duration

    public init(
        coordinator: CoordinatorClient, name: String, slots: Int, home: FilePath, trust: FilePath,
        allowMissing: Set<String> = [], allowedImages: [String]? = nil, drain: Duration = .seconds(60)
    ) {
        self.coordinator = coordinator
        self.name = name
        self.slots = slots
        self.home = home
        self.trust = trust
        self.allowMissing = allowMissing
        self.allowedImages = allowedImages
        self.drain = drain
        engines = trust.removingLastComponent().appending("engines.json")
    }
}
