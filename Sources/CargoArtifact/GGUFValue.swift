/// The types that GGUF metadata can have, with the numbers that the format gives them.
public enum GGUFType: UInt32, Sendable {
    case uint8, int8, uint16, int16, uint32, int32, float32, bool, string, array, uint64, int64, float64

    /// Bytes of one value; nil where values differ in length.
    var size: UInt64? {
        switch self {
        case .uint8, .int8, .bool: 1
        case .uint16, .int16: 2
        case .uint32, .int32, .float32: 4
        case .uint64, .int64, .float64: 8
        case .string, .array: nil
        }
    }

    /// The fewest bytes that one value takes.
    var leastSize: UInt64 { size ?? (self == .string ? 8 : 12) }
}

/// One metadata value of a GGUF file.
///
/// Vocabularies and other long arrays are counted, not kept: no engine-independent question needs their content.
public enum GGUFValue: Hashable, Sendable {
    case unsigned(UInt64)
    case signed(Int64)
    case float(Double)
    case bool(Bool)
    case string(String)
    /// A string too long to keep.
    case longString(bytes: UInt64)
    /// `values` is empty where the array is long, or holds strings or arrays.
    case array(of: GGUFType, count: UInt64, values: [GGUFValue])

    /// The value as a number that is not negative; nil for anything else.
    public var integer: UInt64? {
        switch self {
        case .unsigned(let value): value
        case .signed(let value): UInt64(exactly: value)
        default: nil
        }
    }

    public var text: String? {
        if case .string(let text) = self { text } else { nil }
    }

    /// How many elements an array has; nil for anything else.
    public var count: UInt64? {
        if case .array(_, let count, _) = self { count } else { nil }
    }
}

/// Reads metadata values within fixed bounds.
struct GGUFValueReader {
    /// Strings longer than this are counted, not kept: chat templates stay far below.
    static let longestString: UInt64 = 256 << 10
    /// Strings kept in all, bytes.
    static let keptStringBytes: UInt64 = 8 << 20
    /// Arrays longer than this are counted, not kept: one element a layer stays below.
    static let longestArray: UInt64 = 4096
    /// Array elements kept in all.
    static let keptElements: UInt64 = 65_536
    /// Arrays in arrays.
    static let deepest = 4

    private var stringBudget = keptStringBytes
    private var elementBudget = keptElements

    mutating func value(_ type: GGUFType, _ cursor: inout HeaderCursor, depth: Int = 0) throws -> GGUFValue {
        switch type {
        case .uint8: .unsigned(UInt64(try cursor.integer(UInt8.self)))
        case .uint16: .unsigned(UInt64(try cursor.integer(UInt16.self)))
        case .uint32: .unsigned(UInt64(try cursor.integer(UInt32.self)))
        case .uint64: .unsigned(try cursor.integer(UInt64.self))
        case .int8: .signed(Int64(try cursor.integer(Int8.self)))
        case .int16: .signed(Int64(try cursor.integer(Int16.self)))
        case .int32: .signed(Int64(try cursor.integer(Int32.self)))
        case .int64: .signed(try cursor.integer(Int64.self))
        case .float32: .float(Double(Float(bitPattern: try cursor.integer(UInt32.self))))
        case .float64: .float(Double(bitPattern: try cursor.integer(UInt64.self)))
        case .bool: .bool(try cursor.integer(UInt8.self) != 0)
        case .string: try string(&cursor)
        case .array: try array(&cursor, depth: depth + 1)
        }
    }

    private mutating func string(_ cursor: inout HeaderCursor) throws -> GGUFValue {
        let count = try cursor.integer(UInt64.self)
        guard count <= cursor.remaining else {
            throw cursor.refusal("has a string of \(count) bytes at byte \(cursor.position - 8), past the end of the file")
        }
        guard count <= Self.longestString, count <= stringBudget else {
            try cursor.skip(count)
            return .longString(bytes: count)
        }
        stringBudget -= count
        return .string(String(decoding: try cursor.bytes(Int(count)), as: UTF8.self))
    }

    private mutating func array(_ cursor: inout HeaderCursor, depth: Int) throws -> GGUFValue {
        guard depth <= Self.deepest else { throw cursor.refusal("nests arrays more than \(Self.deepest) deep") }
        let type = try GGUFType.read(&cursor)
        let count = try cursor.integer(UInt64.self)
        let (least, overflow) = count.multipliedReportingOverflow(by: type.leastSize)
        guard !overflow, least <= cursor.remaining else {
            throw cursor.refusal("has an array of \(count) elements at byte \(cursor.position - 8), past the end of the file")
        }
        if let size = type.size {
            guard count <= Self.longestArray, count <= elementBudget else {
                try cursor.skip(count * size)
                return .array(of: type, count: count, values: [])
            }
            elementBudget -= count
            var values: [GGUFValue] = []
            for _ in 0..<count { values.append(try value(type, &cursor)) }
            return .array(of: type, count: count, values: values)
        }
        for _ in 0..<count {
            if type == .string {
                try cursor.skip(try cursor.integer(UInt64.self))
            } else {
                _ = try array(&cursor, depth: depth + 1)
            }
        }
        return .array(of: type, count: count, values: [])
    }
}

extension GGUFType {
    static func read(_ cursor: inout HeaderCursor) throws -> GGUFType {
        let number = try cursor.integer(UInt32.self)
        guard let type = GGUFType(rawValue: number) else {
            throw cursor.refusal("has a metadata value of the unknown type \(number) at byte \(cursor.position - 4)")
        }
        return type
    }
}
