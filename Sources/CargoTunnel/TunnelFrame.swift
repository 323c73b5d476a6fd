/// One message of the tunnel between a host and its coordinator: a byte for what it is, four for the stream (big-endian),
/// then its payload. Each travels as one binary WebSocket message.
public enum TunnelFrame: Hashable, Sendable {
    /// A new stream; the payload is a `TunnelOpening` as JSON.
    case open(stream: UInt32, [UInt8])
    /// How an answer begins; JSON that the operation defines.
    case head(stream: UInt32, [UInt8])
    case data(stream: UInt32, [UInt8])
    /// This side has said all; JSON that the operation defines, or nothing.
    case end(stream: UInt32, [UInt8])
    /// Nothing more, from either side; a `TunnelFault` as JSON.
    case reset(stream: UInt32, [UInt8])
    /// So many bytes of data more may be sent.
    case window(stream: UInt32, credit: UInt32)
    /// No new streams; those that are open go on.
    case goAway

    /// Bytes of a message at most.
    public static let largest = 256 << 10
    private static let headLength = 5

    public var stream: UInt32 {
        switch self {
        case .open(let stream, _), .head(let stream, _), .data(let stream, _), .end(let stream, _), .reset(let stream, _),
            .window(let stream, _):
            stream
        case .goAway: 0
        }
    }

    /// What a peer sent that is no frame.
    public struct Malformed: Error, Hashable, Sendable {}

    public init(_ bytes: [UInt8]) throws(Malformed) {
        guard bytes.count >= TunnelFrame.headLength, bytes.count <= TunnelFrame.largest else { throw Malformed() }
        let stream = UInt32(bytes[1]) << 24 | UInt32(bytes[2]) << 16 | UInt32(bytes[3]) << 8 | UInt32(bytes[4])
        let payload = Array(bytes[TunnelFrame.headLength...])
        guard (stream == 0) == (bytes[0] == 7) else { throw Malformed() }
        switch bytes[0] {
        case 1: self = .open(stream: stream, payload)
        case 2: self = .head(stream: stream, payload)
        case 3: self = .data(stream: stream, payload)
        case 4: self = .end(stream: stream, payload)
        case 5: self = .reset(stream: stream, payload)
        case 6:
            guard payload.count == 4 else { throw Malformed() }
            self = .window(stream: stream, credit: payload.reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
        case 7:
            guard payload.isEmpty else { throw Malformed() }
            self = .goAway
        default: throw Malformed()
        }
    }

    public var bytes: [UInt8] {
        let (kind, payload): (UInt8, [UInt8]) =
            switch self {
            case .open(_, let payload): (1, payload)
            case .head(_, let payload): (2, payload)
            case .data(_, let payload): (3, payload)
            case .end(_, let payload): (4, payload)
            case .reset(_, let payload): (5, payload)
            case .window(_, let credit): (6, TunnelFrame.bigEndian(credit))
            case .goAway: (7, [])
            }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(TunnelFrame.headLength + payload.count)
        bytes.append(kind)
        bytes.append(contentsOf: TunnelFrame.bigEndian(stream))
        bytes.append(contentsOf: payload)
        return bytes
    }

    private static func bigEndian(_ value: UInt32) -> [UInt8] {
        [UInt8(value >> 24), UInt8(value >> 16 & 255), UInt8(value >> 8 & 255), UInt8(value & 255)]
    }
}
