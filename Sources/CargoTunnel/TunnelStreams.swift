/// The streams of one tunnel: which there are, and how much each side may send. Pure: frames in, events out.
///
/// A host opens odd streams, a coordinator even ones, each higher than the last. The first violation ends the connection:
/// a peer that breaks one rule is not asked to keep the others.
public struct TunnelStreams: Sendable {
    public enum Side: Hashable, Sendable { case host, coordinator }

    /// What a frame means to this side.
    public enum Event: Hashable, Sendable {
        case opened(UInt32, [UInt8])
        case head(UInt32, [UInt8])
        case data(UInt32, [UInt8])
        case ended(UInt32, [UInt8])
        case reset(UInt32, [UInt8])
        /// There is room to send again.
        case room(UInt32)
        case goingAway
    }

    /// What a peer did that no peer does.
    public enum Violation: Error, Hashable, Sendable {
        case wrongStream, tooManyStreams, overWindow, afterEnd, secondHead, tooLarge
    }

    private struct Stream: Sendable {
        /// Bytes of data that this side may still send.
        var mayWrite = TunnelStreams.window
        /// Bytes of data that the peer may still send.
        var mayRead = TunnelStreams.window
        /// Taken by this side since the last word about it.
        var taken = 0
        var headCame = false
        var peerEnded = false
        var ended = false
    }

    /// Bytes of data under way on one stream at most: what a slow reader costs the other side's memory.
    public static let window = 256 << 10
    /// Streams at once that a peer may open.
    public static let mostStreams = 512
    /// Bytes of an opening, a head, a trailer or a fault at most.
    public static let largestWord = 64 << 10

    public let side: Side
    private var streams: [UInt32: Stream] = [:]
    private var nextOwn: UInt32
    private var lastOfPeer: UInt32 = 0
    private var openedByPeer = 0
    /// The peer takes no new streams.
    public private(set) var peerGoesAway = false

    public init(_ side: Side) {
        self.side = side
        nextOwn = side == .host ? 1 : 2
    }

    public var count: Int { streams.count }

    private func isOwn(_ stream: UInt32) -> Bool { (stream % 2 == 1) == (side == .host) }

    // MARK: What this side does

    /// A new stream; nil when the peer takes none, or the numbers are used up: the connection is made anew then.
    public mutating func open() -> UInt32? {
        guard !peerGoesAway, nextOwn < UInt32.max - 2, streams.count - openedByPeer < TunnelStreams.mostStreams else {
            return nil
        }
        defer { nextOwn += 2 }
        streams[nextOwn] = Stream()
        return nextOwn
    }

    /// Takes up to `count` bytes from the stream's window; 0 where it has none; nil when the stream is gone.
    public mutating func mayWrite(_ stream: UInt32, _ count: Int) -> Int? {
        guard let known = streams[stream], !known.ended else { return nil }
        let taken = min(count, known.mayWrite)
        streams[stream]?.mayWrite -= taken
        return taken
    }

    /// Whether the stream's window has room, or the stream is gone, which `mayWrite` says then.
    func mayWriteNow(_ stream: UInt32) -> Bool { streams[stream].map { $0.mayWrite > 0 || $0.ended } ?? true }

    /// Bytes of data were used; answers the credit to give the peer, when it is worth a frame.
    public mutating func used(_ stream: UInt32, _ count: Int) -> UInt32? {
        guard var known = streams[stream], !known.peerEnded else { return nil }
        known.taken += count
        guard known.taken >= TunnelStreams.window / 2 else {
            streams[stream] = known
            return nil
        }
        let credit = known.taken
        known.mayRead += credit
        known.taken = 0
        streams[stream] = known
        return UInt32(credit)
    }

    /// This side has said all. Answers false when the stream is gone already.
    public mutating func end(_ stream: UInt32) -> Bool {
        guard let known = streams[stream], !known.ended else { return false }
        streams[stream]?.ended = true
        if known.peerEnded { forget(stream) }
        return true
    }

    /// This side wants no more of it. Answers false when it is gone already.
    public mutating func reset(_ stream: UInt32) -> Bool {
        guard streams[stream] != nil else { return false }
        forget(stream)
        return true
    }

    private mutating func forget(_ stream: UInt32) {
        guard streams.removeValue(forKey: stream) != nil else { return }
        if !isOwn(stream) { openedByPeer -= 1 }
    }

    // MARK: What the peer does

    /// Nil for a frame about a stream that this side has just given up.
    public mutating func receive(_ frame: TunnelFrame) throws(Violation) -> Event? {
        switch frame {
        case .goAway:
            peerGoesAway = true
            return .goingAway
        case .open(let stream, let word):
            guard !isOwn(stream), stream > lastOfPeer else { throw .wrongStream }
            guard openedByPeer < TunnelStreams.mostStreams else { throw .tooManyStreams }
            guard word.count <= TunnelStreams.largestWord else { throw .tooLarge }
            lastOfPeer = stream
            openedByPeer += 1
            streams[stream] = Stream()
            return .opened(stream, word)
        case .head(let stream, let word):
            guard var known = try known(stream) else { return nil }
            guard word.count <= TunnelStreams.largestWord else { throw .tooLarge }
            guard !known.headCame, isOwn(stream) else { throw .secondHead }
            known.headCame = true
            streams[stream] = known
            return .head(stream, word)
        case .data(let stream, let bytes):
            guard var known = try known(stream) else { return nil }
            guard bytes.count <= known.mayRead else { throw .overWindow }
            known.mayRead -= bytes.count
            streams[stream] = known
            return .data(stream, bytes)
        case .end(let stream, let word):
            guard let known = try known(stream) else { return nil }
            guard word.count <= TunnelStreams.largestWord else { throw .tooLarge }
            streams[stream]?.peerEnded = true
            if known.ended { forget(stream) }
            return .ended(stream, word)
        case .reset(let stream, let word):
            guard try isKnown(stream) else { return nil }
            guard word.count <= TunnelStreams.largestWord else { throw .tooLarge }
            forget(stream)
            return .reset(stream, word)
        case .window(let stream, let credit):
            guard try isKnown(stream) else { return nil }
            guard let known = streams[stream], known.mayWrite + Int(credit) <= TunnelStreams.window else { throw .overWindow }
            streams[stream]?.mayWrite += Int(credit)
            return .room(stream)
        }
    }

    private func known(_ stream: UInt32) throws(Violation) -> Stream? {
        guard try isKnown(stream), let known = streams[stream] else { return nil }
        guard !known.peerEnded else { throw .afterEnd }
        return known
    }

    /// False for one that was there once; a stream that never was is a violation.
    private func isKnown(_ stream: UInt32) throws(Violation) -> Bool {
        if streams[stream] != nil { return true }
        guard isOwn(stream) ? stream < nextOwn : stream <= lastOfPeer else { throw .wrongStream }
        return false
    }
}
