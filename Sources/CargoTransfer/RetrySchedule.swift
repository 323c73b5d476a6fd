/// When a broken transfer tries again, and when it gives up. Pure: the clock and the dice are the caller's.
struct RetrySchedule: Sendable {
    let first: Duration
    let longest: Duration
    let patience: Duration
    private var failures = 0
    private var lastProgress: ContinuousClock.Instant

    init(_ options: TransferOptions, now: ContinuousClock.Instant) {
        first = options.firstWait
        longest = options.longestWait
        patience = options.patience
        lastProgress = now
    }

    mutating func progressed(at now: ContinuousClock.Instant) {
        failures = 0
        lastProgress = now
    }

    /// When to try again: exponential, drawn between a half and the whole, so that many hosts do not come back in one wave.
    /// nil when patience is over. `asked` is the server's own wish, honoured up to a minute.
    mutating func next(
        at now: ContinuousClock.Instant, asked: Duration? = nil, using random: inout some RandomNumberGenerator
    ) -> ContinuousClock.Instant? {
        guard now - lastProgress < patience else { return nil }
        var wait = first
        for _ in 0..<min(failures, 30) where wait < longest { wait = wait * 2 }
        failures += 1
        wait = min(wait, longest) * Double.random(in: 0.5...1, using: &random)
        return now + max(wait, min(asked ?? .zero, .seconds(60)))
    }
}

/// The rate over the last seconds, from samples of how much is here. Pure: the clock is the caller's.
struct RateMeter: Sendable {
    /// Samples kept: one a quarter of a second over five seconds.
    static let mostSamples = 20
    private var samples: [(time: ContinuousClock.Instant, bytes: Int64)] = []

    mutating func progress(received: Int64, size: Int64, at now: ContinuousClock.Instant) -> TransferProgress {
        samples.append((now, received))
        if samples.count > Self.mostSamples { samples.removeFirst() }
        let span = (now - samples[0].time) / .seconds(1)
        guard span >= 0.5 else { return TransferProgress(received: received, size: size) }
        let rate = max(0, Double(received - samples[0].bytes) / span)
        return TransferProgress(
            received: received, size: size, bytesPerSecond: rate, secondsLeft: rate > 0 ? Double(size - received) / rate : nil)
    }
}
