/// What a job asks of a host, in the terms of a scheduler.
public struct Need: Hashable, Sendable {
    /// The cargo's kind, `image` for a container by name, `request` for a request to a model.
    public var kind: String
    /// The served model that it is a request to.
    public var model: String?
    /// Context tier, 1–4.
    public var tier: Int
    public var region: String?
    public var jurisdiction: String?
    /// Circles that its account belongs to: groups, and the account itself. Nil: none.
    public var circles: [String]?
    /// Hosts of these circles alone, not those that are open to everyone.
    public var isExact = false
    /// The container image that it names.
    public var image: String?
    /// How much of the host it needs, and what it may cost.
    public var room: Room?
    /// Format or quantisation that the host must run, such as `gguf` or `q4_k_m`.
    public var format: String?
    /// Hosts that lost or failed it before.
    public var avoided: [String] = []

    public init(kind: String, model: String? = nil, tier: Int = 1) {
        self.kind = kind
        self.model = model
        self.tier = tier
    }
}

/// Why a host is left out: the filters of layer 1, in the order in which they are asked.
public enum Filter: String, Hashable, Sendable, Codable, CaseIterable {
    case group, health, avoided, docker, kind, model, slots, breaker, tier, region, jurisdiction, memory, vram, price, format
}

/// What layer 2 counts, and how much. Every part is explained with the decision.
public struct Weights: Hashable, Sendable, Codable {
    /// The model is in (V)RAM now.
    public var hot = 4.0
    /// Model or image are on disk.
    public var stored = 1.0
    /// The share of slots that are free.
    public var free = 2.0
    /// Per credit.
    public var price = 1.0
    /// Per second until the first token, as measured, 5 at most.
    public var latency = 1.0
    /// Per failure in a row, 5 at most.
    public var failure = 1.0

    public init() {}
}

/// The parts of one host's score.
public struct Score: Hashable, Sendable, Codable {
    public var total: Double
    public var hot: Double
    public var stored: Double
    public var free: Double
    public var price: Double
    public var latency: Double
    public var failures: Double
}

/// A decision: the best hosts, best first, and how many each filter left out.
public struct Placement: Hashable, Sendable {
    public struct Choice: Hashable, Sendable {
        public var host: String
        public var score: Double
        public var isHot: Bool
    }

    /// The two best: the second is asked when the first does not take the job in a moment.
    public var choices: [Choice]

    public init(choices: [Choice]) { self.choices = choices }
}

/// What one host is to a job.
public struct Assessment: Hashable, Sendable {
    public var host: String
    /// The first filter that leaves it out; nil where it is scored.
    public var leftOutBy: Filter?
    public var score: Score?
}
