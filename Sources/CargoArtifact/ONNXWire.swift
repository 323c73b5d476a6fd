/// One field of a protobuf message: its number and what follows.
struct ProtobufField {
    /// What stands behind a field's tag.
    enum Payload {
        case varint(UInt64)
        /// Four or eight bytes, already passed over.
        case fixed
        /// Bytes of the field's content, at which the position stands.
        case delimited(UInt64)
    }

    let number: UInt64
    let payload: Payload
}

/// A bounded protobuf reader over a source (protobuf encoding specification), for the few messages that ONNX needs.
///
/// The caller takes each delimited field whole: it reads, enters or skips it before it asks for the next one.
struct ProtobufReader {
    /// Fields in all, whatever their nesting: bounds the time, as every field is at least two bytes.
    static let mostFields = 16 << 20
    /// Bytes read from the source at most; weights inside the file are skipped and do not count.
    static let mostBytesRead: UInt64 = 256 << 20
    /// Messages in messages; subgraphs and nested types stay far below.
    static let deepest = 64
    /// Longest name kept, bytes.
    static let longestName = 4096
    /// Names kept in all, bytes.
    static let keptNameBytes = 16 << 20

    var cursor: HeaderCursor
    private var fields = 0
    private var nameBudget = keptNameBytes

    init(_ source: any ByteSource) {
        cursor = HeaderCursor(source, format: "ONNX", readBudget: Self.mostBytesRead)
    }

    func refusal(_ message: String) -> Refusal { cursor.refusal(message) }

    /// The next field of the message that ends at `end`; nil at its end.
    mutating func next(until end: UInt64) throws -> ProtobufField? {
        guard cursor.position < end else {
            guard cursor.position == end else { throw refusal("has a field that runs over its message's end") }
            return nil
        }
        fields += 1
        guard fields <= Self.mostFields else { throw refusal("has more than \(Self.mostFields) fields") }
        let tag = try cursor.varint()
        let number = tag >> 3
        guard number > 0, number < 1 << 29 else { throw refusal("has no valid field at byte \(cursor.position)") }
        switch tag & 7 {
        case 0: return ProtobufField(number: number, payload: .varint(try cursor.varint()))
        case 1: try cursor.skip(8)
        case 5: try cursor.skip(4)
        case 2:
            let length = try cursor.varint()
            guard cursor.position <= end, length <= end - cursor.position else {
                throw refusal("has a field of \(length) bytes that runs over its message's end at byte \(cursor.position)")
            }
            return ProtobufField(number: number, payload: .delimited(length))
        default: throw refusal("has a field of an unknown kind at byte \(cursor.position)")
        }
        return ProtobufField(number: number, payload: .fixed)
    }

    mutating func skip(_ field: ProtobufField) throws {
        if case .delimited(let length) = field.payload { try cursor.skip(length) }
    }

    /// The end of the message in `field`, whose fields come next.
    func message(_ field: ProtobufField, depth: Int) throws -> UInt64 {
        guard case .delimited(let length) = field.payload else { throw refusal("has a number where a message belongs") }
        guard depth <= Self.deepest else { throw refusal("nests messages more than \(Self.deepest) deep") }
        return cursor.position + length
    }

    mutating func string(_ field: ProtobufField, what: String) throws -> String {
        guard case .delimited(let length) = field.payload else { throw refusal("has a number where a \(what) belongs") }
        let text = try cursor.name(length, atMost: min(Self.longestName, nameBudget), what: what)
        nameBudget -= text.utf8.count
        return text
    }

    /// A text up to `longestName` bytes; nil, and passed over, where it is longer or no text.
    mutating func shortText(_ field: ProtobufField) throws -> String? {
        guard case .delimited(let length) = field.payload else { throw refusal("has a number where a text belongs") }
        guard length <= UInt64(min(Self.longestName, nameBudget)) else {
            try cursor.skip(length)
            return nil
        }
        nameBudget -= Int(length)
        return String(validating: try cursor.bytes(Int(length)), as: UTF8.self)
    }

    func integer(_ field: ProtobufField) throws -> UInt64 {
        guard case .varint(let value) = field.payload else { throw refusal("has no number where one belongs") }
        return value
    }

    /// Numbers of a repeated field, packed or one by one.
    mutating func integers(_ field: ProtobufField, into values: inout [UInt64], atMost bound: Int, what: String) throws {
        switch field.payload {
        case .varint(let value): values.append(value)
        case .delimited(let length):
            let end = cursor.position + length
            while cursor.position < end, values.count <= bound { values.append(try cursor.varint()) }
            guard values.count > bound || cursor.position == end else { throw refusal("has \(what) that run over their end") }
        case .fixed: throw refusal("has no whole numbers where \(what) belong")
        }
        guard values.count <= bound else { throw refusal("has more than \(bound) \(what)") }
    }
}
