public import CargoArtifact

/// A host in `GET /hosts`. Of a host that is not the caller's own or of the caller's groups only what a choice needs.
public struct HostView: Hashable, Sendable, Codable {
    public var id: String
    public var name: String
    /// `active` when it was heard of lately, else `silent`.
    public var status: String
    /// Whether it belongs to the caller's account.
    public var own: Bool
    /// Whether everyone's jobs may run there.
    public var open: Bool
    /// The caller's groups that it serves.
    public var groups: [String]
    /// SHA-256 of its public key, as it prints it itself; own hosts only.
    public var fingerprint: String?
    /// Its Ed25519 identity, 32 raw bytes in base64, and what it signed for its sealing key (`HostRegistration.sealing`); in
    /// the answer for one host.
    public var publicKey: String?
    public var sealing: JSONValue?
    public var capabilities: HostCapabilities?
    /// What it last said of itself; whole for own hosts and those of one's groups, else prices, speed, formats and tier.
    public var report: HostReport?
    public var lastSeenAt: String?
    /// The name of its first GPU, and the models that it serves.
    public var gpu: String?
    public var models: [String] = []

    public init(id: String, name: String, status: String, own: Bool, open: Bool, groups: [String]) {
        self.id = id
        self.name = name
        self.status = status
        self.own = own
        self.open = open
        self.groups = groups
    }

    enum CodingKeys: String, CodingKey {
        case id, name, status, own, open, groups, fingerprint, sealing, capabilities, report, gpu, models
        case publicKey = "public_key"
        case lastSeenAt = "last_seen_at"
        case hostID = "host_id"
    }

    /// `host_id` says the same as `id`, for clients of the product pages' own shape.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(id, forKey: .id)
        try container.encode(id, forKey: .hostID)
        try container.encode(name, forKey: .name)
        try container.encode(status, forKey: .status)
        try container.encode(own, forKey: .own)
        try container.encode(open, forKey: .open)
        try container.encode(groups, forKey: .groups)
        try container.encodeIfPresent(fingerprint, forKey: .fingerprint)
        try container.encodeIfPresent(publicKey, forKey: .publicKey)
        try container.encodeIfPresent(sealing, forKey: .sealing)
        try container.encodeIfPresent(capabilities, forKey: .capabilities)
        try container.encodeIfPresent(report, forKey: .report)
        try container.encodeIfPresent(lastSeenAt, forKey: .lastSeenAt)
        try container.encodeIfPresent(gpu, forKey: .gpu)
        try container.encode(models, forKey: .models)
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        id = try container.decode(String.self, forKey: .id)
        name = try container.decode(String.self, forKey: .name)
        status = try container.decode(String.self, forKey: .status)
        own = try container.decode(Bool.self, forKey: .own)
        open = try container.decode(Bool.self, forKey: .open)
        groups = try container.decode([String].self, forKey: .groups)
        fingerprint = try container.decodeIfPresent(String.self, forKey: .fingerprint)
        publicKey = try container.decodeIfPresent(String.self, forKey: .publicKey)
        sealing = try container.decodeIfPresent(JSONValue.self, forKey: .sealing)
        capabilities = try container.decodeIfPresent(HostCapabilities.self, forKey: .capabilities)
        report = try container.decodeIfPresent(HostReport.self, forKey: .report)
        lastSeenAt = try container.decodeIfPresent(String.self, forKey: .lastSeenAt)
        gpu = try container.decodeIfPresent(String.self, forKey: .gpu)
        models = try container.decodeIfPresent([String].self, forKey: .models) ?? []
    }
}

/// `GET /hosts`.
public struct HostList: Hashable, Sendable, Codable {
    public var hosts: [HostView]

    public init(hosts: [HostView]) { self.hosts = hosts }
}

/// `POST /hosts/heartbeat`: how a host is, each ten seconds; besides what its claims offer.
public struct HostReport: Hashable, Sendable, Codable {
    /// Bytes of main memory that a job could have now.
    public var freeMemory: ByteCount?
    /// Bytes of the largest GPU's memory that a job could have now.
    public var freeVRAM: ByteCount?
    /// Models on disk or in memory, whether or not it serves them now; at most 1,000.
    public var models: [ServedModel]?
    /// `gguf`, `q4_k_m`, …: formats and quantisations that it runs.
    public var formats: [String]?
    /// Tokens a second by model, as measured.
    public var speed: [String: Double]?
    /// Credits by model, `_default` for the others.
    public var prices: [String: Double]?
    public var maxContextTier: Int?
    public var activeJobs: Int?
    public var slots: Int?

    public init() {}

    enum CodingKeys: String, CodingKey {
        case models, formats, speed, prices, slots
        case freeMemory = "free_memory"
        case freeVRAM = "free_vram"
        case maxContextTier = "max_context_tier"
        case activeJobs = "active_jobs"
    }
}

/// What a host might fetch, because jobs wait for it.
public struct FetchHint: Hashable, Sendable, Codable {
    public var model: String
    /// Requests and jobs that wait for it.
    public var waiting: Int
    /// The cargo that it is, `publisher/name:version`, and its digest, where it is one.
    public var cargo: String?
    public var digest: String?

    public init(model: String, waiting: Int) {
        self.model = model
        self.waiting = waiting
    }
}

/// The answer of `POST /hosts/heartbeat`.
public struct HostReportReply: Hashable, Sendable, Codable {
    public var fetch: [FetchHint]
    /// Seconds until the next one is due.
    public var seconds: Double

    public init(fetch: [FetchHint], seconds: Double) {
        self.fetch = fetch
        self.seconds = seconds
    }
}

/// `POST /hosts/pairings`: a host that holds no key asks to be let in. Anyone may ask; nothing happens until an account
/// confirms the code.
public struct PairingRequest: Hashable, Sendable, Codable {
    public var host: HostRegistration

    public init(host: HostRegistration) { self.host = host }
}

/// Its answer: the code for a person, the secret for the host itself, which asks with it how things stand.
public struct Pairing: Hashable, Sendable, Codable {
    /// Six characters without I, O, 0 and 1.
    public var code: String
    public var secret: String
    public var fingerprint: String
    /// Seconds.
    public var expiresIn: Double

    public init(code: String, secret: String, fingerprint: String, expiresIn: Double) {
        self.code = code
        self.secret = secret
        self.fingerprint = fingerprint
        self.expiresIn = expiresIn
    }

    enum CodingKeys: String, CodingKey {
        case code, secret, fingerprint
        case expiresIn = "expires_in"
    }
}

/// `GET /hosts/pairings/{code}`: what a person compares before saying yes.
public struct PairingView: Hashable, Sendable, Codable {
    public var code: String
    public var name: String
    public var fingerprint: String
    public var expiresAt: String

    public init(code: String, name: String, fingerprint: String, expiresAt: String) {
        self.code = code
        self.name = name
        self.fingerprint = fingerprint
        self.expiresAt = expiresAt
    }

    enum CodingKeys: String, CodingKey {
        case code, name, fingerprint
        case expiresAt = "expires_at"
    }
}

/// `POST /hosts/pairings/{code}`: yes, to the host with this fingerprint.
public struct PairingConfirmation: Hashable, Sendable, Codable {
    public var fingerprint: String
    /// Let everyone's jobs run there; else those of this account and its groups alone.
    public var open: Bool?
    /// Groups that it serves from the start, ids or names.
    public var groups: [String]?

    public init(fingerprint: String, open: Bool? = nil, groups: [String]? = nil) {
        self.fingerprint = fingerprint
        self.open = open
        self.groups = groups
    }
}

/// `POST /hosts/pairings/answer`, by the host itself.
public struct PairingSecret: Hashable, Sendable, Codable {
    public var secret: String

    public init(secret: String) { self.secret = secret }
}

/// `POST /hosts/rotate`: a new token for the host that calls, and a new identity where one is brought, signed by the old.
public struct HostRotation: Hashable, Sendable, Codable {
    /// 32 bytes in base64.
    public var publicKey: String?
    /// A DSSE envelope of type `application/vnd.longshore.host-rotation.v1+json` over `{"host","public_key"}`, signed by
    /// the old key and by the new.
    public var proof: JSONValue?
    /// What the new identity signs for its sealing key (`HostRegistration.sealing`).
    public var sealing: JSONValue?

    public init(publicKey: String? = nil, proof: JSONValue? = nil) {
        self.publicKey = publicKey
        self.proof = proof
    }

    enum CodingKeys: String, CodingKey {
        case publicKey = "public_key"
        case proof, sealing
    }
}
