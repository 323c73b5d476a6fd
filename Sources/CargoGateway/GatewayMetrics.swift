import CargoArtifact
public import CargoQueue
import CargoWire
import Synchronization

/// Counts since the start. No label comes from a caller.
public final class GatewayMetrics: Sendable {
    private struct Ends {
        var completed = 0
        /// Of those, from submit to end.
        var milliseconds: Int64 = 0
    }

    private let claims = Atomic<Int>(0)
    private let leasesLost = Atomic<Int>(0)
    private let ends = Mutex(Ends())
    private let commits = Mutex(Histogram(bounds: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]))

    public init() {}

    public func committed(_ items: Int) { commits.withLock { $0.add(items) } }
    public func claimed() { claims.add(1, ordering: .relaxed) }
    public func leaseLost() { leasesLost.add(1, ordering: .relaxed) }

    public func ended(_ job: JobRecord) {
        guard job.state.status == .complete, let end = job.finishedAt else { return }
        ends.withLock {
            $0.completed += 1
            $0.milliseconds += end.milliseconds - job.createdAt.milliseconds
        }
    }

    /// What is asked for at the moment of a scrape.
    struct Now {
        var counts: StoreCounts
        var wall: Timestamp
        var webhookLag: Double
        var freeBytes: Int64?
        var activeHosts: Int
        var accounts: Int
        var direct: (open: Int, begun: Int, failed: Int)
    }

    func figures(_ now: Now) -> MetricFigures {
        let age = now.counts.oldest.map { max(0, Double(now.wall.milliseconds - $0.milliseconds) / 1000) } ?? 0
        let ends = ends.withLock { $0 }
        let commits = commits.withLock { $0 }
        var figures = MetricFigures(queued: now.counts.queued, running: now.counts.leases, oldestSeconds: age)
        figures.add("claims_total", "counter", "Leases that were granted.", claims.load(ordering: .relaxed))
        figures.add("leases_lost_total", "counter", "Attempts whose host was lost.", leasesLost.load(ordering: .relaxed))
        figures.add("jobs_completed_total", "counter", "Jobs that completed.", ends.completed)
        figures.add(
            "job_seconds_total", "counter", "Time of those jobs from submit to end.", Double(ends.milliseconds) / 1000)
        figures.add("hosts_active", "gauge", "Hosts that asked for work in the last ten minutes.", now.activeHosts)
        figures.add("accounts", "gauge", "Accounts that have a key.", now.accounts)
        figures.add(
            "direct_requests", "gauge", "Requests to models that are kept in memory only and are under way.", now.direct.open)
        figures.add("direct_requests_total", "counter", "Requests to models that were kept in memory only.", now.direct.begun)
        figures.add("direct_requests_failed_total", "counter", "Of those, the ones that ended in an error.", now.direct.failed)
        figures.add("webhook_lag_seconds", "gauge", "How long the oldest callback that is due has waited.", now.webhookLag)
        if let free = now.freeBytes { figures.add("disk_free_bytes", "gauge", "Room on the data folder's disk.", free) }
        figures.add("commits_total", "counter", "Commits of the job store.", commits.count)
        figures.add("writes_total", "counter", "Writes that shared those commits.", commits.sum)
        figures.histogram = commits.text("longshore_commit_batch", "Writes of one commit.")
        figures.also = [
            "total_jobs_completed": .integer(Int64(ends.completed)), "active_hosts": .integer(Int64(now.activeHosts)),
            "total_users": .integer(Int64(now.accounts)),
            "avg_job_latency_ms": .number(
                ends.completed == 0 ? 0 : (Double(ends.milliseconds) / Double(ends.completed)).rounded()),
        ]
        return figures
    }

    /// Those of one account.
    static func ownFigures(queued: Int, running: Int, oldestSeconds: Double) -> MetricFigures {
        MetricFigures(queued: queued, running: running, oldestSeconds: oldestSeconds)
    }
}

/// What one look at the metrics gives, in either format.
struct MetricFigures {
    private struct Figure {
        var name: String
        var type: String
        var help: String
        var value: Double
    }

    private var figures: [Figure] = []
    /// Of the text alone.
    var histogram = ""
    /// Of the object alone: the names under which simpler dashboards look for some.
    var also: [String: JSONValue] = [:]

    init(queued: Int, running: Int, oldestSeconds: Double) {
        add("jobs_queued", "gauge", "Jobs waiting for a host.", queued)
        add("queue_oldest_seconds", "gauge", "Age of the oldest job that could run now.", oldestSeconds)
        add("leases", "gauge", "Attempts that run under a lease.", running)
    }

    mutating func add(_ name: String, _ type: String, _ help: String, _ value: Double) {
        figures.append(Figure(name: name, type: type, help: help, value: value))
    }

    mutating func add(_ name: String, _ type: String, _ help: String, _ value: some BinaryInteger) {
        add(name, type, help, Double(value))
    }

    /// Prometheus' text format (exposition format 0.0.4).
    var text: String {
        var text = ""
        for figure in figures {
            let whole = figure.value == figure.value.rounded() && abs(figure.value) < 1e15
            text += "# HELP longshore_\(figure.name) \(figure.help)\n# TYPE longshore_\(figure.name) \(figure.type)\n"
            text += "longshore_\(figure.name) \(whole ? String(Int64(figure.value)) : String(figure.value))\n"
        }
        return text + histogram
    }

    var json: [UInt8] {
        var members = also
        for figure in figures { members[figure.name] = .number(figure.value) }
        return CanonicalJSON.encode(.object(members))
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
