public import CargoArtifact

/// What a host can do; a claim carries it afresh.
public struct HostCapabilities: Hashable, Sendable, Codable {
    /// Kinds of cargo it runs; `process` at first.
    public var kinds: [String]?
    public var docker: Bool?
    /// Container images that it holds, references and digests, at most 256: a job of one starts there without a pull.
    public var images: [String]?
    public var encryption: Bool?
    public var maxContextTier: Int?
    public var cpu: Double?
    public var memory: ByteCount?
    public var region: String?
    /// Models that it answers for now, at most 256.
    public var models: [ServedModel]?
    /// Whose law holds where it stands: `EU`, `CH`, …
    public var jurisdiction: String?
    /// Set by the coordinator, never by the host and never on the wire: the circles that it serves; nil for everyone.
    public var circles: [String]?
    /// What it measured of itself, some seconds ago.
    public var metrics: HostMetrics?
    /// Set by the coordinator, never on the wire: what the host last reported.
    public var report: HostReport?

    public init(kinds: [String]? = nil) { self.kinds = kinds }

    enum CodingKeys: String, CodingKey {
        case kinds, docker, images, encryption
        case maxContextTier = "max_context_tier"
        case cpu, memory, region, models, jurisdiction, metrics
    }
}

/// `POST /hosts`: makes a host known, or the same host again when the public key is known.
public struct HostRegistration: Hashable, Sendable, Codable {
    public var name: String
    /// The host's Ed25519 identity, 32 raw bytes in base64. Without one the host cannot sign outcomes.
    public var publicKey: String?
    /// A DSSE envelope, payload type `application/vnd.longshore.host-registration.v1+json`, signed by `publicKey`
    /// over `{"name", "public_key", "at"}`: proof that the sender holds the key (docs/rules.md 2).
    public var proof: JSONValue?
    /// A DSSE envelope, payload type `application/vnd.longshore.host-sealing-key.v1+json`, signed by `publicKey` over
    /// `{"key", "host_key", "at"}`: the X25519 key (RFC 7748, 32 raw bytes in base64) to which clients seal what only this
    /// host may read.
    public var sealing: JSONValue?
    public var slots: Int?
    public var capabilities: HostCapabilities?
    /// True: only its own account and its groups may use it.
    public var closed: Bool?
    /// Groups of the account, ids or names, that it serves; it is closed to everyone else then.
    public var groups: [String]?

    public init(
        name: String, publicKey: String? = nil, proof: JSONValue? = nil, slots: Int? = nil,
        capabilities: HostCapabilities? = nil
    ) {
        self.name = name
        self.publicKey = publicKey
        self.proof = proof
        self.slots = slots
        self.capabilities = capabilities
    }

    enum CodingKeys: String, CodingKey {
        case name
        case publicKey = "public_key"
        case proof, sealing, slots, capabilities, closed, groups
    }
}

/// The answer of `POST /hosts`: the host's own credential, so that it needs no account key afterwards.
public struct RegisteredHost: Hashable, Sendable, Codable {
    public var id: String
    public var name: String
    /// Bearer token of this host; shown once per registration.
    public var token: String

    public init(id: String, name: String, token: String) {
        self.id = id
        self.name = name
        self.token = token
    }
}

/// `POST /hosts/next-job`: waits up to `wait` seconds for a job; 204 when there is none.
public struct ClaimRequest: Hashable, Sendable, Codable {
    /// Seconds, at most 60.
    public var wait: Double?
    /// Free slots.
    public var slots: Int?
    public var capabilities: HostCapabilities?
    /// Client-made: the same id gives the same claim again, so that a lost answer loses no job.
    public var claimID: String?
    /// Needed only with an account key that registered several hosts.
    public var host: String?

    public init(
        wait: Double? = nil, slots: Int? = nil, capabilities: HostCapabilities? = nil, claimID: String? = nil,
        host: String? = nil
    ) {
        self.wait = wait
        self.slots = slots
        self.capabilities = capabilities
        self.claimID = claimID
        self.host = host
    }

    enum CodingKeys: String, CodingKey {
        case wait, slots, capabilities
        case claimID = "claim_id"
        case host
    }
}

/// The right of one host to one attempt; sent back whole with every write of that attempt (docs/rules.md 10).
///
/// In a JSON body it is the field `lease`; with raw bytes it is this JSON in the header `Longshore-Lease`.
public struct Lease: Hashable, Sendable, Codable {
    /// Rises when a store is restored or fails over.
    public var generation: Int
    /// Rises with every claim of the job.
    public var epoch: Int
    public var token: String
    public var host: String
    /// How long it lasts from now without a heartbeat; renew at a third of it.
    public var seconds: Double?

    public init(generation: Int, epoch: Int, token: String, host: String, seconds: Double? = nil) {
        self.generation = generation
        self.epoch = epoch
        self.token = token
        self.host = host
        self.seconds = seconds
    }
}

/// A job as the host that claimed it sees it.
public struct ClaimedJob: Hashable, Sendable, Codable {
    /// An input file: its bytes inline in base64, or to be fetched from `GET /jobs/{id}/files/{name}` with the lease.
    public struct File: Hashable, Sendable, Codable {
        public var name: String
        public var size: Int64
        public var sha256: String
        public var content: String?

        public init(name: String, size: Int64, sha256: String, content: String? = nil) {
            self.name = name
            self.size = size
            self.sha256 = sha256
            self.content = content
        }
    }

    public var id: String
    public var attempt: Int
    /// Whose job it is, as a word that means nothing else: what a model's server keeps must not cross accounts.
    public var account: String?
    /// `publisher/name:version` as submitted.
    public var cargo: String?
    /// What runs: the root manifest's digest.
    public var digest: String?
    public var image: String?
    public var command: [String]?
    public var args: [String]?
    public var env: [String: String]?
    public var input: JSONValue?
    public var params: [String: JSONValue]?
    public var files: [File]
    /// What is asked of a model; then there is neither cargo nor image.
    public var request: ModelRequest?
    public var resources: Resources?
    public var timeout: Seconds?
    /// The trace of who submitted it.
    public var trace: Trace?
    public var tier: Int
    public var priority: Int

    public init(id: String, attempt: Int, tier: Int, priority: Int) {
        self.id = id
        self.attempt = attempt
        self.tier = tier
        self.priority = priority
        files = []
    }
}

/// The answer of `POST /hosts/next-job`.
public struct Claim: Hashable, Sendable, Codable {
    public var job: ClaimedJob
    public var lease: Lease

    public init(job: ClaimedJob, lease: Lease) {
        self.job = job
        self.lease = lease
    }
}

/// Bytes of a job's standard output or error, or of a model's answer.
public struct LogChunk: Hashable, Sendable, Codable {
    /// `answer`: the body of the response to a model request.
    /// `event`: lines of one JSON object each, said by a cargo with `interface: stdio-jsonl`.
    public enum Stream: String, Sendable, Codable { case stdout, stderr, answer, event }

    public var stream: Stream
    /// Where the chunk begins in the attempt's combined log: bytes of both streams in the order the host read them.
    public var offset: Int64
    /// The bytes, when they are UTF-8.
    public var data: String?
    /// The bytes in base64, when they are not.
    public var dataBase64: String?

    public init(stream: Stream, offset: Int64, data: String? = nil, dataBase64: String? = nil) {
        self.stream = stream
        self.offset = offset
        self.data = data
        self.dataBase64 = dataBase64
    }

    enum CodingKeys: String, CodingKey {
        case stream, offset, data
        case dataBase64 = "data_base64"
    }
}

/// `POST /jobs/{id}/heartbeat`: renews the lease and carries what is new.
public struct Heartbeat: Hashable, Sendable, Codable {
    public var lease: Lease
    /// `provisioning` while pulling and verifying, `processing` once the process runs.
    public var state: JobStatus?
    /// In order, gapless from the last `durable_offset`; at most 1 MiB of bytes a heartbeat.
    public var logs: [LogChunk]?
    /// Shown to readers as it is; at most 16 KiB.
    public var progress: JSONValue?
    /// How the answer to a model request begins; with every heartbeat that carries bytes of it.
    public var answer: AnswerHead?

    public init(lease: Lease, state: JobStatus? = nil, logs: [LogChunk]? = nil, progress: JSONValue? = nil) {
        self.lease = lease
        self.state = state
        self.logs = logs
        self.progress = progress
    }
}

/// The answer of a heartbeat.
public struct HeartbeatReply: Hashable, Sendable, Codable {
    /// The host must stop the work and report.
    public var cancel: Bool
    /// Log bytes before this are on the coordinator's disk; the host may forget them.
    public var durableOffset: Int64
    /// What the lease lasts from now, seconds.
    public var seconds: Double

    public init(cancel: Bool, durableOffset: Int64, seconds: Double) {
        self.cancel = cancel
        self.durableOffset = durableOffset
        self.seconds = seconds
    }

    enum CodingKeys: String, CodingKey {
        case cancel
        case durableOffset = "durable_offset"
        case seconds
    }
}

/// `POST /jobs/{id}/complete`: the process ended and its outputs are uploaded.
///
/// A non-zero exit, a signal, a timeout and an OOM kill end the job as `error` with their own code.
/// The same body again is answered as the first time; after the lease was lost, 409 `lease_lost`.
public struct Completion: Hashable, Sendable, Codable {
    public var lease: Lease
    public var exit: ExitReport
    public var outputs: [OutputFile]
    /// Length of the attempt's log: the coordinator accepts only once it has all of it.
    public var logBytes: Int64?
    /// SHA-256 of the attempt's combined log.
    public var logSHA256: String?
    public var logTruncated: Bool?
    /// Times that a line of the log outgrew the host's bound and was split.
    public var logLinesSplit: Int?
    /// How long the job waited because it logged faster than the host lets it.
    public var logPausedSeconds: Double?
    /// A limit that ended the job though its exit code does not say so, e.g. `output_limit`.
    public var error: JobError?
    /// DSSE envelope over the outcome, payload type `application/vnd.longshore.outcome.v1+json` (docs/rules.md 3).
    public var outcome: JSONValue?
    /// How the answer to a model request began.
    public var answer: AnswerHead?
    public var usage: ModelUsage?

    public init(lease: Lease, exit: ExitReport, outputs: [OutputFile]) {
        self.lease = lease
        self.exit = exit
        self.outputs = outputs
    }

    enum CodingKeys: String, CodingKey {
        case lease, outputs, error, outcome, answer, usage
        case logBytes = "log_bytes"
        case logSHA256 = "log_sha256"
        case logTruncated = "log_truncated"
        case logLinesSplit = "log_lines_split"
        case logPausedSeconds = "log_paused_seconds"
    }

    /// The exit report's fields stand beside `lease`, so that a host in another language writes one flat object.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        lease = try container.decode(Lease.self, forKey: .lease)
        exit = try ExitReport(from: decoder)
        outputs = try container.decodeIfPresent([OutputFile].self, forKey: .outputs) ?? []
        error = try container.decodeIfPresent(JobError.self, forKey: .error)
        outcome = try container.decodeIfPresent(JSONValue.self, forKey: .outcome)
        logBytes = try container.decodeIfPresent(Int64.self, forKey: .logBytes)
        logSHA256 = try container.decodeIfPresent(String.self, forKey: .logSHA256)
        logTruncated = try container.decodeIfPresent(Bool.self, forKey: .logTruncated)
        logLinesSplit = try container.decodeIfPresent(Int.self, forKey: .logLinesSplit)
        logPausedSeconds = try container.decodeIfPresent(Double.self, forKey: .logPausedSeconds)
        answer = try container.decodeIfPresent(AnswerHead.self, forKey: .answer)
        usage = try container.decodeIfPresent(ModelUsage.self, forKey: .usage)
    }

    public func encode(to encoder: any Encoder) throws {
        try exit.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(lease, forKey: .lease)
        try container.encode(outputs, forKey: .outputs)
        try container.encodeIfPresent(error, forKey: .error)
        try container.encodeIfPresent(outcome, forKey: .outcome)
        try container.encodeIfPresent(logBytes, forKey: .logBytes)
        try container.encodeIfPresent(logSHA256, forKey: .logSHA256)
        try container.encodeIfPresent(logTruncated, forKey: .logTruncated)
        try container.encodeIfPresent(logLinesSplit, forKey: .logLinesSplit)
        try container.encodeIfPresent(logPausedSeconds, forKey: .logPausedSeconds)
        try container.encodeIfPresent(answer, forKey: .answer)
        try container.encodeIfPresent(usage, forKey: .usage)
    }
}

/// `POST /jobs/{id}/fail`: the host could not run the job at all.
public struct Failure: Hashable, Sendable, Codable {
    public var lease: Lease
    public var error: JobError
    /// Another try may help; false ends the job at once.
    public var retryable: Bool?

    public init(lease: Lease, error: JobError, retryable: Bool? = nil) {
        self.lease = lease
        self.error = error
        self.retryable = retryable
    }
}
