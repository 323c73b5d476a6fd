import FoundationEssentials

#if canImport(Glibc)
    import Glibc
#endif

/// Milliseconds since 1970, UTC: the wall clock of the store.
public struct Timestamp: Hashable, Sendable, Comparable {
    public var milliseconds: Int64

    public init(milliseconds: Int64) { self.milliseconds = milliseconds }

    public static func now() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
    }

    public static func < (left: Timestamp, right: Timestamp) -> Bool { left.milliseconds < right.milliseconds }

    public func advanced(bySeconds seconds: Double) -> Timestamp {
        Timestamp(milliseconds: milliseconds + Int64((seconds * 1000).rounded()))
    }

    /// `2026-11-20T23:59:59.123Z` (RFC 3339).
    public var text: String {
        let days = Int64((Double(milliseconds) / 86_400_000).rounded(.down))
        let rest = milliseconds - days * 86_400_000
        // Days to civil date, proleptic Gregorian, with the year starting in March.
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * month + 2) / 5 + 1
        let civilMonth = month < 10 ? month + 3 : month - 9
        let year = yearOfEra + era * 400 + (civilMonth <= 2 ? 1 : 0)
        return String(unsafeUninitializedCapacity: 24) { text in
            var place = 0
            func put(_ value: Int64, _ width: Int, _ separator: Unicode.Scalar) {
                var value = value
                for digit in stride(from: place + width - 1, through: place, by: -1) {
                    text[digit] = UInt8(48 + value % 10)
                    value /= 10
                }
                text[place + width] = UInt8(ascii: separator)
                place += width + 1
            }
            put(min(max(year, 0), 9999), 4, "-")
            put(civilMonth, 2, "-")
            put(day, 2, "T")
            put(rest / 3_600_000, 2, ":")
            put(rest / 60_000 % 60, 2, ":")
            put(rest / 1000 % 60, 2, ".")
            put(rest % 1000, 3, "Z")
            return place
        }
    }
}

/// Milliseconds of the machine's boot-time clock, which no one can set: leases and waits are measured with it.
public struct Uptime: Hashable, Sendable, Comparable {
    public var milliseconds: Int64

    public init(milliseconds: Int64) { self.milliseconds = milliseconds }

    public static func now() -> Uptime {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return Uptime(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
    }

    public static func < (left: Uptime, right: Uptime) -> Bool { left.milliseconds < right.milliseconds }

    public func advanced(bySeconds seconds: Double) -> Uptime {
        Uptime(milliseconds: milliseconds + Int64((seconds * 1000).rounded()))
    }
}

/// Both clocks, injected so that tests move time themselves.
public struct Clocks: Sendable {
    public var wall: @Sendable () -> Timestamp
    public var uptime: @Sendable () -> Uptime

    public init(
        wall: @escaping @Sendable () -> Timestamp = { .now() }, uptime: @escaping @Sendable () -> Uptime = { .now() }
    ) {
        self.wall = wall
        self.uptime = uptime
    }
}
