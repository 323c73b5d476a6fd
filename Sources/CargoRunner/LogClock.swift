internal import Glibc

/// The clock of a log's rate, and the waiting for it.
struct LogClock: Sendable {
    /// Between two looks whether the job has ended: what it said last is then read at once.
    private static let look = 0.05

    /// Since boot.
    var seconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    /// Waits so many seconds, or until there is no more to wait for, or until the task is cancelled.
    func pause(_ wanted: Double, unless isOver: @Sendable () -> Bool) async {
        guard wanted > 0 else { return }
        let end = seconds + wanted
        while !isOver(), case let left = end - seconds, left > 0 {
            do { try await Task.sleep(for: .seconds(min(left, LogClock.look))) } catch { return }
        }
    }
}
