public import CargoWire
internal import FoundationEssentials

/// What a host shows its owner: in the browser, in the terminal, as JSON.
public struct HostStatus: Hashable, Sendable, Codable {
    public var name: String
    /// Nil where no agent runs.
    public var coordinator: String?
    /// RFC 3339, UTC.
    public var at: String
    public var slots: Int?
    /// Ids of the jobs that run now, at most `mostJobs`.
    public var jobs: [String]
    public var models: [ServedModel]
    public var metrics: HostMetrics
    /// Models on their way into memory, at most `mostJobs`.
    public var loads: [Load]?

    public static let mostJobs = 256

    /// How far a model is on its way into memory.
    public struct Load: Hashable, Sendable, Codable {
        public var model: String
        /// Bytes of its weights in memory, of all of them.
        public var current: Int64
        public var total: Int64

        public init(model: String, current: Int64, total: Int64) {
            self.model = model
            self.current = current
            self.total = total
        }
    }

    /// A model's state in one or two words: `stored`, `load 40%`, `loaded`.
    func state(of model: ServedModel) -> String {
        guard let load = loads?.first(where: { $0.model == model.id }) else { return model.presence.rawValue }
        return "load \(load.total > 0 ? 100 * min(load.current, load.total) / load.total : 0)%"
    }

    /// The time as `at` writes it.
    public static func now() -> String { Date().ISO8601Format() }

    public init(
        name: String, coordinator: String? = nil, at: String, slots: Int? = nil, jobs: [String] = [], models: [ServedModel] = [],
        metrics: HostMetrics
    ) {
        self.name = name
        self.coordinator = coordinator
        self.at = at
        self.slots = slots
        self.jobs = jobs
        self.models = models
        self.metrics = metrics
    }
}

/// Numbers for people.
enum Shown {
    static func bytes(_ count: Int64?) -> String {
        guard let count else { return "–" }
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
        var (value, unit) = (Double(count), 0)
        while value >= 1024, unit + 1 < units.count { (value, unit) = (value / 1024, unit + 1) }
        return unit == 0 ? "\(count) B" : "\(tenths(value)) \(units[unit])"
    }

    static func tenths(_ value: Double) -> String {
        let rounded = (value * 10).rounded()
        guard let whole = Int64(exactly: rounded) else { return "–" }
        return whole % 10 == 0 ? "\(whole / 10)" : "\(whole / 10).\(abs(whole % 10))"
    }

    static func number(_ value: Double?, _ unit: String) -> String { value.map { tenths($0) + " " + unit } ?? "–" }

    static func used(_ total: Int64?, _ free: Int64?) -> String {
        guard let total, let free else { return bytes(total) }
        return "\(bytes(max(0, total - free))) of \(bytes(total))"
    }

    /// Between 0 and 1; nil when it is not known.
    static func share(_ total: Int64?, _ free: Int64?) -> Double? {
        guard let total, let free, total > 0 else { return nil }
        return min(1, max(0, Double(total - free) / Double(total)))
    }

    static func operations(_ model: ServedModel) -> String {
        model.operations.map { $0 == .chat ? "chat" : $0 == .images ? "images" : $0.rawValue }.joined(separator: ", ")
    }
}
