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
    /// Between SIGTERM and SIGKILL, seconds.
    public var grace: Double = 5

    public init(cargo: StoredCargo, jobID: String, output: FilePath) {
        self.cargo = cargo
        self.jobID = jobID
        self.output = output
    }
}

/// What happens while a job runs, in order.
public enum RunEvent: Sendable {
    public enum Stream: String, Sendable { case stdout, stderr }

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
    /// A bound that the job ran into (`output_limit` …), with its sentence.
    public var limit: Refusal?
    /// Mechanisms that the operator allowed to be missing and that were.
    public var missing: [String]
}

/// Turns (cargo, inputs, limits) into events and one outcome; knows nothing of queues or HTTP.
public struct JobRunner: Sendable {
    public init(store: CargoStore) {}

    /// Runs to the end. `onEvent` is awaited, so a slow reader slows the job instead of filling memory.
    /// Cancelling the task stops the job (SIGTERM, `grace`, SIGKILL) and still returns its outcome.
    /// Throws `Refusal` (exit 126) or `RunFailure` (exit 125 or 127) when nothing was run.
    public func run(_ request: RunRequest, onEvent: @Sendable (RunEvent) async -> Void) async throws -> RunOutcome {
        fatalError("door")
    }
}
