public import CargoArtifact

/// The states of a job; the last three are final.
public enum JobStatus: String, Sendable, Codable, CaseIterable {
    case queued, provisioning, processing, complete, error, cancelled

    public var isFinal: Bool { self == .complete || self == .error || self == .cancelled }
}

/// Why a job did not complete: a word that a program can switch on, and a sentence for a person.
public struct JobError: Hashable, Sendable, Codable {
    /// One of `JobErrorCode`'s words; the set grows, so readers take any.
    public var code: String
    public var message: String

    public init(code: String, message: String) {
        self.code = code
        self.message = message
    }

    public init(_ code: JobErrorCode, _ message: String) {
        self.init(code: code.rawValue, message: message)
    }
}

/// The words of `JobError.code`.
public enum JobErrorCode: String, Sendable, CaseIterable {
    case timedOut = "timed_out"
    case oomKilled = "oom_killed"
    case exitNonzero = "exit_nonzero"
    case signalled
    case refused
    case commandNotFound = "command_not_found"
    case imageNotFound = "image_not_found"
    case imageRefused = "image_refused"
    case provisioningFailed = "provisioning_failed"
    case hostLost = "host_lost"
    case poison
    case outputLimit = "output_limit"
    case cpuTimeLimit = "cpu_time_limit"
    case cancelled
    case internalError = "internal_error"
}

/// `POST /jobs`: exactly one of `cargo`, `model`, `image`.
public struct JobRequest: Hashable, Sendable, Codable {
    /// Where a job may run.
    public struct Constraints: Hashable, Sendable, Codable {
        public var group: String?
        public var region: String?
        public var jurisdiction: String?
        /// Credits at most, as the host asks.
        public var maxPrice: Double?
        /// Main memory, and memory of one GPU, that must be free at least; `resources` ask for theirs without it.
        public var memory: ByteCount?
        public var vram: ByteCount?
        public var gpu: String?

        public init(group: String? = nil, region: String? = nil, maxPrice: Double? = nil, gpu: String? = nil) {
            self.group = group
            self.region = region
            self.maxPrice = maxPrice
            self.gpu = gpu
        }

        enum CodingKeys: String, CodingKey {
            case group, region, jurisdiction, memory, vram
            case maxPrice = "max_price"
            case gpu
        }
    }

    /// A file that appears as `/job/input/NAME`: `content` in base64, or `upload`, the id that `POST /uploads` gave.
    public struct File: Hashable, Sendable, Codable {
        public var name: String
        public var content: String?
        public var upload: String?

        public init(name: String, content: String? = nil, upload: String? = nil) {
            self.name = name
            self.content = content
            self.upload = upload
        }
    }

    /// UUIDv7 made by the client, so that ciphertext can bind to it; else the coordinator makes one.
    public var id: String?
    /// `publisher/name:version` or `publisher/name@sha256:…`.
    public var cargo: String?
    public var model: String?
    public var image: String?
    public var command: [String]?
    /// Appended to the cargo's command.
    public var args: [String]?
    public var env: [String: String]?
    public var input: JSONValue?
    /// Becomes `/job/params.json`.
    public var params: [String: JSONValue]?
    public var files: [File]?
    public var resources: Resources?
    public var network: CargoNetwork?
    public var constraints: Constraints?
    public var tier: Int?
    /// 0–100, higher first, 50 by default.
    public var priority: Int?
    /// Seconds of run time.
    public var timeout: Seconds?
    /// The most tries of the job itself, 1 by default; lost hosts are counted apart.
    public var attempts: Int?
    public var callbackURL: String?
    /// How long results are kept after the end.
    public var retention: Seconds?
    public var encryption: JSONValue?
    public var metadata: JSONValue?

    public init(cargo: String? = nil, model: String? = nil, image: String? = nil) {
        self.cargo = cargo
        self.model = model
        self.image = image
    }

    enum CodingKeys: String, CodingKey {
        case id, cargo, model, image, command, args, env, input, params, files, resources, network, constraints
        case tier, priority, timeout, attempts
        case callbackURL = "callback_url"
        case retention, encryption, metadata
    }
}

/// One file that a job left in `/job/output`.
public struct OutputFile: Hashable, Sendable, Codable {
    /// Relative to `/job/output`, `/` between parts.
    public var path: String
    /// Bytes.
    public var size: Int64
    /// 64 lower-case hexadecimal digits.
    public var sha256: String

    public init(path: String, size: Int64, sha256: String) {
        self.path = path
        self.size = size
        self.sha256 = sha256
    }
}

/// What the cargo's process came to, as the host measured it.
public struct ExitReport: Hashable, Sendable, Codable {
    /// Null when killed by a signal or timed out.
    public var exitCode: Int?
    public var signal: Int?
    public var timedOut: Bool
    public var oomKilled: Bool
    public var wallSeconds: Double
    public var cpuSeconds: Double
    public var maxRSSBytes: Int64

    public init(
        exitCode: Int?, signal: Int? = nil, timedOut: Bool = false, oomKilled: Bool = false, wallSeconds: Double = 0,
        cpuSeconds: Double = 0, maxRSSBytes: Int64 = 0
    ) {
        self.exitCode = exitCode
        self.signal = signal
        self.timedOut = timedOut
        self.oomKilled = oomKilled
        self.wallSeconds = wallSeconds
        self.cpuSeconds = cpuSeconds
        self.maxRSSBytes = maxRSSBytes
    }

    enum CodingKeys: String, CodingKey {
        case exitCode = "exit_code"
        case signal
        case timedOut = "timed_out"
        case oomKilled = "oom_killed"
        case wallSeconds = "wall_seconds"
        case cpuSeconds = "cpu_seconds"
        case maxRSSBytes = "max_rss_bytes"
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        exitCode = try container.decodeIfPresent(Int.self, forKey: .exitCode)
        signal = try container.decodeIfPresent(Int.self, forKey: .signal)
        timedOut = try container.decodeIfPresent(Bool.self, forKey: .timedOut) ?? false
        oomKilled = try container.decodeIfPresent(Bool.self, forKey: .oomKilled) ?? false
        wallSeconds = try container.decodeIfPresent(Double.self, forKey: .wallSeconds) ?? 0
        cpuSeconds = try container.decodeIfPresent(Double.self, forKey: .cpuSeconds) ?? 0
        maxRSSBytes = try container.decodeIfPresent(Int64.self, forKey: .maxRSSBytes) ?? 0
    }

    /// Nil fields are written as null: a reader sees that there is no exit code, not that it was forgotten.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(exitCode, forKey: .exitCode)
        try container.encode(signal, forKey: .signal)
        try container.encode(timedOut, forKey: .timedOut)
        try container.encode(oomKilled, forKey: .oomKilled)
        try container.encode(wallSeconds, forKey: .wallSeconds)
        try container.encode(cpuSeconds, forKey: .cpuSeconds)
        try container.encode(maxRSSBytes, forKey: .maxRSSBytes)
    }
}

/// A job as its owner sees it: `GET /jobs/{id}` and the answer of `POST /jobs`.
public struct Job: Hashable, Sendable, Codable {
    public var id: String
    public var status: JobStatus
    public var tier: Int
    public var priority: Int
    /// 0 before the first claim.
    public var attempt: Int
    /// `publisher/name:version` as submitted.
    public var cargo: String?
    /// The cargo's root manifest, fixed at submit.
    public var digest: String?
    /// The container image as submitted, for a job without a cargo.
    public var image: String?
    /// The served model that was asked, for a request.
    public var model: String?
    /// The host that holds or held the last attempt.
    public var host: String?
    public var exitCode: Int?
    public var exit: ExitReport?
    public var error: JobError?
    public var outputs: [OutputFile]
    /// Why nothing happens yet, e.g. that no known host could ever run it.
    public var notice: String?
    public var metadata: JSONValue?
    /// Once the job has ended: a DSSE envelope over `AuditHead`. Worth keeping: `longshore jobs audit --verify` asks for it.
    public var auditHead: JSONValue?
    /// RFC 3339, UTC.
    public var createdAt: String
    public var startedAt: String?
    public var finishedAt: String?

    public init(id: String, status: JobStatus, tier: Int, priority: Int, attempt: Int, createdAt: String) {
        self.id = id
        self.status = status
        self.tier = tier
        self.priority = priority
        self.attempt = attempt
        self.createdAt = createdAt
        outputs = []
    }

    enum CodingKeys: String, CodingKey {
        case id, status, tier, priority, attempt, cargo, digest, image, model, host
        case exitCode = "exit_code"
        case exit, error, outputs, notice, metadata
        case auditHead = "audit_head"
        case createdAt = "created_at"
        case startedAt = "started_at"
        case finishedAt = "finished_at"
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(id, forKey: .id)
        try container.encode(status, forKey: .status)
        try container.encode(tier, forKey: .tier)
        try container.encode(priority, forKey: .priority)
        try container.encode(attempt, forKey: .attempt)
        try container.encodeIfPresent(cargo, forKey: .cargo)
        try container.encodeIfPresent(digest, forKey: .digest)
        try container.encodeIfPresent(image, forKey: .image)
        try container.encodeIfPresent(model, forKey: .model)
        try container.encode(host, forKey: .host)
        try container.encode(exitCode, forKey: .exitCode)
        try container.encodeIfPresent(exit, forKey: .exit)
        try container.encode(error, forKey: .error)
        try container.encode(outputs, forKey: .outputs)
        try container.encodeIfPresent(notice, forKey: .notice)
        try container.encodeIfPresent(metadata, forKey: .metadata)
        try container.encodeIfPresent(auditHead, forKey: .auditHead)
        try container.encode(createdAt, forKey: .createdAt)
        try container.encode(startedAt, forKey: .startedAt)
        try container.encode(finishedAt, forKey: .finishedAt)
    }
}

/// `GET /jobs`: newest first.
public struct JobList: Hashable, Sendable, Codable {
    public var jobs: [Job]
    /// The `before` of the next page; nil at the end.
    public var next: String?

    public init(jobs: [Job], next: String?) {
        self.jobs = jobs
        self.next = next
    }
}

/// `GET /jobs/{id}/outputs`.
public struct OutputList: Hashable, Sendable, Codable {
    public var outputs: [OutputFile]

    public init(outputs: [OutputFile]) { self.outputs = outputs }
}

/// `POST /uploads`: raw bytes in, this out.
public struct Upload: Hashable, Sendable, Codable {
    public var id: String
    public var size: Int64
    public var sha256: String

    public init(id: String, size: Int64, sha256: String) {
        self.id = id
        self.size = size
        self.sha256 = sha256
    }
}
