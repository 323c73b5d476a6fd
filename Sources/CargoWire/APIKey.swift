public import CargoArtifact

/// What an API key may use up, and how its requests to models are kept. A field that is missing sets no bound.
public struct KeyPolicy: Hashable, Sendable, Codable {
    /// False: requests to models live in memory only, and leave nothing that could be read afterwards.
    public var durable: Bool?
    public var requestsPerMinute: Int?
    /// Tokens of prompts and answers together.
    public var tokensPerMinute: Int?
    /// From midnight to midnight, UTC.
    public var tokensPerDay: Int?
    /// Credits spent from midnight to midnight, UTC.
    public var creditsPerDay: Double?

    public init() {}

    public var isDurable: Bool { durable ?? true }
    /// Whether anything of it narrows what the key may do.
    public var isLimited: Bool {
        requestsPerMinute != nil || tokensPerMinute != nil || tokensPerDay != nil || creditsPerDay != nil
    }

    enum CodingKeys: String, CodingKey {
        case durable
        case requestsPerMinute = "requests_per_minute"
        case tokensPerMinute = "tokens_per_minute"
        case tokensPerDay = "tokens_per_day"
        case creditsPerDay = "credits_per_day"
    }
}

/// `POST /keys`: a further key of the caller's account (an `admin` key may name another account).
public struct KeyRequest: Hashable, Sendable, Codable {
    public var name: String?
    public var account: String?
    public var scopes: [Scope]
    /// How long it is good for; for ever when missing.
    public var expiresIn: Seconds?
    public var policy: KeyPolicy?

    public init(name: String? = nil, account: String? = nil, scopes: [Scope], expiresIn: Seconds? = nil, policy: KeyPolicy? = nil)
    {
        self.name = name
        self.account = account
        self.scopes = scopes
        self.expiresIn = expiresIn
        self.policy = policy
    }

    enum CodingKeys: String, CodingKey {
        case name, account, scopes
        case expiresIn = "expires_in"
        case policy
    }
}

/// `POST /keys/{id}/rotate`: a new secret under the same id; the old one stays good for `overlap`, none by default.
public struct KeyRotation: Hashable, Sendable, Codable {
    public var overlap: Seconds?

    public init(overlap: Seconds? = nil) { self.overlap = overlap }
}

/// A key as its account sees it: everything but the secret, which is known once, in `key`.
public struct KeyView: Hashable, Sendable, Codable {
    public var id: String
    /// The secret, in the answers of create and rotate alone.
    public var key: String?
    public var name: String
    public var account: String
    public var scopes: [Scope]
    /// The host whose own credential it is.
    public var host: String?
    public var policy: KeyPolicy?
    /// RFC 3339, UTC.
    public var createdAt: String
    public var expiresAt: String?
    /// To the minute or so.
    public var lastUsedAt: String?
    public var revokedAt: String?

    public init(id: String, name: String, account: String, scopes: [Scope], createdAt: String) {
        self.id = id
        self.name = name
        self.account = account
        self.scopes = scopes
        self.createdAt = createdAt
    }

    enum CodingKeys: String, CodingKey {
        case id, key, name, account, scopes, host, policy
        case createdAt = "created_at"
        case expiresAt = "expires_at"
        case lastUsedAt = "last_used_at"
        case revokedAt = "revoked_at"
    }
}

/// `GET /keys`.
public struct KeyList: Hashable, Sendable, Codable {
    public var keys: [KeyView]

    public init(keys: [KeyView]) { self.keys = keys }
}

/// What one key had of one model.
public struct ModelUse: Hashable, Sendable, Codable {
    /// Milliseconds that half, 95 and 99 of 100 requests took at most, each 9 % too high at worst.
    public struct Latency: Hashable, Sendable, Codable {
        public var p50: Double
        public var p95: Double
        public var p99: Double

        public init(p50: Double, p95: Double, p99: Double) {
            self.p50 = p50
            self.p95 = p95
            self.p99 = p99
        }
    }

    public var key: String
    public var model: String
    public var requests: Int
    /// Of them, those that ended in an error.
    public var failed: Int
    public var promptTokens: Int
    public var completionTokens: Int
    public var credits: Double
    public var latency: Latency

    public init(
        key: String, model: String, requests: Int, failed: Int, promptTokens: Int, completionTokens: Int, credits: Double,
        latency: Latency
    ) {
        self.key = key
        self.model = model
        self.requests = requests
        self.failed = failed
        self.promptTokens = promptTokens
        self.completionTokens = completionTokens
        self.credits = credits
        self.latency = latency
    }

    enum CodingKeys: String, CodingKey {
        case key, model, requests, failed, credits
        case promptTokens = "prompt_tokens"
        case completionTokens = "completion_tokens"
        case latency = "latency_ms"
    }
}

/// `GET /usage`, `GET /keys/{id}/usage`: whole days, UTC, the first and the last included.
public struct UsageReport: Hashable, Sendable, Codable {
    public var since: String
    public var until: String
    public var usage: [ModelUse]

    public init(since: String, until: String, usage: [ModelUse]) {
        self.since = since
        self.until = until
        self.usage = usage
    }
}
