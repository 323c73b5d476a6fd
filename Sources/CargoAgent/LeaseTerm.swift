import CargoWire

/// When a lease must be renewed, and when its work must stop: the host's own clock decides, which runs through sleep
/// (docs/rules.md 11). Pure: instants in, instants out.
struct LeaseTerm: Sendable {
    typealias Instant = ContinuousClock.Instant

    /// When the request that granted or renewed the lease was sent: the lease is never longer than the host thinks.
    private(set) var renewedAt: Instant
    private(set) var seconds: Double

    init(grantedAt: Instant, seconds: Double?) {
        renewedAt = grantedAt
        self.seconds = max(0.2, seconds ?? 30)
    }

    mutating func renewed(at sent: Instant, seconds: Double) {
        if sent > renewedAt { renewedAt = sent }
        self.seconds = max(0.2, seconds)
    }

    /// A third of the lease after the last renewal.
    var heartbeatAt: Instant { renewedAt + .seconds(seconds / 3) }

    /// How long one heartbeat may wait for its answer, so that another still fits.
    var heartbeatTimeout: Duration { .seconds(max(0.2, min(15, seconds / 3))) }

    /// Between SIGTERM and SIGKILL: short enough that the work is gone before anybody else may begin it.
    var grace: Double { min(5, seconds / 5) }

    /// When the work is told to stop, so that it is gone at the lease's end.
    var stopAt: Instant { renewedAt + .seconds(seconds - grace - seconds / 20) }
}
