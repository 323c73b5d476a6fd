import CargoWire
import Crypto
import Foundation
import Synchronization
import SystemPackage

/// Bytes of one stream at one place of an attempt's combined log.
struct LogPiece: Sendable {
    var stream: LogChunk.Stream
    var offset: Int64
    var bytes: [UInt8]

    init(stream: LogChunk.Stream, offset: Int64, bytes: [UInt8]) {
        self.stream = stream
        self.offset = offset
        self.bytes = bytes
    }

    var end: Int64 { offset + Int64(bytes.count) }
}

/// The log of one attempt: an append-only file of framed records, which readers follow while it grows.
///
/// A record is 20 bytes of head (length, stream, offset, CRC-32 of all of it) and its bytes, at most 64 KiB. A tail
/// that a crash tore is recognised by its checksum and cut when the segment is opened for writing again; the host
/// still has those bytes, because it was never told that they are durable (docs/rules.md 12).
final class LogSegment: Sendable {
    static let headLength = 20
    static let largestRecord = 65536

    private struct State {
        /// Log bytes written, and where the file ends.
        var end: Int64 = 0
        var fileEnd: Int64 = 0
        /// Log bytes that survive a power cut.
        var durable: Int64 = 0
        /// Of the whole log; nil where its beginning lies elsewhere.
        var hasher: SHA256?
        /// Its lease is over: nothing is appended any more.
        var sealed = false
        /// Its name survives a power cut.
        var isNamed = false
    }

    let descriptor: FileDescriptor
    private let folder: FilePath
    /// The offset of its first byte.
    let base: Int64
    private let state: Mutex<State>

    /// Opens the file for an attempt that runs, cutting what a crash left torn.
    init(path: FilePath, base: Int64 = 0) throws {
        self.base = base
        folder = path.removingLastComponent()
        descriptor = try FileDescriptor.open(
            path, .readWrite, options: [.create, .closeOnExec], permissions: [.ownerReadWrite])
        var state = State(end: base, durable: base, hasher: base == 0 ? SHA256() : nil)
        do {
            var position: Int64 = 0
            while let record = try LogSegment.record(at: position, in: descriptor, check: true), record.offset == state.end {
                state.hasher?.update(data: record.bytes)
                state.end += Int64(record.bytes.count)
                position += Int64(LogSegment.headLength + record.bytes.count)
            }
            try descriptor.resize(to: position, retryOnInterrupt: true)
            state.fileEnd = position
        } catch {
            try? descriptor.close()
            throw error
        }
        self.state = Mutex(state)
    }

    deinit { try? descriptor.close() }

    /// Log bytes written so far: readers may have them, a power cut might not.
    var end: Int64 { state.withLock { $0.end } }
    var durable: Int64 { state.withLock { $0.durable } }

    /// Length and SHA-256 of the log so far; no sum of one whose beginning lies elsewhere.
    var summary: (bytes: Int64, sha256: String?) {
        state.withLock { ($0.end, $0.hasher.map { hexadecimal($0.finalize()) }) }
    }

    func seal() { state.withLock { $0.sealed = true } }

    /// Appends what is new of `pieces`: known bytes are skipped, a piece behind a gap ends it.
    /// - Returns: where the log ends now.
    func append(_ pieces: [LogPiece]) throws -> Int64 {
        try state.withLock { state in
            guard !state.sealed else { throw StoreError.leaseLost }
            var buffer: [UInt8] = []
            var end = state.end
            var hasher = state.hasher
            for piece in pieces {
                guard piece.offset <= end else { break }
                guard piece.end > end else { continue }
                var rest = piece.bytes[Int(end - piece.offset)...]
                while !rest.isEmpty {
                    let part = rest.prefix(LogSegment.largestRecord)
                    LogSegment.frame(part, piece.stream, end, into: &buffer)
                    hasher?.update(data: part)
                    end += Int64(part.count)
                    rest = rest.dropFirst(part.count)
                }
            }
            guard end > state.end else { return end }
            do {
                _ = try descriptor.writeAll(toAbsoluteOffset: state.fileEnd, buffer)
            } catch {
                // Half a record may stand there; the next append overwrites it.
                throw StoreError.unavailable("The log could not be written: \(error)")
            }
            state.fileEnd += Int64(buffer.count)
            state.end = end
            state.hasher = hasher
            return end
        }
    }

    /// Forces what is written so far to disk.
    func flush() throws {
        let (written, isNamed) = state.withLock { ($0.end, $0.isNamed) }
        guard fdatasync(descriptor.rawValue) == 0 else {
            throw StoreError.unavailable("The log could not be flushed: \(Errno(rawValue: errno))")
        }
        if !isNamed { try flushName() }
        state.withLock { state in
            state.isNamed = true
            state.durable = max(state.durable, written)
        }
    }

    /// Readers have the first bytes before the folder that names their file is on disk; nobody is told that they are durable.
    private func flushName() throws {
        let folder = try FileDescriptor.open(folder, .readOnly, options: [.directory, .closeOnExec])
        defer { try? folder.close() }
        guard fsync(folder.rawValue) == 0 else {
            throw StoreError.unavailable("The folder of logs could not be flushed: \(Errno(rawValue: errno))")
        }
    }

    // MARK: Records

    static func code(of stream: LogChunk.Stream) -> UInt8 {
        switch stream {
        case .stdout: 1
        case .stderr: 2
        case .answer: 3
        case .event: 4
        }
    }

    static func stream(of code: UInt8) -> LogChunk.Stream? {
        switch code {
        case 1: .stdout
        case 2: .stderr
        case 3: .answer
        case 4: .event
        default: nil
        }
    }

    private static func frame(_ bytes: ArraySlice<UInt8>, _ stream: LogChunk.Stream, _ offset: Int64, into buffer: inout [UInt8])
    {
        let start = buffer.count
        for shift in stride(from: 0, to: 32, by: 8) { buffer.append(UInt8(truncatingIfNeeded: bytes.count >> shift)) }
        buffer += [code(of: stream), 0, 0, 0]
        for shift in stride(from: 0, to: 64, by: 8) { buffer.append(UInt8(truncatingIfNeeded: offset >> Int64(shift))) }
        let sum = CRC32.of(buffer[start...], bytes)
        for shift in stride(from: 0, to: 32, by: 8) { buffer.append(UInt8(truncatingIfNeeded: sum >> UInt32(shift))) }
        buffer += bytes
    }

    /// The record at a position of the file; nil at the end or where none is whole.
    static func record(at position: Int64, in descriptor: FileDescriptor, check: Bool) throws -> LogPiece? {
        guard let head = try read(headLength, at: position, in: descriptor) else { return nil }
        func number(_ range: Range<Int>) -> UInt64 { range.reversed().reduce(0) { $0 << 8 | UInt64(head[$1]) } }
        let length = Int(number(0..<4))
        guard length > 0, length <= largestRecord, let stream = stream(of: head[4]),
            let bytes = try read(length, at: position + Int64(headLength), in: descriptor)
        else { return nil }
        if check, UInt64(CRC32.of(head[..<16], bytes[...])) != number(16..<20) { return nil }
        return LogPiece(stream: stream, offset: Int64(bitPattern: number(8..<16)), bytes: bytes)
    }

    private static func read(_ count: Int, at position: Int64, in descriptor: FileDescriptor) throws -> [UInt8]? {
        var filled = 0
        let bytes = try [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            let raw = UnsafeMutableRawBufferPointer(buffer)
            while filled < count {
                let got = try descriptor.read(
                    fromAbsoluteOffset: position + Int64(filled), into: UnsafeMutableRawBufferPointer(rebasing: raw[filled...]))
                if got == 0 { break }
                filled += got
            }
            initialized = filled
        }
        return filled == count ? bytes : nil
    }
}

/// Where a reader stands in a segment's file, so that going on needs no search.
struct LogPosition: Sendable {
    var offset: Int64
    /// The record that holds `offset` begins here, or one before it.
    var file: Int64 = 0
}

/// CRC-32 (ISO 3309, as in gzip): finds torn writes, not attackers.
enum CRC32 {
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 1 ? 0xEDB8_8320 ^ (value >> 1) : value >> 1 }
    }

    static func of(_ first: ArraySlice<UInt8>, _ second: ArraySlice<UInt8>) -> UInt32 {
        var sum: UInt32 = 0xFFFF_FFFF
        table.withUnsafeBufferPointer { table in
            for slice in [first, second] {
                slice.withUnsafeBufferPointer { bytes in
                    for byte in bytes { sum = table[Int((sum ^ UInt32(byte)) & 0xFF)] ^ (sum >> 8) }
                }
            }
        }
        return ~sum
    }
}
