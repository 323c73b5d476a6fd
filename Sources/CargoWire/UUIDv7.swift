import FoundationEssentials

/// Time-ordered identifiers (RFC 9562, section 5.7): jobs, claims and uploads are named by them.
public enum UUIDv7 {
    /// A new one, of this machine's clock and random source.
    public static func make() -> String {
        var random = SystemRandomNumberGenerator()
        return make(milliseconds: UInt64(max(0, Date().timeIntervalSince1970 * 1000)), random: &random)
    }

    /// The same from a given time (milliseconds since 1970) and source of randomness.
    public static func make(milliseconds: UInt64, random: inout some RandomNumberGenerator) -> String {
        let high = (milliseconds << 16) | 0x7000 | (random.next() & 0x0FFF)
        let low = (random.next() & 0x3FFF_FFFF_FFFF_FFFF) | 0x8000_0000_0000_0000
        let digits = hex(high) + hex(low)
        var text = ""
        text.reserveCapacity(36)
        for (index, digit) in digits.enumerated() {
            if index == 8 || index == 12 || index == 16 || index == 20 { text.append("-") }
            text.append(digit)
        }
        return text
    }

    /// Whether the text is a lower-case UUID of version 7.
    public static func isValid(_ text: some StringProtocol) -> Bool {
        let bytes = Array(text.utf8)
        guard bytes.count == 36 else { return false }
        for (index, byte) in bytes.enumerated() {
            switch index {
            case 8, 13, 18, 23: guard byte == 45 else { return false }
            case 14: guard byte == 55 else { return false }
            case 19: guard byte == 56 || byte == 57 || byte == 97 || byte == 98 else { return false }
            default: guard (48...57).contains(byte) || (97...102).contains(byte) else { return false }
            }
        }
        return true
    }

    private static func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
