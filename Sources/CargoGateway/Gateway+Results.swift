import CargoArtifact
import CargoFiles
import CargoQueue
import CargoRegistry
import CargoStore
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// What a job gives: events, logs, outputs.
extension Gateway {
    /// Seconds without an event after which a comment keeps the stream alive.
    static let keepAlive = 10.0

    func addResults(to router: Router<GatewayContext>) {
        router.get("/jobs/:id/events") { request, context in
            let principal = try caller(request, .read)
            return try await events(request, try key(context, principal), reader: principal.keyID)
        }
        router.get("/jobs/:id/logs") { request, context in
            try await logs(request, try key(context, try caller(request, .read)))
        }
        router.get("/jobs/:id/outputs") { request, context in
            let key = try key(context, try caller(request, .read))
            let (_, result, _) = try await queue.store.job(key)
            return try Answer.json(OutputList(outputs: result.outputs))
        }
        for method in [HTTPRequest.Method.get, .head] {
            router.on("/jobs/:id/outputs/**", method: method) { request, context in
                try await output(request, try key(context, try caller(request, .read)))
            }
        }
        router.get("/jobs/:id/result") { request, context in
            let key = try key(context, try caller(request, .read))
            let (record, result, metadata) = try await queue.store.job(key)
            guard record.state.status.isFinal else {
                throw GatewayError(
                    409, "not_finished", "The job is \(record.state.status.rawValue); wait with GET /jobs/{id}?wait=30s.")
            }
            return Answer.json(try view(record, result, metadata: metadata))
        }
    }

    /// - Parameter reader: the API key of who reads; nil for a link of its own. With its end the stream ends, and whoever comes
    ///   again with the key is told why.
    func events(_ request: Request, _ key: JobKey, reader: String? = nil) async throws -> Response {
        let text = request.headers[GatewayHeader.lastEventID] ?? request.uri.queryParameters["after"].map(String.init)
        let cursor = try text.map { text in
            guard let cursor = EventCursor(text) else {
                throw GatewayError(400, "invalid_header", "Last-Event-ID is an id that this stream gave, such as 1.4096.3.")
            }
            return cursor
        }
        let follows = request.uri.queryParameters["follow"] != "false"
        _ = try await queue.store.job(key)
        var headers = HTTPFields()
        headers[.contentType] = "text/event-stream"
        headers[.cacheControl] = "no-store"
        headers[GatewayHeader.accelBuffering] = "no"
        let queue = queue
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody { writer in
                var feed = Boxed(wrappedValue: EventFeed(queue, key, from: cursor ?? .start, follows: follows))
                let bell = feed.wrappedValue.bell
                defer { feed.wrappedValue.close() }
                // So that proxies and clients see the stream open before the first event.
                try await writer.write(ByteBuffer(string: ": stream of \(key.id)\n\n"))
                while true {
                    let before = feed
                    let look = try await onOwnStack { try await ServerSentEvent.look(before) }
                    feed = look.feed
                    if look.isOver { break }
                    guard reader.map(queue.directory.lives) ?? true else {
                        try await writer.write(ByteBuffer(string: ": the API key of this stream has ended\n\n"))
                        break
                    }
                    if let bytes = look.bytes {
                        try await writer.write(bytes)
                        continue
                    }
                    let cause = await bell.wait(seconds: follows ? Gateway.keepAlive : EventFeed.glanceSeconds)
                    guard ServerSentEvent.heard(cause, by: &feed), follows || !cause.isEmpty else { break }
                    if cause.isEmpty { try await writer.write(ByteBuffer(string: ": still here\n\n")) }
                }
                try await writer.finish(nil)
            })
    }

    func logs(_ request: Request, _ key: JobKey) async throws -> Response {
        let (record, _, _) = try await queue.store.job(key)
        let attempt = try integer(request, "attempt", 1...1_000_000) ?? record.state.attempt
        guard attempt <= record.state.attempt else {
            throw GatewayError(404, "not_found", "The job has had \(record.state.attempt) attempts.")
        }
        let stream = try request.uri.queryParameters["stream"].map { text in
            guard let stream = LogChunk.Stream(rawValue: String(text)) else {
                throw GatewayError(400, "invalid_query", "'stream' is stdout, stderr, event or answer.")
            }
            return stream
        }
        var headers = HTTPFields()
        headers[.contentType] = "application/octet-stream"
        headers[GatewayHeader.contentTypeOptions] = "nosniff"
        headers[GatewayHeader.contentSecurityPolicy] = "sandbox; default-src 'none'"
        headers[.cacheControl] = "no-store"
        let queue = queue
        // Before the answer begins: a log that cannot be had now is an error, not an empty log.
        var reader = LogReader()
        let first = try await queue.logBytes(key, attempt: attempt, stream: stream, from: &reader)
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody { [reader] writer in
                var (reader, next) = (reader, first)
                while let bytes = next {
                    try await writer.write(ByteBuffer(bytes: bytes))
                    next = try await queue.logBytes(key, attempt: attempt, stream: stream, from: &reader)
                }
                try await writer.finish(nil)
            })
    }

    func output(_ request: Request, _ key: JobKey) async throws -> Response {
        let path = try Gateway.rest(of: request, after: 3)
        let (_, result, _) = try await queue.store.job(key)
        guard let output = result.outputs.first(where: { $0.path == path }), let digest = CargoArtifact.Digest(hex: output.sha256)
        else {
            throw GatewayError(
                404, "not_found", "The job has no output '\(path.prefix(200))'; GET /jobs/{id}/outputs lists them.")
        }
        var headers = HTTPFields()
        headers[.contentType] = "application/octet-stream"
        headers[.contentDisposition] = Gateway.attachment(path)
        headers[GatewayHeader.contentTypeOptions] = "nosniff"
        headers[GatewayHeader.contentSecurityPolicy] = "sandbox; default-src 'none'"
        headers[.cacheControl] = "no-store"
        guard let response = try await answer(digest, to: request, headers: headers) else {
            throw GatewayError(410, "gone", "This output is no longer kept.")
        }
        return response
    }

    /// The path of a file behind the first `count` parts of the request's path, percent-decoded once and checked.
    static func rest(of request: Request, after count: Int) throws -> String {
        let parts = request.uri.path.split(separator: "/", omittingEmptySubsequences: false).dropFirst(count + 1)
        let path = PercentDecoding.decode(parts.joined(separator: "/")) ?? ""
        guard RelativePath.isValid(path) else {
            throw GatewayError(422, "invalid_path", "A path of a file is relative, without empty parts and without '..'.")
        }
        return path
    }

    /// A browser must save it, never show it (docs/rules.md 25); the name is reduced to what needs no quoting.
    static func attachment(_ path: String) -> String {
        let name = path.split(separator: "/").last.map(String.init) ?? "output"
        let safe = String(
            name.unicodeScalars.map { scalar in
                switch scalar.value {
                case 48...57, 65...90, 97...122, 45, 46, 95: Character(scalar)
                default: "_"
                }
            })
        return "attachment; filename=\"\(safe)\""
    }
}

/// One event in the text form of the HTML standard, section 9.2.
enum ServerSentEvent {
    /// A reader's place after a look, and what goes out.
    struct Look: Sendable {
        var feed: Boxed<EventFeed>
        /// Nil: nothing now.
        var bytes: ByteBuffer?
        var isOver = false
    }

    @concurrent
    static func look(_ feed: Boxed<EventFeed>) async throws -> Look {
        var own = feed.wrappedValue
        switch try await own.look() {
        case .events(let events):
            var buffer = ByteBuffer()
            for event in events { try write(event, into: &buffer) }
            return Look(feed: Boxed(wrappedValue: own), bytes: buffer)
        case .nothing: return Look(feed: Boxed(wrappedValue: own))
        case .over: return Look(feed: Boxed(wrappedValue: own), isOver: true)
        }
    }

    @inline(never)
    static func heard(_ cause: RingCause, by feed: inout Boxed<EventFeed>) -> Bool { feed.wrappedValue.heard(cause) }

    static func write(_ event: FeedEvent, into buffer: inout ByteBuffer) throws {
        let (name, data): (String, Data)
        switch event.event {
        case .status(let status): (name, data) = ("status", try Answer.encoder.encode(status))
        case .log(let chunk): (name, data) = ("log", try Answer.encoder.encode(chunk))
        case .output(let output): (name, data) = ("output", Data(output.line.utf8))
        case .progress(let value): (name, data) = ("progress", try Answer.encoder.encode(value))
        }
        buffer.writeString("id: \(event.cursor)\nevent: \(name)\ndata: ")
        buffer.writeBytes(data)  // JSON has no line breaks of its own.
        buffer.writeString("\n\n")
    }
}

/// Percent-decoding of RFC 3986, section 2.1, exactly once.
enum PercentDecoding {
    /// Nil when an escape is broken or the result is not UTF-8.
    static func decode(_ text: String) -> String? {
        var bytes: [UInt8] = []
        var input = text.utf8.makeIterator()
        while let byte = input.next() {
            guard byte == 37 else {
                bytes.append(byte)
                continue
            }
            guard let high = input.next().flatMap(digit), let low = input.next().flatMap(digit) else { return nil }
            bytes.append(high << 4 | low)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 48...57: byte - 48
        case 65...70: byte - 55
        case 97...102: byte - 87
        default: nil
        }
    }
}
