/// What a host keeps and passes on of one job's combined log; its owner's word, not the cargo's.
public struct LogLimits: Hashable, Sendable {
    /// Bytes that are kept; what follows is read, counted as truncated, and dropped.
    public var total: Int64
    /// Bytes a second that are read, kept or not, once `burst` is used up: a job that says more waits in its `write`, so
    /// that a flood costs the host no more than this.
    public var rate: Int64
    /// Bytes that a job may say at once.
    public var burst: Int64
    /// Bytes of one line; a longer one is split, and each split is marked. Whoever reads a log by line never has to hold more.
    public var line: Int

    /// Each is clamped to something that a job can still run with.
    public init(total: Int64 = 64 << 20, rate: Int64 = 16 << 20, burst: Int64 = 32 << 20, line: Int = 4 << 20) {
        self.total = max(0, total)
        self.rate = max(1024, rate)
        self.burst = max(65536, burst)
        self.line = max(256, line)
    }
}
