public import SystemPackage

/// What is run, what it sees and what it may use: everything about one confined process that is not this host's.
public struct SandboxSpec: Sendable {
    /// What `/` is made of.
    public enum Root: Hashable, Sendable {
        /// This host's `/usr` and what belongs to it, read-only.
        case host
        /// Unpacked layers, the lowest first.
        case layers([FilePath])
    }

    /// A host path that is visible inside. `target` is absolute; folders above it are made.
    public struct Share: Hashable, Sendable {
        public var source: FilePath
        public var target: String
        public var isFolder: Bool
        public var isWritable: Bool
        /// The source under other owners, in whose place it is mounted then; never writable.
        public var mount: OwnerMapping.Mount?

        public init(source: FilePath, target: String, isFolder: Bool, isWritable: Bool = false) {
            self.source = source
            self.target = target
            self.isFolder = isFolder
            self.isWritable = isWritable
        }
    }

    /// What the process may reach.
    public enum Network: Hashable, Sendable {
        /// An own network with nothing but its loopback.
        case isolated
        /// These targets, by a CONNECT proxy on the process's own loopback (`HTTPS_PROXY`); nothing else.
        /// `privateAddresses`: the operator's word that they may lie in private networks.
        case egress([EgressTarget], privateAddresses: Bool)
        /// The host's network: only by the operator's policy.
        case host
    }

    /// What the process may use at most; nil is unlimited. Memory and processes need a cgroup.
    public struct Limits: Hashable, Sendable {
        /// Bytes, of which files in `/tmp` and `/dev/shm` are a part.
        public var memory: Int64?
        /// Processes and threads.
        public var processes: Int?
        /// Cores; fractions allowed.
        public var cpu: Double?
        /// Seconds of processor time of each process by itself.
        public var cpuSeconds: Int?
        /// Bytes of one file.
        public var fileSize: Int64?
        public var openFiles = 4096
        /// Bytes a second from and to one disk, each way by itself; needs a cgroup.
        public var diskRate: DiskRate?

        /// So many bytes a second of the disk under a path.
        public struct DiskRate: Hashable, Sendable {
            public var bytes: Int64
            public var under: FilePath

            public init(bytes: Int64, under: FilePath) {
                self.bytes = bytes
                self.under = under
            }
        }

        public init(
            memory: Int64? = nil, processes: Int? = nil, cpu: Double? = nil, cpuSeconds: Int? = nil, fileSize: Int64? = nil
        ) {
            self.memory = memory
            self.processes = processes
            self.cpu = cpu
            self.cpuSeconds = cpuSeconds
            self.fileSize = fileSize
        }
    }

    /// The program and its arguments; a name without `/` is searched in `PATH`.
    public var command: [String]
    /// The whole environment, in order.
    public var environment: [(name: String, value: String)] = []
    public var workingFolder = "/"
    public var hostname = "cargo"
    public var root = Root.host
    /// Folders that are laid over each other at `/cargo`, the lowest first.
    public var cargo: [FilePath] = []
    public var shares: [Share] = []
    /// Device nodes of this host, below `/dev`, that are there inside under the same path.
    public var devices: [String] = []
    /// Empty folders that are there even when nothing is shared into them.
    public var folders: [String] = []
    /// Small read-only files that exist only inside, by absolute path. At most 1 MiB together.
    public var files: [String: [UInt8]] = [:]
    /// Writable folders besides `/tmp` and `/dev/shm`, by absolute path, empty at the start and gone with the process.
    public var temporaryFolders: [String] = []
    /// Bytes of `/tmp`, of `/dev/shm` and of each temporary folder.
    public var temporaryBytes: Int64 = 1 << 28
    public var network = Network.isolated
    /// A profile's name, or nil for no filter (tests alone).
    public var profile = "inference"
    public var limits = Limits()
    /// Counts the system calls that the filter denies, for publishers: `ConfinedProcess.deniedCalls`. Each denial then
    /// costs a turn through the supervisor.
    public var tracesCalls = false
    /// What the process reads on standard input; nil is `/dev/null`. At most 16 MiB.
    public var standardInput: [UInt8]?
    /// The operator's word for mechanisms that this host lacks.
    public var allowMissing: Set<String> = []

    public init(command: [String]) { self.command = command }

    /// What `cargo-init` inherits beside its own descriptors, in this order.
    var mounts: [OwnerMapping.Mount] { shares.compactMap(\.mount) }
}
