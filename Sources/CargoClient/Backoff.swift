/// How long to wait before the next try: doubling from `first` to `most`, each wait drawn between a half and the whole,
/// so that clients which lost the same server do not come back in one wave.
public struct Backoff: Sendable {
    public let first: Duration
    public let most: Duration
    private var step = 0

    public init(first: Duration = .milliseconds(100), most: Duration = .seconds(5)) {
        self.first = first
        self.most = most
    }

    /// The next wait.
    public mutating func next() -> Duration {
        var random = SystemRandomNumberGenerator()
        return next(using: &random)
    }

    public mutating func next(using random: inout some RandomNumberGenerator) -> Duration {
        var whole = first
        for _ in 0..<min(step, 30) where whole < most { whole = whole * 2 }
        step += 1
        return min(whole, most) * Double.random(in: 0.5...1, using: &random)
    }

    /// After a success.
    public mutating func reset() { step = 0 }
}
