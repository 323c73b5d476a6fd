public import CargoArtifact
public import CargoWire
public import FoundationEssentials

/// A job as a store keeps it, without its payload.
public struct JobRecord: Sendable {
    public var key: JobKey
    public var state: JobState
    public var tier: Int
    public var priority: Int
    public var cargo: String?
    public var digest: String?
    public var requirement: Requirement
    public var createdAt: Timestamp
    public var startedAt: Timestamp?
    public var finishedAt: Timestamp?
    /// Queued, but not before this.
    public var notBefore: Timestamp?
    /// Random, new with each claim; empty before the first.
    var token: String
    /// Sequence and hash of the last transition.
    public var sequence: Int64
    public var head: Data
}

/// A job that ended, or the last attempt of one that did not: the cold half of its record.
public struct JobResult: Sendable {
    public var exit: ExitReport?
    public var error: JobError?
    public var outputs: [OutputFile] = []

    public init() {}
}

/// One row of a job's audit trail.
public struct Transition: Sendable, Codable {
    /// From 1, without gaps.
    public var sequence: Int64
    public var at: Timestamp
    /// `account:N`, `host:ID` or `coordinator`.
    public var actor: String
    public var status: JobStatus
    public var attempt: Int
    public var host: String?
    /// JSON of what else is known: exit, error, digests.
    public var detail: Data
    /// SHA-256 over the hash before and all fields above (`AuditChain`).
    public var hash: Data
}

extension Timestamp: Codable {
    public init(from decoder: any Decoder) throws {
        milliseconds = try decoder.singleValueContainer().decode(Int64.self)
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(milliseconds)
    }
}

/// What stands in a transition's `detail`.
public struct TransitionDetail: Hashable, Sendable, Codable {
    public var exit: ExitReport?
    public var error: JobError?
    public var note: String?
    /// Salted digest of the payload, on the first row (docs/rules.md 18).
    public var payload: String?
    public var cargo: String?
    public var digest: String?
    /// The `traceparent` of who submitted it, on the first row.
    public var trace: String?
    public var outputs: [OutputFile]?
    public var logBytes: Int64?
    public var logSHA256: String?
    /// The host's signed outcome, as it sent it.
    public var outcome: JSONValue?
    /// How the answer to a model request began, and what it took.
    public var answer: AnswerHead?
    public var usage: ModelUsage?

    public init() {}

    /// The bytes that the chain covers: sorted keys, nil left out.
    var json: Data {
        var writer = JSONWriter(capacity: 256)
        writer.beginObject()
        if let answer {
            writer.key("answer")
            writer.beginObject()
            writer.field("content_type", answer.contentType)
            writer.field("status", answer.status)
            writer.endObject()
        }
        if let cargo { writer.field("cargo", cargo) }
        if let digest { writer.field("digest", digest) }
        if let error {
            writer.key("error")
            error.write(into: &writer)
        }
        if let exit {
            writer.key("exit")
            exit.write(into: &writer)
        }
        if let logBytes { writer.field("log_bytes", logBytes) }
        if let logSHA256 { writer.field("log_sha256", logSHA256) }
        if let note { writer.field("note", note) }
        if let outcome { writer.field("outcome", outcome) }
        if let outputs {
            writer.key("outputs")
            outputs.write(into: &writer)
        }
        if let payload { writer.field("payload", payload) }
        if let trace { writer.field("trace", trace) }
        if let usage {
            writer.key("usage")
            usage.write(into: &writer)
        }
        writer.endObject()
        return Data(writer.bytes)
    }

    /// What the first row of every job says.
    static func submitted(payload: String, cargo: String?, digest: String?, trace: Trace? = nil) -> Data {
        var detail = TransitionDetail()
        (detail.payload, detail.cargo, detail.digest, detail.trace) = (payload, cargo, digest, trace?.parent)
        return detail.json
    }

    /// The note of a row's stored detail.
    static func note(in detail: Data?) throws -> String? {
        try detail.flatMap { try JSONDecoder().decode(TransitionDetail.self, from: $0).note }
    }

    enum CodingKeys: String, CodingKey {
        case exit, error, note, payload, cargo, digest, outputs, outcome, answer, usage, trace
        case logBytes = "log_bytes"
        case logSHA256 = "log_sha256"
    }
}

/// A validated job on its way into a store.
public struct NewJob: Sendable {
    public var id: JobID?
    public var account: Int64
    public var tier: Int
    public var priority: Int
    public var maxAttempts: Int
    public var cargo: String?
    public var digest: String?
    public var requirement: Requirement
    /// JSON of the job as its host will see it (`ClaimedJob`), without `id` and `attempt`; forwarded as it is.
    public var spec: Data
    /// JSON, returned to the owner as it came.
    public var metadata: Data?
    /// Blobs that the spec's files name: HEX digests by file name.
    public var files: [String: String]
    /// Seconds that results are kept after the end.
    public var retention: Double?
    public var idempotency: Idempotency?
    /// Where its end is announced.
    public var callback: Callback?
    /// Where it stands in its client's trace.
    public var trace: Trace?

    /// The scope of an `Idempotency-Key`: the same key and body give the same job (docs/rules.md 17).
    public struct Idempotency: Sendable {
        public var operation: String
        public var key: String
        public var bodyDigest: Data

        public init(operation: String, key: String, bodyDigest: Data) {
            self.operation = operation
            self.key = key
            self.bodyDigest = bodyDigest
        }
    }

    public init(
        id: JobID?, account: Int64, tier: Int, priority: Int, maxAttempts: Int, cargo: String?, digest: String?,
        requirement: Requirement, spec: Data, metadata: Data?, files: [String: String], retention: Double?,
        idempotency: Idempotency?, callback: Callback? = nil
    ) {
        self.id = id
        self.account = account
        self.tier = tier
        self.priority = priority
        self.maxAttempts = maxAttempts
        self.cargo = cargo
        self.digest = digest
        self.requirement = requirement
        self.spec = spec
        self.metadata = metadata
        self.files = files
        self.retention = retention
        self.idempotency = idempotency
        self.callback = callback
    }
}
