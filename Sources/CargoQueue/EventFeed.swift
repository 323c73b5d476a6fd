import CargoArtifact
public import CargoWire
import Foundation
import Synchronization

/// One event of a job, with the id under which a reader goes on behind it.
public struct FeedEvent: Sendable {
    public let cursor: EventCursor
    public let event: JobEvent
}

/// A job's events from a cursor to the end, merging its transitions and its logs: nothing lost, nothing twice.
///
/// An attempt's log stands before the transition that ends it, because the log is sealed before that transition is
/// committed; a new attempt begins with the transition of its claim. So the cursor alone says what was delivered.
/// Progress is a state, not an event: a new reader gets the last one.
public struct EventFeed: Sendable {
    private let queue: JobQueue
    private let key: JobKey
    /// Rings when it is worth another look.
    public let bell = Doorbell()
    private let follows: Bool
    private var cursor: EventCursor
    private var tail: LogTail
    private var pending: [Transition] = []
    private var progressSeen: UInt64 = 0
    private var ended = false
    private var rowsKnown = false

    /// - Parameter follows: whether the reader waits for what is still to come.
    public init(_ queue: JobQueue, _ key: JobKey, from cursor: EventCursor, follows: Bool = true) {
        self.queue = queue
        self.key = key
        self.cursor = cursor
        self.follows = follows
        tail = LogTail(queue, key, attempt: cursor.attempt, from: cursor.offset, bell: bell, follows: follows)
        queue.signals.listen(key, bell)
    }

    /// Must be called when the reader goes.
    public func close() { queue.signals.leave(key, bell) }

    /// What a look gives.
    public enum Look: Sendable {
        case events([FeedEvent])
        /// Nothing now: `wait` says when to look again.
        case nothing
        /// Nothing follows.
        case over
    }

    /// The next events; empty when nothing happened for `patience` seconds; nil after the end.
    public mutating func next(patience: Double) async throws -> [FeedEvent]? {
        while true {
            switch try await look() {
            case .events(let events): return events
            case .over: return nil
            case .nothing: break
            }
            let cause = await bell.wait(seconds: follows ? patience : EventFeed.glanceSeconds)
            guard heard(cause) else { return nil }
            if cause.isEmpty { return [] }
        }
    }

    /// What there is, without waiting for what is to come.
    public mutating func look() async throws -> Look {
        if ended { return .over }
        if pending.isEmpty, !rowsKnown {
            pending = try await queue.store.transitions(of: key, after: cursor.sequence, limit: 100)
            rowsKnown = pending.isEmpty
            if cursor.sequence == 0, pending.isEmpty { throw StoreError.notFound }
            if rowsKnown, try await isOver() {
                ended = true
                return .over
            }
        }
        if let transition = pending.first {
            return try await take(transition).map { .events($0) } ?? .nothing
        }
        if let pieces = try await readLog() { return .events(pieces) }
        if let progress = newProgress() { return .events([progress]) }
        // Who does not follow still waits for what another coordinator has by now.
        return try !follows && (cursor.attempt == 0 || tail.isDrained(nil)) ? .over : .nothing
    }

    /// The bell has rung: false when nobody should wait any longer.
    public mutating func heard(_ cause: RingCause) -> Bool {
        if cause.contains(.rows) {
            rowsKnown = false
            tail.moved()
        }
        return !cause.contains(.closing)
    }

    /// A reader that comes with the id of the final event gets the end, not silence.
    private func isOver() async throws -> Bool {
        guard cursor.sequence > 0 else { return false }
        let (record, _, _) = try await queue.store.job(key)
        return record.state.status.isFinal && record.sequence <= cursor.sequence
    }

    /// Seconds that a reader who does not follow waits for another coordinator.
    public static let glanceSeconds = 10.0

    /// Nil while the log before it has not come yet.
    private mutating func take(_ transition: Transition) async throws -> [FeedEvent]? {
        let endsAttempt = transition.status == .queued || transition.status.isFinal || transition.attempt > cursor.attempt
        let detail = try JSONDecoder().decode(TransitionDetail.self, from: transition.detail)
        if endsAttempt, cursor.attempt > 0 {
            if let pieces = try await readLog() { return pieces }
            guard try tail.isDrained(detail.logBytes) else { return nil }
        }
        pending.removeFirst()
        if transition.attempt > cursor.attempt {
            cursor.attempt = transition.attempt
            cursor.offset = 0
            tail = LogTail(queue, key, attempt: cursor.attempt, bell: bell, follows: follows)
        }
        cursor.sequence = transition.sequence
        var status = StatusEvent(
            status: transition.status, attempt: transition.attempt, at: transition.at.text, host: transition.host,
            exitCode: detail.exit?.exitCode, error: detail.error)
        status.trace = detail.trace
        rowsKnown = false
        return [FeedEvent(cursor: cursor, event: .status(status))]
    }

    private mutating func readLog() async throws -> [FeedEvent]? {
        guard cursor.attempt > 0, var piece = try await tail.read() else { return nil }
        if piece.stream == .event { return try await readLines(from: piece) }
        // A character cut by the end of the piece is left for the next one.
        if piece.bytes.count > 4, let whole = wholeCharacters(piece.bytes), whole < piece.bytes.count {
            let rest = Array(piece.bytes[whole...])
            piece.bytes.removeLast(rest.count)
            tail.putBack(LogPiece(stream: piece.stream, offset: piece.end, bytes: rest))
        }
        cursor.offset = piece.end
        return [FeedEvent(cursor: cursor, event: .log(LogChunk(piece)))]
    }

    /// Bytes of one event line, which the host bounds; two records hold it.
    private static let longestLine = 1 << 17

    /// Whole lines only, so that a reader's cursor never stands inside one; what is not whole yet is waited for.
    private mutating func readLines(from first: LogPiece) async throws -> [FeedEvent]? {
        var bytes = first.bytes
        while !bytes.contains(10), bytes.count < EventFeed.longestLine {
            let more = try await tail.read()
            guard let more, more.stream == .event else {
                if let more { tail.putBack(more) }
                tail.putBack(LogPiece(stream: .event, offset: first.offset, bytes: bytes))
                return nil
            }
            bytes += more.bytes
        }
        var events: [FeedEvent] = []
        var start = 0
        while let end = bytes[start...].firstIndex(of: 10) {
            let offset = first.offset + Int64(start)
            cursor.offset = first.offset + Int64(end) + 1
            let line = String(decoding: bytes[start..<end], as: UTF8.self)
            events.append(FeedEvent(cursor: cursor, event: .output(OutputEvent(offset: offset, line: line))))
            start = end + 1
        }
        tail.putBack(LogPiece(stream: .event, offset: first.offset + Int64(start), bytes: Array(bytes[start...])))
        return events
    }

    /// How many bytes end with a whole character, when only the last three at most are in doubt.
    private func wholeCharacters(_ bytes: [UInt8]) -> Int? {
        for back in 1...3 {
            let byte = bytes[bytes.count - back]
            if byte & 0xC0 == 0x80 { continue }
            let length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1
            return length > back ? bytes.count - back : nil
        }
        return nil
    }

    private mutating func newProgress() -> FeedEvent? {
        guard let (version, value) = queue.progress.withLock({ $0[key.id] }) ?? tail.remoteProgress, version != progressSeen
        else {
            return nil
        }
        progressSeen = version
        return FeedEvent(cursor: cursor, event: .progress(value))
    }
}

extension LogChunk {
    init(_ piece: LogPiece) {
        if let text = String(validating: piece.bytes, as: UTF8.self) {
            self.init(stream: piece.stream, offset: piece.offset, data: text)
        } else {
            self.init(stream: piece.stream, offset: piece.offset, dataBase64: Data(piece.bytes).base64EncodedString())
        }
    }
}

extension JobQueue {
    /// The raw bytes of an attempt's log, one bounded piece a call; nil where it ends for now.
    public func logBytes(
        _ key: JobKey, attempt: Int, stream: LogChunk.Stream?, from reader: inout LogReader
    ) async throws -> [UInt8]? {
        var tail = reader.tail ?? LogTail(self, key, attempt: attempt, bell: reader.bell, follows: false)
        defer { reader.tail = tail }
        while attempt > 0 {
            if let piece = try await tail.read() {
                if stream == nil || piece.stream == stream { return piece.bytes }
            } else if try tail.isDrained(nil) {
                return nil
            } else {
                // Rung by what comes from another coordinator, or by its failure, which comes within ten seconds.
                _ = await reader.bell.wait(seconds: 1)
            }
        }
        return nil
    }
}

/// Where a reader of raw log bytes stands.
public struct LogReader: Sendable {
    fileprivate var tail: LogTail?
    fileprivate let bell = Doorbell()
    public init() {}
}
