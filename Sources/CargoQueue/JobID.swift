import FoundationEssentials
import Synchronization

/// A job's id: a UUIDv7 (RFC 9562, section 5.7), kept as 16 bytes because a million of them are held in memory.
public struct JobID: Hashable, Sendable, Comparable, CustomStringConvertible {
    let high: UInt64
    let low: UInt64

    init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// The last id that this process made.
    private static let last = Mutex(JobID(high: 0, low: 0))

    /// A new id of this millisecond, random otherwise, and larger than those that this process made in the same one: who
    /// submits twice is served in that order (RFC 9562, section 6.2, method 2).
    public init(at now: Timestamp) {
        var random = PooledRandom()
        let time = UInt64(clamping: now.milliseconds) << 16 | 0x7000
        let fresh = JobID(high: time | (random.next() & 0x0FFF), low: 0x8000_0000_0000_0000 | (random.next() >> 2))
        // Steps of 40 random bits stay unguessable; 62 bits hold four million of them before the millisecond's own bits rise.
        let step = random.next() >> 24 + 1
        self = Self.last.withLock { last in
            last = last.high >> 16 == time >> 16 ? last.after(step) ?? fresh : fresh
            return last
        }
    }

    /// Nil where the bits that are not time or version are used up.
    private func after(_ step: UInt64) -> JobID? {
        let (sum, carried) = (low & 0x3FFF_FFFF_FFFF_FFFF).addingReportingOverflow(step)
        guard carried || sum >> 62 != 0 else { return JobID(high: high, low: 0x8000_0000_0000_0000 | sum) }
        guard high & 0x0FFF < 0x0FFF else { return nil }
        return JobID(high: high + 1, low: 0x8000_0000_0000_0000 | (sum & 0x3FFF_FFFF_FFFF_FFFF))
    }

    /// Reads `xxxxxxxx-xxxx-7xxx-xxxx-xxxxxxxxxxxx`, lower case; nil for anything else.
    public init?(_ text: some StringProtocol) {
        var digits: [UInt8] = []
        digits.reserveCapacity(32)
        for (index, byte) in text.utf8.enumerated() {
            switch (index, byte) {
            case (8, 45), (13, 45), (18, 45), (23, 45): continue
            case (8, _), (13, _), (18, _), (23, _): return nil
            case (0..<36, 48...57): digits.append(byte - 48)
            case (0..<36, 97...102): digits.append(byte - 87)
            default: return nil
            }
        }
        guard digits.count == 32, digits[12] == 7, digits[16] & 0xC == 8 else { return nil }
        high = digits[..<16].reduce(0) { $0 << 4 | UInt64($1) }
        low = digits[16...].reduce(0) { $0 << 4 | UInt64($1) }
    }

    /// The 16 bytes, most significant first.
    init?(bytes: Data) {
        guard bytes.count == 16 else { return nil }
        high = bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
        low = bytes.suffix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }

    var bytes: Data { withUnsafeBytes(of: (high.bigEndian, low.bigEndian)) { Data($0) } }

    public var description: String {
        String(unsafeUninitializedCapacity: 36) { text in
            var place = 0
            for index in 0..<32 {
                if index == 8 || index == 12 || index == 16 || index == 20 {
                    text[place] = 45
                    place += 1
                }
                let digit = UInt8(truncatingIfNeeded: (index < 16 ? high : low) >> (60 - (index & 15) * 4)) & 15
                text[place] = digit < 10 ? digit + 48 : digit + 87
                place += 1
            }
            return place
        }
    }

    public static func < (left: JobID, right: JobID) -> Bool {
        left.high != right.high ? left.high < right.high : left.low < right.low
    }
}

/// Names one job of one account: no key anywhere leaves the account out (docs/rules.md 17).
public struct JobKey: Hashable, Sendable {
    public let account: Int64
    public let id: JobID

    public init(account: Int64, id: JobID) {
        self.account = account
        self.id = id
    }
}
