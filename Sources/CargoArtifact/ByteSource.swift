/// Bytes of known length that can be read at any offset: a file, or memory.
///
/// The header readers ask for no more than they need, so that a model of many gigabytes costs a few reads.
public protocol ByteSource {
    /// Bytes. Must not change while a header is read.
    var length: UInt64 { get }

    /// Fills `buffer` with the bytes from `offset` on and says how many it wrote: fewer than asked for only at the end.
    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws -> Int
}

/// Bytes in memory as a source.
public struct MemoryBytes: ByteSource, Sendable {
    private let bytes: [UInt8]

    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    public var length: UInt64 { UInt64(bytes.count) }

    public func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) -> Int {
        guard offset < length else { return 0 }
        let start = Int(offset)
        let count = min(buffer.count, bytes.count - start)
        bytes.withUnsafeBytes { buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[start..<start + count])) }
        return count
    }
}

/// A little-endian read position in a source, with a small window over it and a bound on what is read in all.
///
/// Skipping moves the position without reading, so weights between two fields are never loaded.
struct HeaderCursor {
    /// The window grows to this many bytes while reading goes straight on, and starts again small after a skip.
    static let largestWindow = 64 << 10
    private static let smallestWindow = 4 << 10

    let rule: String
    let format: String
    let length: UInt64
    private let source: any ByteSource
    private var window: [UInt8] = []
    private var windowStart: UInt64 = 0
    private var readBudget: UInt64
    private(set) var position: UInt64 = 0

    /// `readBudget`: the most bytes that are read from the source, whatever the header says.
    init(_ source: any ByteSource, format: String, readBudget: UInt64) {
        self.source = source
        self.format = format
        self.rule = format.lowercased() + "-header"
        self.readBudget = readBudget
        length = source.length
    }

    var remaining: UInt64 { length - position }

    func refusal(_ message: String) -> Refusal {
        Refusal(rule, "The \(format) header \(message); the file is damaged or hostile, so get it again from its publisher.")
    }

    /// Makes sure that the window holds `count` bytes from the position on, and says where in the window they begin.
    private mutating func require(_ count: Int) throws -> Int {
        guard UInt64(count) <= remaining else { throw refusal("ends in the middle of a field at byte \(position)") }
        if position >= windowStart, position + UInt64(count) <= windowStart + UInt64(window.count) {
            return Int(position - windowStart)
        }
        let goesOn = position >= windowStart && position <= windowStart + UInt64(window.count) && !window.isEmpty
        let wanted = max(count, goesOn ? min(window.count * 2, Self.largestWindow) : Self.smallestWindow)
        let size = Int(min(UInt64(wanted), remaining))
        guard UInt64(size) <= readBudget else { throw refusal("is longer than any real one") }
        readBudget -= UInt64(size)
        window = try [UInt8](unsafeUninitializedCapacity: size) { buffer, written in
            written = try source.read(at: position, into: UnsafeMutableRawBufferPointer(buffer))
        }
        windowStart = position
        guard window.count >= count else { throw refusal("ends in the middle of a field at byte \(position)") }
        return 0
    }

    mutating func integer<Value: FixedWidthInteger & BitwiseCopyable>(_: Value.Type) throws -> Value {
        let size = MemoryLayout<Value>.size
        let start = try require(size)
        position += UInt64(size)
        return window.withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(fromByteOffset: start, as: Value.self)) }
    }

    /// At most `largestWindow` bytes at once: callers bound `count` before they ask.
    mutating func bytes(_ count: Int) throws -> [UInt8] {
        let start = try require(count)
        position += UInt64(count)
        return Array(window[start..<start + count])
    }

    mutating func skip(_ count: UInt64) throws {
        guard count <= remaining else { throw refusal("points past the end of the file at byte \(position)") }
        position += count
    }

    /// A protobuf varint: at most ten bytes.
    mutating func varint() throws -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), through: 63, by: 7) {
            let byte = try integer(UInt8.self)
            guard shift < 63 || byte <= 1 else { break }
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
        }
        throw refusal("has a number longer than 64 bits at byte \(position)")
    }

    /// A name: valid UTF-8 without control characters.
    mutating func name(_ count: UInt64, atMost bound: Int, what: String) throws -> String {
        guard count <= UInt64(bound) else { throw refusal("has a \(what) of \(count) bytes where \(bound) are the most") }
        guard let text = String(validating: try bytes(Int(count)), as: UTF8.self),
            !text.unicodeScalars.contains(where: { $0.value < 32 || $0.value == 127 })
        else { throw refusal("has a \(what) that is not text at byte \(position - count)") }
        return text
    }
}
