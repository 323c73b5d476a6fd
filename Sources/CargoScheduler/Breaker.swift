/// Whether a host is asked for a model that it failed lately. Pure: the time comes in, in milliseconds of a clock that
/// only rises.
public struct Breaker: Hashable, Sendable {
    /// Failures in a row that open it.
    public static let tolerated = 3
    /// How long it stays open at first, and at most; each failed try doubles it.
    public static let firstPause: Int64 = 10_000
    public static let longestPause: Int64 = 300_000

    public private(set) var failures = 0
    private var openUntil: Int64 = 0
    private var pause = Breaker.firstPause
    /// Seconds until the first token, a moving average: each new value counts a fifth.
    public private(set) var latency: Double?

    public init() {}

    public var isQuiet: Bool { failures == 0 && latency == nil }

    public func isOpen(at now: Int64) -> Bool { failures >= Breaker.tolerated && now < openUntil }

    public mutating func succeeded(seconds: Double) {
        failures = 0
        pause = Breaker.firstPause
        latency = latency.map { $0 * 0.8 + seconds * 0.2 } ?? seconds
    }

    public mutating func failed(at now: Int64) {
        failures = min(failures + 1, 1000)
        guard failures >= Breaker.tolerated else { return }
        openUntil = now + pause
        pause = min(pause * 2, Breaker.longestPause)
    }
}
