internal import FoundationEssentials

/// JSON from outside was not what a strict reader takes.
public struct StrictJSONFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public let reason: String
    /// Bytes from the start.
    public let offset: Int

    public var description: String { "the JSON is refused at byte \(offset): \(reason)" }
}

/// The door for JSON that others wrote (docs/rules.md 1): RFC 8259 without its freedoms.
///
/// Two readers that disagree about one text (which of two equal keys counts, how a broken character is
/// read) let signed bytes mean two things. So duplicate keys, invalid UTF-8, lone surrogates, numbers
/// that no double holds, nesting deeper than 64 and texts over the caller's bound are refused before any decoder sees them.
public enum StrictJSON {
    public static let maximumDepth = 64

    /// Checks, then decodes. `limit` is the most bytes that are taken.
    public static func decode<Value: Decodable>(
        _ type: Value.Type = Value.self, from bytes: [UInt8], limit: Int
    ) throws -> Value {
        _ = try parse(bytes, limit: limit)
        return try JSONDecoder().decode(type, from: Data(bytes))
    }

    /// Checks, and returns the value.
    public static func parse(_ bytes: [UInt8], limit: Int) throws(StrictJSONFailure) -> JSONValue {
        guard bytes.count <= limit else {
            throw StrictJSONFailure(reason: "it is longer than \(limit) bytes", offset: limit)
        }
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw StrictJSONFailure(reason: "it is not valid UTF-8", offset: 0)
        }
        // The pointer lives in the reader alone, and the reader only within this call.
        return try bytes.withUnsafeBufferPointer { (bytes) throws(StrictJSONFailure) in
            var reader = StrictJSONReader(bytes: bytes)
            let value = try reader.value(depth: 0)
            reader.skipSpace()
            guard reader.position == bytes.count else { throw reader.failure("there is more after the value") }
            return value
        }
    }
}

/// Recursive descent over bytes whose UTF-8 is already known to be valid.
private struct StrictJSONReader {
    private let bytes: UnsafeBufferPointer<UInt8>
    private(set) var position = 0

    init(bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

    func failure(_ reason: String) -> StrictJSONFailure { StrictJSONFailure(reason: reason, offset: position) }

    var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
    }

    mutating func take(_ byte: UInt8, _ name: String) throws(StrictJSONFailure) {
        guard next == byte else { throw failure("\(name) is expected") }
        position += 1
    }

    mutating func value(depth: Int) throws(StrictJSONFailure) -> JSONValue {
        guard depth <= StrictJSON.maximumDepth else { throw failure("it is nested deeper than \(StrictJSON.maximumDepth)") }
        skipSpace()
        switch next {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case nil: throw failure("it ends too early")
        default: return try number()
        }
    }

    private mutating func word(_ text: StaticString, _ value: JSONValue) throws(StrictJSONFailure) -> JSONValue {
        let matches = text.withUTF8Buffer { bytes[position...].starts(with: $0) }
        guard matches else { throw failure("a value is expected") }
        position += text.utf8CodeUnitCount
        return value
    }

    private mutating func object(depth: Int) throws(StrictJSONFailure) -> JSONValue {
        position += 1
        var members: [String: JSONValue] = [:]
        skipSpace()
        if next == UInt8(ascii: "}") {
            position += 1
            return .object(members)
        }
        while true {
            skipSpace()
            let start = position
            let key = try string()
            // Also two keys that differ in their bytes but are canonically equivalent, which `String` calls equal.
            guard members[key] == nil else {
                throw StrictJSONFailure(reason: "the key '\(key.prefix(64))' stands there twice", offset: start)
            }
            skipSpace()
            try take(UInt8(ascii: ":"), "':'")
            members[key] = try value(depth: depth + 1)
            skipSpace()
            if next == UInt8(ascii: ",") {
                position += 1
            } else {
                try take(UInt8(ascii: "}"), "',' or '}'")
                return .object(members)
            }
        }
    }

    private mutating func array(depth: Int) throws(StrictJSONFailure) -> JSONValue {
        position += 1
        var elements: [JSONValue] = []
        skipSpace()
        if next == UInt8(ascii: "]") {
            position += 1
            return .array(elements)
        }
        while true {
            elements.append(try value(depth: depth + 1))
            skipSpace()
            if next == UInt8(ascii: ",") {
                position += 1
            } else {
                try take(UInt8(ascii: "]"), "',' or ']'")
                return .array(elements)
            }
        }
    }

    private mutating func string() throws(StrictJSONFailure) -> String {
        try take(UInt8(ascii: "\""), "a string")
        // Most strings have no escape: their bytes are copied once. `out` holds what stood before the last escape.
        var out: [UInt8] = []
        var start = position
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                let rest = UnsafeBufferPointer(rebasing: bytes[start..<position])
                position += 1
                if out.isEmpty { return String(decoding: rest, as: UTF8.self) }
                out += rest
                return String(decoding: out, as: UTF8.self)
            case UInt8(ascii: "\\"):
                out += bytes[start..<position]
                position += 1
                try escape(into: &out)
                start = position
            case 0..<0x20: throw failure("a control character stands in a string")
            default: position += 1
            }
        }
        throw failure("a string does not end")
    }

    private mutating func escape(into out: inout [UInt8]) throws(StrictJSONFailure) {
        guard let byte = next else { throw failure("a string does not end") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): out.append(byte)
        case UInt8(ascii: "b"): out.append(0x08)
        case UInt8(ascii: "f"): out.append(0x0C)
        case UInt8(ascii: "n"): out.append(0x0A)
        case UInt8(ascii: "r"): out.append(0x0D)
        case UInt8(ascii: "t"): out.append(0x09)
        case UInt8(ascii: "u"):
            var code = try hexadecimal()
            if (0xD800..<0xDC00).contains(code) {
                guard next == UInt8(ascii: "\\"), position + 1 < bytes.count, bytes[position + 1] == UInt8(ascii: "u") else {
                    throw failure("half of a surrogate pair stands alone")
                }
                position += 2
                let low = try hexadecimal()
                guard (0xDC00..<0xE000).contains(low) else { throw failure("half of a surrogate pair stands alone") }
                code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw failure("half of a surrogate pair stands alone") }
            out.append(contentsOf: UTF8.encode(scalar).map(Array.init) ?? [])
        default: throw failure("an unknown escape stands in a string")
        }
    }

    private mutating func hexadecimal() throws(StrictJSONFailure) -> UInt32 {
        guard position + 4 <= bytes.count else { throw failure("a string does not end") }
        var code: UInt32 = 0
        for byte in bytes[position..<position + 4] {
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw failure("four hexadecimal digits are expected")
            }
            code = code << 4 | UInt32(digit)
        }
        position += 4
        return code
    }

    private mutating func number() throws(StrictJSONFailure) -> JSONValue {
        let start = position
        var isInteger = true
        if next == UInt8(ascii: "-") { position += 1 }
        let first = next
        let count = digits()
        guard count > 0 else { throw failure("a value is expected") }
        guard first != UInt8(ascii: "0") || count == 1 else { throw failure("a number begins with 0") }
        if next == UInt8(ascii: ".") {
            isInteger = false
            position += 1
            guard digits() > 0 else { throw failure("a digit is expected") }
        }
        if next == UInt8(ascii: "e") || next == UInt8(ascii: "E") {
            isInteger = false
            position += 1
            if next == UInt8(ascii: "+") || next == UInt8(ascii: "-") { position += 1 }
            guard digits() > 0 else { throw failure("a digit is expected") }
        }
        let text = String(decoding: UnsafeBufferPointer(rebasing: bytes[start..<position]), as: UTF8.self)
        if isInteger, let integer = Int64(text) { return .integer(integer) }
        guard let number = Double(text), number.isFinite else { throw failure("a number is too large") }
        return .number(number)
    }

    private mutating func digits() -> Int {
        let start = position
        while let byte = next, (48...57).contains(byte) { position += 1 }
        return position - start
    }
}
