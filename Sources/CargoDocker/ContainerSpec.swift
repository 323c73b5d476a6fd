public import SystemPackage

/// What a container may use at most.
///
/// Whatever is not said has a bound too: nothing is unlimited.
public struct ContainerLimits: Hashable, Sendable {
    /// Bytes, of which files in `/tmp` and `/dev/shm` are a part; no swap beside them.
    public var memory: Int64
    /// Processes and threads.
    public var processes: Int
    /// Cores; fractions allowed.
    public var cpu: Double
    /// Bytes of one file.
    public var fileSize: Int64?
    /// Processor seconds of one process; nil is unlimited.
    public var cpuSeconds: Int?
    public var openFiles: UInt64
    /// Bytes of `/tmp`, of `/dev/shm` and of each volume that the image declares, each.
    public var temporaryBytes: Int64

    public init(
        memory: Int64 = 2 << 30, processes: Int = 512, cpu: Double = 1, fileSize: Int64? = nil, openFiles: UInt64 = 4096,
        temporaryBytes: Int64 = 256 << 20
    ) {
        self.memory = memory
        self.processes = processes
        self.cpu = cpu
        self.fileSize = fileSize
        self.openFiles = openFiles
        self.temporaryBytes = temporaryBytes
    }
}

/// What a container may reach.
public enum ContainerNetwork: Hashable, Sendable {
    /// Its own loopback alone.
    case none
    /// The host's, only by the owner's policy.
    case host
}

/// Which GPUs a container sees.
public enum ContainerGPUs: Hashable, Sendable {
    case none
    /// Fully qualified device names of the Container Device Interface, `nvidia.com/gpu=0`.
    case cdi([String])
    /// Device ids for the engine's NVIDIA runtime.
    case nvidia([String])
}

/// A host path that a container sees.
public struct ContainerShare: Hashable, Sendable {
    public var source: FilePath
    /// Absolute.
    public var target: String
    public var isWritable: Bool

    public init(source: FilePath, target: String, isWritable: Bool = false) {
        self.source = source
        self.target = target
        self.isWritable = isWritable
    }
}

/// What an image says about how it wants to run; taken as wishes.
struct ImageWishes: Hashable, Sendable {
    var user: String?
    var environment: [String] = []
    var command: [String] = []
    var workingFolder: String?
    var volumes: [String] = []
}

/// Facts of this host and its engine that bound what can be asked for.
struct ContainerHost: Hashable, Sendable {
    var engine: Engine.Kind
    /// Runs without root on this host.
    var isRootless = false
    var cores: Int
    /// This process's own hard limits: engines here may not raise them either.
    var hardOpenFiles: UInt64
    var hardProcesses: UInt64
    var user: UInt32
    var group: UInt32
    /// A user that owns nothing on this host.
    var jobUser: UInt32 = 65534
}

/// Everything about one container besides the image's wishes and the host.
struct ContainerSpec: Hashable, Sendable {
    /// Image id.
    var image: String
    var job: String
    var agent: String
    /// Replaces the image's entrypoint and command.
    var command: [String]?
    var arguments: [String] = []
    var environment: [String: String] = [:]
    var workingFolder: String?
    var shares: [ContainerShare] = []
    /// Host folder with `init` and the agent's socket.
    var control: FilePath
    var limits = ContainerLimits()
    var network = ContainerNetwork.none
    var gpus = ContainerGPUs.none
    /// The seccomp profile: for Docker its JSON, for Podman a file's path.
    var profile: String
    var hasInput = false
    var isTerminal = false
}

/// Labels that every container of ours carries, so that what an earlier life left can be found.
enum ContainerLabel {
    static let job = "dev.longshore.job"
    static let agent = "dev.longshore.agent"
}
