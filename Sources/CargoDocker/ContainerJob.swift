public import SystemPackage

/// One container from its image to its outcome: everything that it needs besides the engine.
public struct ContainerJob: Sendable {
    public var image: ContainerImage
    public var id: String
    /// Whose agent runs it; what an earlier life of that agent left is found by it.
    public var agent: String
    /// Replaces the image's entrypoint and command.
    public var command: [String]?
    /// Appended to the command.
    public var arguments: [String] = []
    public var environment: [String: String] = [:]
    /// Else the image's own.
    public var workingFolder: String?
    public var shares: [ContainerShare] = []
    public var limits = ContainerLimits()
    public var network = ContainerNetwork.none
    public var gpus = ContainerGPUs.none
    /// A seccomp profile, JSON of the OCI runtime specification; every container has one.
    public var profile: [UInt8]
    /// At most 16 MiB.
    public var standardInput: [UInt8]?
    /// One stream, both lines ends and colours as a terminal has them.
    public var isTerminal = false
    /// An own empty folder of this host, 0755: the container's line to this process stands there.
    public var control: FilePath
    /// A user that owns nothing on this host, for images that name none; only root can give it.
    public var user: UInt32?
    /// Seconds from the command's start.
    public var timeout: Double?
    /// Seconds for image and container, apart from run time.
    public var provisioningTimeout = 1800.0
    /// Seconds between SIGTERM and SIGKILL; 0 kills at once.
    public var grace = 5.0
    /// Asked each half second while the command runs; true ends the job as over its output limit.
    public var isOverOutputLimit: (@Sendable () async -> Bool)?

    public init(image: ContainerImage, id: String, agent: String, profile: [UInt8], control: FilePath) {
        self.image = image
        self.id = id
        self.agent = agent
        self.profile = profile
        self.control = control
    }
}

/// What happens on the way of a container, in order.
public enum ContainerEvent: Hashable, Sendable {
    public enum Stream: String, Sendable { case stdout, stderr }

    /// The image is on its way.
    case progress(PullProgress)
    /// The command was executed inside.
    case started
    /// At most 64 KiB each.
    case log(Stream, [UInt8])
}
