internal import CargoArtifact

/// The account of a job's combined log: offsets, digest, and what its bounds did. Decides; reads and waits for nothing.
struct JobLog {
    /// Stands where a line was split.
    static let mark = Array(" [line split]\n".utf8)
    /// Most bytes of one event.
    static let eventBytes = 65536

    let limits: LogLimits
    /// Bytes passed on.
    private(set) var bytes: Int64 = 0
    private(set) var isTruncated = false
    private(set) var linesSplit = 0
    /// How long the job was held back for saying too much at once.
    private(set) var pausedSeconds = 0.0
    private var hash = ContentHash()
    private var rate: LogRate
    /// Bytes since the last end of a line, of each stream.
    private var column: [RunEvent.Stream: Int] = [:]
    /// Where the standard output says events.
    private(set) var speech: EventLines?

    /// - Parameter now: seconds of any clock that only goes forward.
    init(limits: LogLimits, interface: CargoInterface = .files, now: Double) {
        self.limits = limits
        if interface == .stdioJSONL { speech = EventLines() }
        rate = LogRate(limits: limits, now: now)
    }

    var digest: Digest { hash.digest() }

    /// The events for the next bytes of a stream, at most 64 KiB each, and the seconds until more should be read.
    mutating func take(_ stream: RunEvent.Stream, _ piece: [UInt8], now: Double) -> (events: [RunEvent], pause: Double) {
        let pause = rate.spend(piece.count, now: now)
        pausedSeconds += pause
        guard bytes < limits.total else {
            isTruncated = isTruncated || !piece.isEmpty
            return ([], pause)
        }
        if stream == .stdout, var lines = speech {
            speech = nil
            let parts = lines.take(piece)
            speech = lines
            return (parts.flatMap { keep($0) }, pause)
        }
        return (split(stream, piece).compactMap { keep(stream, $0) }, pause)
    }

    /// What is left when the last byte was read.
    mutating func finish() -> [RunEvent] {
        guard let parts = speech?.finish() else { return [] }
        return parts.flatMap { keep($0) }
    }

    private mutating func keep(_ part: EventLines.Part) -> [RunEvent] {
        switch part {
        case .log(let bytes): return split(.stdout, bytes).compactMap { keep(.stdout, $0) }
        case .event(let line):
            // Half an event is none.
            guard bytes + Int64(line.count) <= limits.total else {
                isTruncated = true
                return []
            }
            return keep(.event, line).map { [$0] } ?? []
        }
    }

    /// The part of a piece that the total leaves room for.
    private mutating func keep(_ stream: RunEvent.Stream, _ piece: [UInt8]) -> RunEvent? {
        let room = Int(min(Int64(piece.count), max(0, limits.total - bytes)))
        if room < piece.count { isTruncated = true }
        guard room > 0 else { return nil }
        let kept = room == piece.count ? piece : Array(piece[..<room])
        hash.update(kept)
        defer { bytes += Int64(kept.count) }
        return .log(stream, offset: bytes, bytes: kept)
    }

    /// The piece, with marks where its lines outgrow their bound.
    private mutating func split(_ stream: RunEvent.Stream, _ piece: [UInt8]) -> [[UInt8]] {
        let before = column[stream] ?? 0
        if before + piece.count <= limits.line {
            column[stream] = piece.lastIndex(of: 10).map { piece.count - $0 - 1 } ?? before + piece.count
            return [piece]
        }
        var text: [UInt8] = []
        var column = before
        var start = 0
        while start < piece.count {
            let room = limits.line - column
            // The end of a line may stand right behind its last byte.
            if let end = piece[start..<min(piece.count, start + room + 1)].firstIndex(of: 10) {
                text += piece[start...end]
                (start, column) = (end + 1, 0)
            } else if piece.count - start <= room {
                text += piece[start...]
                (start, column) = (piece.count, column + piece.count - start)
            } else {
                text += piece[start..<start + room] + JobLog.mark
                linesSplit += 1
                (start, column) = (start + room, 0)
            }
        }
        self.column[stream] = column
        return stride(from: 0, to: text.count, by: JobLog.eventBytes).map {
            Array(text[$0..<min(text.count, $0 + JobLog.eventBytes)])
        }
    }
}

/// How fast a log is read: a bucket of `burst` bytes that fills at `rate`.
struct LogRate {
    private let rate: Double
    private let burst: Double
    private var left: Double
    private var at: Double

    init(limits: LogLimits, now: Double) {
        rate = Double(limits.rate)
        burst = Double(limits.burst)
        left = burst
        at = now
    }

    /// Shorter waits are not worth a timer; what they would have cost stays owed.
    private static let shortest = 0.001

    /// Counts bytes that were read; gives the seconds until the next should be.
    mutating func spend(_ bytes: Int, now: Double) -> Double {
        left = min(burst, left + max(0, now - at) * rate) - Double(bytes)
        at = max(at, now)
        let wait = -left / rate
        return wait < LogRate.shortest ? 0 : wait
    }
}
