/// A number of bytes: an integer, or a string with a binary (`KiB MiB GiB TiB`) or decimal (`kB MB GB TB`) unit.
///
/// Encoded as an integer. At most 2^53 - 1, so that every JSON reader keeps it exact.
public struct ByteCount: Hashable, Sendable, Comparable {
    public let bytes: Int64

    public init(_ bytes: Int64) { self.bytes = bytes }

    public init?(_ text: some StringProtocol) {
        guard let (number, unit) = splitQuantity(text) else { return nil }
        let factors: [String: Double] = [
            "": 1, "b": 1, "kib": 1024, "mib": 1_048_576, "gib": 1_073_741_824, "tib": 1_099_511_627_776,
            "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
        ]
        guard let factor = factors[unit.lowercased()] else { return nil }
        let value = number * factor
        guard value >= 0, value < 9_007_199_254_740_992 else { return nil }
        bytes = Int64(value)
    }

    public static func < (left: ByteCount, right: ByteCount) -> Bool { left.bytes < right.bytes }
}

/// A span of time in seconds: a number, or a string with a unit (`ms s m h d`).
///
/// Encoded as a number of seconds. Not negative; at most a year.
public struct Seconds: Hashable, Sendable, Comparable {
    public let value: Double

    public init(_ value: Double) { self.value = value }

    public init?(_ text: some StringProtocol) {
        guard let (number, unit) = splitQuantity(text) else { return nil }
        let factors: [String: Double] = ["": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400]
        guard let factor = factors[unit] else { return nil }
        let seconds = number * factor
        guard seconds >= 0, seconds <= 31_622_400 else { return nil }
        value = seconds
    }

    public static func < (left: Seconds, right: Seconds) -> Bool { left.value < right.value }
}

/// Splits `2.5GiB` into 2.5 and `GiB`; nil when the number is missing, signed, or not plain decimal.
private func splitQuantity(_ text: some StringProtocol) -> (Double, String)? {
    let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
    guard let number = Double(String(digits)), number.isFinite else { return nil }
    let unit = text.dropFirst(digits.count).drop { $0 == " " }
    return (number, String(unit))
}

extension ByteCount: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let bytes = try? container.decode(Int64.self), bytes >= 0, bytes < 1 << 53 {
            self.init(bytes)
        } else if let text = try? container.decode(String.self), let count = ByteCount(text) {
            self = count
        } else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "a size is a number of bytes or text such as 512MiB or 2GiB")
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(bytes)
    }
}

extension Seconds: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let seconds = try? container.decode(Double.self), seconds >= 0, seconds <= 31_622_400 {
            self.init(seconds)
        } else if let text = try? container.decode(String.self), let seconds = Seconds(text) {
            self = seconds
        } else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "a time is a number of seconds or text such as 90s, 10m or 2h")
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        if value == value.rounded() { try container.encode(Int64(value)) } else { try container.encode(value) }
    }
}
