import Foundation

/// What one key had of one model on one day. Tallies add up.
struct UsageTally: Hashable, Sendable, Codable {
    var requests = 0
    var failed = 0
    var promptTokens = 0
    var completionTokens = 0
    var credits = 0.0
    var latency = LatencySketch()
    /// The last flush that was added: a transaction that runs twice adds once.
    var flush: String?

    var tokens: Int { promptTokens + completionTokens }

    mutating func add(_ other: UsageTally) {
        requests += other.requests
        failed += other.failed
        promptTokens += other.promptTokens
        completionTokens += other.completionTokens
        credits += other.credits
        latency.add(other.latency)
    }
}

/// How long things took, in buckets that grow by 9 % each: quantiles that can be added up, in at most 200 numbers.
struct LatencySketch: Hashable, Sendable, Codable {
    private var counts: [Int: Int] = [:]

    private static let perOctave = 8.0

    mutating func add(milliseconds: Double) {
        let bucket = milliseconds <= 0.25 ? -16 : Int((log2(min(milliseconds, 4_000_000)) * Self.perOctave).rounded(.up))
        counts[max(-16, bucket), default: 0] += 1
    }

    mutating func add(_ other: LatencySketch) { counts.merge(other.counts, uniquingKeysWith: +) }

    /// The bound that this share of all values does not exceed, in milliseconds; 0 of none.
    func quantile(_ share: Double) -> Double {
        let total = counts.values.reduce(0, +)
        guard total > 0 else { return 0 }
        let wanted = max(1, Int((Double(total) * share).rounded(.up)))
        var seen = 0
        for (bucket, count) in counts.sorted(by: { $0.key < $1.key }) {
            seen += count
            if seen >= wanted { return (exp2(Double(bucket) / Self.perOctave) * 100).rounded() / 100 }
        }
        return 0
    }
}

/// What a key may use now. Pure: the time comes in.
struct RateGate: Sendable {
    /// A bucket that fills evenly up to what one minute allows.
    private struct Bucket {
        var level: Double
        var at: Uptime

        mutating func fill(perMinute: Double, now: Uptime) {
            level = min(perMinute, level + perMinute * Double(max(0, now.milliseconds - at.milliseconds)) / 60_000)
            at = now
        }
    }

    private var requests: Bucket?
    private var tokens: Bucket?

    /// Takes one request of so many a minute; else the seconds until there is one. Tokens are paid afterwards: a request
    /// is let in while there are any.
    /// - Parameter held: tokens that requests under way may yet take.
    mutating func admit(requestsPerMinute: Int?, tokensPerMinute: Int?, held: Int = 0, now: Uptime) -> Double? {
        var wait = 0.0
        if let perMinute = requestsPerMinute.map(Double.init) {
            var bucket = requests ?? Bucket(level: perMinute, at: now)
            bucket.fill(perMinute: perMinute, now: now)
            requests = bucket
            if bucket.level < 1 { wait = max(wait, (1 - bucket.level) / perMinute * 60) }
        }
        if let perMinute = tokensPerMinute.map(Double.init) {
            var bucket = tokens ?? Bucket(level: perMinute, at: now)
            bucket.fill(perMinute: perMinute, now: now)
            tokens = bucket
            let free = bucket.level - Double(held)
            if free < 1 { wait = max(wait, (1 - free) / perMinute * 60) }
        }
        guard wait == 0 else { return wait }
        requests?.level -= 1
        return nil
    }

    mutating func spend(tokens count: Int) { tokens?.level -= Double(count) }
}
