import AsyncHTTPClient
import CargoArtifact
public import CargoWire
import FoundationEssentials
import NIOCore

/// A job's events in order until its final status, over as many connections as that takes.
///
/// When a connection ends early it asks again after the last position it handed out, with jittered waits, so nothing
/// is lost and nothing comes twice. It gives up when no answer came for `patience`; the first connection must succeed.
public struct EventStream: AsyncSequence, Sendable {
    /// An event and the position after it.
    public struct Element: Hashable, Sendable {
        public var cursor: EventCursor
        public var event: JobEvent
    }

    let transport: Transport
    let job: String
    let cursor: EventCursor
    let follow: Bool
    let patience: Duration
    /// Told once each time the connection is lost, however often it takes to get it back.
    let onReconnect: (@Sendable (ClientError) -> Void)?
    /// The first wait after a lost connection.
    var firstWait: Duration = .milliseconds(100)

    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(stream: self, position: EventPosition(cursor: cursor))
    }

    public struct AsyncIterator: AsyncIteratorProtocol {
        private let stream: EventStream
        private var position: EventPosition
        private var body: PieceReader?
        private var parser = EventParser()
        private var ready: ArraySlice<EventParser.Event> = []
        private var backoff: Backoff
        private var lostSince: ContinuousClock.Instant?
        private var connectedOnce = false
        private var finished = false

        init(stream: EventStream, position: EventPosition) {
            self.stream = stream
            self.position = position
            backoff = Backoff(first: stream.firstWait)
        }

        public mutating func next() async throws -> Element? {
            while true {
                while let raw = ready.popFirst() {
                    guard let element = try position.accept(raw) else { continue }
                    if case .status(let status) = element.event, status.status.isFinal { finished = true }
                    return element
                }
                if finished { return nil }
                do {
                    if body == nil { try await connect() }
                    if !(try await read()) { return nil }
                } catch let error as ClientError where error.isTransient && connectedOnce {
                    try await pause(error)
                }
            }
        }

        private mutating func connect() async throws {
            var call = Transport.Call(path: "/jobs/\(PercentEncoding.segment(stream.job))/events")
            call.headers = [("Accept", "text/event-stream"), ("Cache-Control", "no-store")]
            if position.cursor != .start { call.headers.append(("Last-Event-ID", position.cursor.description)) }
            if !stream.follow { call.query.append(("follow", "false")) }
            let response = try await stream.transport.response(to: call)
            parser = EventParser()
            connectedOnce = true
            body = PieceReader(iterator: response.body.makeAsyncIterator())
        }

        /// Reads one piece. False at the end of a stream that is not followed.
        private mutating func read() async throws -> Bool {
            // The reader is moved out, so that it is never used again after it threw.
            guard var reader = body else { return true }
            body = nil
            let piece: ByteBuffer?
            do { piece = try await reader.next() } catch { throw stream.transport.mapped(error) }
            guard let piece else {
                if !stream.follow { return false }
                throw ClientError.unreachable(stream.transport.base, "the event stream ended before the job")
            }
            body = reader
            var events: [EventParser.Event] = []
            try piece.withUnsafeReadableBytes { try parser.feed($0, into: &events) }
            ready = events[...]
            if !events.isEmpty {
                lostSince = nil
                backoff.reset()
            }
            return true
        }

        private mutating func pause(_ error: ClientError) async throws {
            body = nil
            let now = ContinuousClock.now
            let since = lostSince ?? now
            if lostSince == nil { stream.onReconnect?(error) }
            lostSince = since
            guard now - since < stream.patience else { throw error }
            try await Task.sleep(for: backoff.next())
        }
    }
}

/// An answer's body, read piece by piece.
///
/// `@unchecked Sendable`: the library's iterator is not marked, but it is a value with one owner, this reader, whose
/// `next` is mutating, so no two tasks are ever inside it.
private struct PieceReader: @unchecked Sendable {
    var iterator: HTTPClientResponse.Body.AsyncIterator

    mutating func next() async throws -> ByteBuffer? { try await iterator.next() }
}

/// Which events were handed out: turns raw events into typed ones and drops what a reconnection repeats.
struct EventPosition: Sendable {
    private(set) var cursor: EventCursor

    init(cursor: EventCursor) { self.cursor = cursor }

    /// The event with the position after it; nil when it was there already or has a name this version does not know.
    mutating func accept(_ raw: EventParser.Event) throws -> EventStream.Element? {
        let after = EventCursor(raw.id) ?? cursor
        let event: JobEvent
        switch raw.name {
        case "status":
            guard after.sequence > cursor.sequence || EventCursor(raw.id) == nil else { return nil }
            event = .status(try decode(StatusEvent.self, raw))
        case "log":
            var chunk = try decode(LogChunk.self, raw)
            if after.attempt < cursor.attempt { return nil }
            let seen = after.attempt == cursor.attempt ? cursor.offset : 0
            if chunk.offset < seen {
                guard let rest = chunk.dropping(Int(seen - chunk.offset)) else { return nil }
                chunk = rest
            }
            event = .log(chunk)
        case "output":
            // The line and its line feed are what lies between the two offsets.
            let offset = after.offset - Int64(raw.data.count) - 1
            if after.attempt < cursor.attempt || (after.attempt == cursor.attempt && after.offset <= cursor.offset) { return nil }
            event = .output(OutputEvent(offset: offset, line: String(decoding: raw.data, as: UTF8.self)))
        case "progress":
            event = .progress(try decode(JSONValue.self, raw))
        default:
            return nil
        }
        cursor = after
        return EventStream.Element(cursor: after, event: event)
    }

    private func decode<Value: Decodable>(_ type: Value.Type, _ raw: EventParser.Event) throws -> Value {
        do {
            return try JSONDecoder().decode(type, from: Data(raw.data))
        } catch {
            throw ClientError.badAnswer("the event stream carries a \(raw.name) event that is not \(type)")
        }
    }
}

extension LogChunk {
    /// The chunk's bytes.
    public var bytes: [UInt8] {
        if let data { return Array(data.utf8) }
        if let dataBase64, let decoded = Data(base64Encoded: dataBase64) { return Array(decoded) }
        return []
    }

    /// The chunk that carries `bytes`: as text when they are UTF-8, else in base64.
    ///
    /// With `compact` text full of control characters goes in base64 too: JSON writes each in six bytes, and a
    /// heartbeat of a mebibyte must not become six.
    public init(stream: Stream, offset: Int64, bytes: [UInt8], compact: Bool = false) {
        let controls = compact ? bytes.reduce(0) { $0 + ($1 < 32 && $1 != 10 && $1 != 9 && $1 != 13 ? 1 : 0) } : 0
        if controls * 15 <= bytes.count, let text = String(validating: bytes, as: UTF8.self) {
            self.init(stream: stream, offset: offset, data: text)
        } else {
            self.init(stream: stream, offset: offset, dataBase64: Data(bytes).base64EncodedString())
        }
    }

    /// What is left after the first `count` bytes; nil when that is nothing.
    func dropping(_ count: Int) -> LogChunk? {
        let all = bytes
        guard count < all.count else { return nil }
        return LogChunk(stream: stream, offset: offset + Int64(count), bytes: Array(all[count...]))
    }
}

extension CoordinatorClient {
    /// `GET /jobs/{id}/events`, after `cursor`. Without `follow` it ends with what there is now.
    public func events(
        of job: String, after cursor: EventCursor = .start, follow: Bool = true, patience: Duration = .seconds(900),
        onReconnect: (@Sendable (ClientError) -> Void)? = nil
    ) -> EventStream {
        EventStream(
            transport: transport, job: job, cursor: cursor, follow: follow, patience: patience, onReconnect: onReconnect)
    }
}
