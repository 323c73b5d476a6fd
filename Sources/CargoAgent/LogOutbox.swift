import CargoClient
import CargoWire

/// An attempt's log on its way: kept until the coordinator has it on disk (docs/rules.md 12). Pure.
struct LogOutbox: Sendable {
    private struct Piece: Sendable {
        var stream: LogChunk.Stream
        var offset: Int64
        var bytes: [UInt8]
        var end: Int64 { offset + Int64(bytes.count) }
    }

    /// The most bytes that one heartbeat carries.
    static let maximumBatch = 1 << 20
    /// The most chunks that one heartbeat carries: a job may change its stream at every byte.
    static let maximumChunks = 4096
    /// The most that is held, in bytes and in pieces; beyond it the job waits.
    static let maximumHeld = 4 << 20
    static let maximumPieces = 16_384
    /// Small neighbours of one stream are kept as one piece up to this.
    private static let pieceSize = 64 << 10

    private var pieces: [Piece] = []
    /// The first piece that is still held.
    private var head = 0
    /// Everything before this is on the coordinator's disk.
    private(set) var durable: Int64
    /// Where the next batch begins.
    private(set) var sent: Int64
    /// Where the next byte of the job goes.
    private(set) var end: Int64

    /// `start`: where a log goes on whose beginning is durable.
    init(start: Int64 = 0) {
        durable = start
        sent = start
        end = start
    }

    var held: Int64 { end - durable }
    var isFull: Bool { held >= Int64(LogOutbox.maximumHeld) || pieces.count - head >= LogOutbox.maximumPieces }
    var hasUnsent: Bool { sent < end }
    var isDurable: Bool { durable == end }

    mutating func append(_ stream: LogChunk.Stream, _ bytes: [UInt8]) {
        guard !bytes.isEmpty else { return }
        if let last = pieces.indices.last, last >= head, pieces[last].stream == stream,
            pieces[last].bytes.count + bytes.count <= LogOutbox.pieceSize
        {
            pieces[last].bytes.append(contentsOf: bytes)
        } else {
            pieces.append(Piece(stream: stream, offset: end, bytes: bytes))
        }
        end += Int64(bytes.count)
    }

    /// What goes next: neighbours of one stream are joined, the whole is bounded.
    mutating func nextBatch() -> [LogChunk] {
        var chunks: [LogChunk] = []
        var joined: Piece?
        var left = LogOutbox.maximumBatch
        func close() {
            if let piece = joined {
                chunks.append(LogChunk(stream: piece.stream, offset: piece.offset, bytes: piece.bytes, compact: true))
            }
            joined = nil
        }
        for piece in pieces[head...] where left > 0 && piece.end > sent {
            let from = Int(max(0, sent - piece.offset))
            let until = min(piece.bytes.count, from + left)
            let bytes = piece.bytes[from..<until]
            if joined?.stream == piece.stream {
                joined?.bytes.append(contentsOf: bytes)
            } else {
                close()
                guard chunks.count < LogOutbox.maximumChunks else { break }
                joined = Piece(stream: piece.stream, offset: piece.offset + Int64(from), bytes: Array(bytes))
            }
            left -= bytes.count
            sent += Int64(bytes.count)
        }
        close()
        return chunks
    }

    /// All that is held went another way, which answers with `answered`.
    mutating func handedOver() { sent = end }

    /// The answer to a batch that began at `start`. What the coordinator does not have by then is sent again.
    mutating func answered(batchFrom start: Int64, durable offset: Int64) {
        durable = max(durable, min(offset, end))
        while head < pieces.count, pieces[head].end <= durable { head += 1 }
        if head > 64, head * 2 > pieces.count {
            pieces.removeFirst(head)
            head = 0
        }
        if durable < start { sent = durable }
        sent = max(sent, durable)
    }

    /// The batch had no answer: it goes again.
    mutating func unanswered() { sent = durable }

    /// What is not durable yet, for the journal.
    var tail: [LogChunk] {
        var copy = self
        copy.sent = copy.durable
        var all: [LogChunk] = []
        while copy.hasUnsent { all += copy.nextBatch() }
        return all
    }
}
