import CargoArtifact
import CargoWire
import FoundationEssentials

/// What one coordinator tells another about an attempt that it keeps the log of: 13 bytes of head (length, code, offset), then
/// the bytes.
enum PeerFrame: Sendable {
    case piece(LogPiece)
    /// How the answer of a model request begins.
    case head(AnswerHead)
    case progress(JSONValue)
    /// Nothing happened for a while.
    case idle
    /// The attempt is over, and this was all of its log here.
    case end

    private static let headLength = 13
    /// Bytes of one frame at most; a piece of log has less.
    static let longest = 1 << 20

    func write(into buffer: inout [UInt8]) throws {
        switch self {
        case .piece(let piece): Self.write(LogSegment.code(of: piece.stream), piece.offset, piece.bytes, into: &buffer)
        case .head(let head): Self.write(16, 0, Array(try JSONEncoder().encode(head)), into: &buffer)
        case .progress(let value): Self.write(17, 0, Array(try JSONEncoder().encode(value)), into: &buffer)
        case .idle: Self.write(18, 0, [], into: &buffer)
        case .end: Self.write(19, 0, [], into: &buffer)
        }
    }

    private static func write(_ code: UInt8, _ offset: Int64, _ bytes: [UInt8], into buffer: inout [UInt8]) {
        for shift in stride(from: 0, to: 32, by: 8) { buffer.append(UInt8(truncatingIfNeeded: bytes.count >> shift)) }
        buffer.append(code)
        for shift in stride(from: 0, to: 64, by: 8) { buffer.append(UInt8(truncatingIfNeeded: offset >> Int64(shift))) }
        buffer += bytes
    }

    /// A peer sent something that is no frame.
    struct Broken: Error {}

    /// Takes frames out of bytes as they come; holds at most one unfinished frame.
    struct Reader {
        private var bytes: [UInt8] = []

        mutating func frames(_ more: some Sequence<UInt8>) throws -> [PeerFrame] {
            bytes += more
            var frames: [PeerFrame] = []
            var start = 0
            while bytes.count - start >= headLength {
                let length = (0..<4).reversed().reduce(0) { $0 << 8 | Int(bytes[start + $1]) }
                guard length <= longest else { throw Broken() }
                guard bytes.count - start - headLength >= length else { break }
                let offset = (5..<13).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64(bytes[start + $1]) }
                let body = Array(bytes[(start + headLength)..<(start + headLength + length)])
                frames.append(try PeerFrame(bytes[start + 4], Int64(bitPattern: offset), body))
                start += headLength + length
            }
            bytes.removeFirst(start)
            return frames
        }
    }

    private init(_ code: UInt8, _ offset: Int64, _ bytes: [UInt8]) throws {
        switch code {
        case 16: self = .head(try JSONDecoder().decode(AnswerHead.self, from: Data(bytes)))
        case 17: self = .progress(try JSONDecoder().decode(JSONValue.self, from: Data(bytes)))
        case 18: self = .idle
        case 19: self = .end
        default:
            guard let stream = LogSegment.stream(of: code) else { throw Broken() }
            self = .piece(LogPiece(stream: stream, offset: offset, bytes: bytes))
        }
    }
}
