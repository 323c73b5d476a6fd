public import CargoArtifact
public import CargoStore
public import SystemPackage

/// Everything that one run needs besides the machine.
public struct RunRequest: Sendable {
    /// A file on this host that the job sees as `/job/input/NAME`.
    public struct Input: Hashable, Sendable {
        /// Relative, `/` between parts.
        public var name: String
        public var path: FilePath

        public init(name: String, path: FilePath) {
            self.name = name
            self.path = path
        }
    }

    public var cargo: StoredCargo
    public var jobID: String
    /// Appended to the cargo's command.
    public var arguments: [String] = []
    /// Becomes `/job/params.json`.
    public var parameters: [String: JSONValue] = [:]
    /// Only names that the cargo's `job-env` lists; others are refused.
    public var environment: [String: String] = [:]
    public var inputs: [Input] = []
    /// Where outputs are put: an empty or absent folder of the caller's.
    public var output: FilePath
    /// Lower limits than the cargo's.
    public var limits = Resources()
    /// The operator's explicit word for mechanisms that this host lacks (`cgroup`, `landlock`, …).
    public var allowMissing: Set<String> = []
    /// Between SIGTERM and SIGKILL, seconds; 0 kills at once.
    public var grace: Double = 5
    public var logLimits = LogLimits()
    /// Bytes a second that the job may read from and write to the store's disk, each way; nil is unlimited.
    public var diskRate: Int64?
    /// The GPUs of this host that are assigned to the job, numbered from 0; no other is visible inside.
    public var gpus: [Int] = []
    /// Counts the system calls that the sandbox denies, for publishers; the job is slower for it.
    public var tracesCalls = false
    /// The operator's word that cargos may use the host's network.
    public var allowHostNetwork = false
    /// The operator's word that a cargo's network targets may lie in private networks.
    public var allowPrivateTargets = false
    /// What runs the cargo where it is a model or a module; only in our own sandbox.
    public var engine: EngineUse?
    /// Hands a socket in by which the cargo asks models of this host: see `ServingJob.takeModelSocket`. Of serving cargos only.
    public var asksModels = false
    /// Where it runs.
    public var backend = RunBackend.auto
    /// What the owner says about containers; nil: none run here.
    public var containers: ContainerSettings?

    public init(cargo: StoredCargo, jobID: String, output: FilePath) {
        self.cargo = cargo
        self.jobID = jobID
        self.output = output
    }
}

/// What happens while a job runs, in order.
public enum RunEvent: Sendable {
    /// `event`: what a cargo with `interface: stdio-jsonl` says on its standard output, whole lines of one JSON object each.
    public enum Stream: String, Sendable { case stdout, stderr, event }

    /// The image of a container is on its way here; before `started`.
    case provisioning(RunProgress)
    /// The command was executed inside the sandbox.
    case started
    /// `offset`: where the bytes begin in the run's combined log of both streams. At most 64 KiB each.
    case log(Stream, offset: Int64, bytes: [UInt8])
}

/// What a run came to.
public struct RunOutcome: Hashable, Sendable {
    public struct Output: Hashable, Sendable {
        public var path: String
        public var size: Int64
        public var digest: Digest

        public init(path: String, size: Int64, digest: Digest) {
            self.path = path
            self.size = size
            self.digest = digest
        }
    }

    /// Nil when killed by a signal or timed out.
    public var exitCode: Int?
    public var signal: Int?
    public var timedOut: Bool
    public var oomKilled: Bool
    public var wallSeconds: Double
    public var cpuSeconds: Double
    public var maxRSSBytes: Int64
    public var outputs: [Output]
    public var logBytes: Int64
    public var logDigest: Digest
    public var logTruncated: Bool
    /// A bound that the job ran into (`output_limit`, `cpu_time_limit`), with its sentence.
    public var limit: Refusal?
    /// Mechanisms that the operator allowed to be missing and that were.
    public var missing: [String]
    /// Things in `/job/output` that are no plain files (links, FIFOs, devices) and were left out: at most 100 paths.
    public var skipped: [String]
    /// System calls that the sandbox denied, by name, where `tracesCalls` was set.
    public var deniedCalls: [String: Int] = [:]
    /// Times that a line outgrew its bound.
    public var logLinesSplit = 0
    /// How long the job waited because it said too much at once.
    public var logPausedSeconds = 0.0
    /// Lines of standard output that should have been events and were not.
    public var malformedLines = 0
    /// What ran the cargo where it is a model or a module.
    public var engine: EngineRecord?
}

extension RunOutcome {
    /// Of work that an engine did for the job: it has no process of its own, so no processor time or memory is counted.
    public init(
        exitCode: Int?, timedOut: Bool, wallSeconds: Double, outputs: [Output], logBytes: Int64, logDigest: Digest
    ) {
        self.init(
            exitCode: exitCode, signal: nil, timedOut: timedOut, oomKilled: false, wallSeconds: wallSeconds, cpuSeconds: 0,
            maxRSSBytes: 0, outputs: outputs, logBytes: logBytes, logDigest: logDigest, logTruncated: false, limit: nil,
            missing: [], skipped: [])
    }
}
