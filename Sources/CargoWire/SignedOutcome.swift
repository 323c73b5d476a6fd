public import CargoArtifact

/// What a host signs at the end of an attempt (docs/rules.md 3): the payload of `Completion.outcome`, as canonical JSON.
///
/// The signature says who reported it, not that it is true.
public struct SignedOutcome: Hashable, Sendable, Codable {
    public static let payloadType = "application/vnd.longshore.outcome.v1+json"

    /// What went into the run, in the fields of the claim; its digest is `input`.
    public struct Input: Hashable, Sendable, Codable {
        public struct File: Hashable, Sendable, Codable {
            public var name: String
            public var size: Int64
            public var sha256: String
        }

        public var args: [String]
        public var env: [String: String]
        public var params: [String: JSONValue]
        public var files: [File]
        /// What a model was asked.
        public var request: ModelRequest?

        public init(of job: ClaimedJob) {
            args = job.args ?? []
            env = job.env ?? [:]
            params = job.params ?? [:]
            files = job.files.map { File(name: $0.name, size: $0.size, sha256: $0.sha256) }
            request = job.request
        }

        /// SHA-256 of the canonical JSON.
        public func digest() throws -> Digest { Digest(of: try CanonicalJSON.encode(self)) }
    }

    /// Where the coordinator was reached.
    public var coordinator: String
    public var job: String
    public var attempt: Int
    /// Of the lease.
    public var generation: Int
    public var epoch: Int
    public var host: String
    /// The root manifest that ran, or whose model answered.
    public var cargo: String?
    /// What ran it where it is a model or a module, as the host found it.
    public var engine: EngineRecord?
    /// `Input.digest`.
    public var input: String
    public var exit: ExitReport
    public var outputs: [OutputFile]
    public var logBytes: Int64?
    public var logSHA256: String?
    public var error: JobError?
    /// What the answer of a model took.
    public var usage: ModelUsage?

    public init(_ completion: Completion, of job: ClaimedJob, coordinator: String, engine: EngineRecord? = nil) throws {
        self.coordinator = coordinator
        self.job = job.id
        attempt = job.attempt
        generation = completion.lease.generation
        epoch = completion.lease.epoch
        host = completion.lease.host
        cargo = job.digest ?? engine?.model
        self.engine = engine
        input = try Input(of: job).digest().description
        exit = completion.exit
        outputs = completion.outputs
        logBytes = completion.logBytes
        logSHA256 = completion.logSHA256
        error = completion.error
        usage = completion.usage
    }

    enum CodingKeys: String, CodingKey {
        case coordinator, job, attempt, generation, epoch, host, cargo, engine, input, exit, outputs, error, usage
        case logBytes = "log_bytes"
        case logSHA256 = "log_sha256"
    }
}
