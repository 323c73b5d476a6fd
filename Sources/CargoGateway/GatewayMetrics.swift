import CargoQueue
import Synchronization

/// Counts since the start, in Prometheus' text format (exposition format 0.0.4). No label comes from a caller.
public final class GatewayMetrics: Sendable {
    private let claims = Atomic<Int>(0)
    private let leasesLost = Atomic<Int>(0)
    private let commits = Mutex(Histogram(bounds: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]))

    public init() {}

    public func committed(_ items: Int) { commits.withLock { $0.add(items) } }
    public func claimed() { claims.add(1, ordering: .relaxed) }
    public func leaseLost() { leasesLost.add(1, ordering: .relaxed) }

    /// What is asked for at the moment of a scrape.
    struct Now {
        var counts: StoreCounts
        var wall: Timestamp
        var webhookLag: Double
        var freeBytes: Int64?
    }

    func text(_ now: Now) -> String {
        let age = now.counts.oldest.map { max(0, Double(now.wall.milliseconds - $0.milliseconds) / 1000) } ?? 0
        var text = Self.one("longshore_jobs_queued", "gauge", "Jobs waiting for a host.", now.counts.queued)
        text += Self.one("longshore_queue_oldest_seconds", "gauge", "Age of the oldest job that could run now.", age)
        text += Self.one("longshore_leases", "gauge", "Attempts that run under a lease.", now.counts.leases)
        text += Self.one(
            "longshore_claims_total", "counter", "Leases that were granted.", claims.load(ordering: .relaxed))
        text += Self.one(
            "longshore_leases_lost_total", "counter", "Attempts whose host was lost.", leasesLost.load(ordering: .relaxed))
        text += Self.one(
            "longshore_webhook_lag_seconds", "gauge", "How long the oldest callback that is due has waited.", now.webhookLag)
        if let free = now.freeBytes {
            text += Self.one("longshore_disk_free_bytes", "gauge", "Room on the data folder's disk.", free)
        }
        let commits = commits.withLock { $0 }
        text += Self.one("longshore_commits_total", "counter", "Commits of the job store.", commits.count)
        text += Self.one("longshore_writes_total", "counter", "Writes that shared those commits.", commits.sum)
        text += commits.text("longshore_commit_batch", "Writes of one commit.")
        return text
    }

    /// The same of one account.
    static func ownText(queued: Int, running: Int, oldestSeconds: Double) -> String {
        one("longshore_jobs_queued", "gauge", "Jobs waiting for a host.", queued)
            + one("longshore_queue_oldest_seconds", "gauge", "Age of the oldest job that could run now.", oldestSeconds)
            + one("longshore_leases", "gauge", "Attempts that run under a lease.", running)
    }

    private static func one(_ name: String, _ type: String, _ help: String, _ value: some Numeric) -> String {
        "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n\(name) \(value)\n"
    }
}

/// How many values fell under each bound.
struct Histogram: Sendable {
    private let bounds: [Int]
    /// One more than bounds: the last takes what is above all.
    private var buckets: [Int]
    private(set) var count = 0
    private(set) var sum = 0

    init(bounds: [Int]) {
        self.bounds = bounds
        buckets = Array(repeating: 0, count: bounds.count + 1)
    }

    mutating func add(_ value: Int) {
        buckets[bounds.firstIndex { value <= $0 } ?? bounds.count] += 1
        count += 1
        sum += value
    }

    func text(_ name: String, _ help: String) -> String {
        var text = "# HELP \(name) \(help)\n# TYPE \(name) histogram\n"
        var below = 0
        for (bound, inside) in zip(bounds, buckets) {
            below += inside
            text += "\(name)_bucket{le=\"\(bound)\"} \(below)\n"
        }
        return text + "\(name)_bucket{le=\"+Inf\"} \(count)\n\(name)_sum \(sum)\n\(name)_count \(count)\n"
    }
}
