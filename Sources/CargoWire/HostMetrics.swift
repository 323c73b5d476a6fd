/// One GPU as its driver's tool reads it. What the tool does not say is nil.
public struct GPUReading: Hashable, Sendable, Codable {
    /// As the driver numbers it.
    public var index: Int
    public var name: String
    /// Bytes.
    public var vramTotal: Int64?
    /// Bytes.
    public var vramFree: Int64?
    /// Percent.
    public var utilization: Double?
    /// °C.
    public var temperature: Double?
    /// W.
    public var power: Double?

    public init(
        index: Int, name: String, vramTotal: Int64? = nil, vramFree: Int64? = nil, utilization: Double? = nil,
        temperature: Double? = nil, power: Double? = nil
    ) {
        self.index = index
        self.name = name
        self.vramTotal = vramTotal
        self.vramFree = vramFree
        self.utilization = utilization
        self.temperature = temperature
        self.power = power
    }

    enum CodingKeys: String, CodingKey {
        case index, name, utilization, temperature, power
        case vramTotal = "vram_total"
        case vramFree = "vram_free"
    }
}

/// How fast a model answered on a host lately.
public struct ModelSpeed: Hashable, Sendable, Codable {
    /// Of the last answers that said how many tokens they had; from the first token to the last.
    public var tokensPerSecond: Double?
    /// Milliseconds to the first piece of an answer, the mean of the last ones.
    public var firstTokenMS: Double?
    /// Answers since the agent began, and those of them that failed.
    public var requests: Int
    public var failures: Int

    public init(tokensPerSecond: Double? = nil, firstTokenMS: Double? = nil, requests: Int = 0, failures: Int = 0) {
        self.tokensPerSecond = tokensPerSecond
        self.firstTokenMS = firstTokenMS
        self.requests = requests
        self.failures = failures
    }

    enum CodingKeys: String, CodingKey {
        case tokensPerSecond = "tokens_per_second"
        case firstTokenMS = "first_token_ms"
        case requests, failures
    }
}

/// What a host measures of itself every few seconds. Sizes are bytes.
public struct HostMetrics: Hashable, Sendable, Codable {
    public var gpus: [GPUReading]
    /// Percent of all processors, over the time since the reading before.
    public var cpu: Double?
    public var memoryTotal: Int64?
    /// What could be used without swapping.
    public var memoryFree: Int64?
    /// Of the disk that the store is on.
    public var diskTotal: Int64?
    public var diskFree: Int64?
    /// By the model's id.
    public var models: [String: ModelSpeed]

    public init(gpus: [GPUReading] = [], models: [String: ModelSpeed] = [:]) {
        self.gpus = gpus
        self.models = models
    }

    enum CodingKeys: String, CodingKey {
        case gpus, cpu, models
        case memoryTotal = "memory_total"
        case memoryFree = "memory_free"
        case diskTotal = "disk_total"
        case diskFree = "disk_free"
    }
}
