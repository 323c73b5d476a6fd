import CargoWire
import Hummingbird
import Logging
import NIOCore
import ServiceLifecycle
import Synchronization
import Testing

@testable import CargoClient

/// A reader over a server that hangs up wherever it likes.
@Suite struct EventStreamTests {
    /// Serves the bytes of one event stream; each connection gets at most `cut` bytes and starts after `Last-Event-ID`.
    private static func events(lines: Int) -> [(id: EventCursor, text: String)] {
        var events: [(EventCursor, String)] = []
        var offset: Int64 = 0
        for number in 1...lines {
            let line = "\(number)\\n"
            let length = Int64("\(number)\n".utf8.count)
            let cursor = EventCursor(attempt: 1, offset: offset + length, sequence: 1)
            events.append(
                (cursor, "id: \(cursor)\nevent: log\ndata: {\"stream\":\"stdout\",\"offset\":\(offset),\"data\":\"\(line)\"}\n\n")
            )
            offset += length
        }
        let last = EventCursor(attempt: 1, offset: offset, sequence: 2)
        events.append(
            (
                last,
                "id: \(last)\nevent: status\ndata: {\"status\":\"complete\",\"attempt\":1,\"at\":\"2026-01-01T00:00:00Z\"}\n\n"
            ))
        return events
    }

    @Test func `a stream that breaks again and again is read whole, in order, each byte once`() async throws {
        let events = Self.events(lines: 2000)
        let connections = Mutex(0)
        let router = Router()
        router.get("/jobs/{id}/events") { request, _ -> Response in
            let count = connections.withLock { count in
                count += 1
                return count
            }
            let after = request.headers[.init("Last-Event-ID")!].flatMap { EventCursor($0) } ?? .start
            let rest = events.filter { $0.id.offset > after.offset || $0.id.sequence > max(1, after.sequence) }.map(\.text)
                .joined()
            // Each connection ends somewhere else, mostly in the middle of an event.
            let cut = String(rest.prefix(3001 + 977 * (count % 7)))
            return Response(
                status: .ok, headers: [.contentType: "text/event-stream"],
                body: .init(byteBuffer: ByteBuffer(string: cut)))
        }
        try await serving(router) { client in
            var text = ""
            var final: JobStatus?
            let stream = EventStream(
                transport: client.transport, job: "x", cursor: .start, follow: true, patience: .seconds(30), onReconnect: nil,
                firstWait: .milliseconds(1))
            for try await element in stream {
                switch element.event {
                case .log(let chunk): text += chunk.data ?? ""
                case .status(let status): final = status.status
                case .output, .progress: break
                }
            }
            #expect(text == (1...2000).map { "\($0)\n" }.joined())
            #expect(final == .complete)
            #expect(connections.withLock { $0 } > 10)
        }
    }

    @Test func `a job that does not exist is an error at once`() async throws {
        try await serving(Router()) { client in
            await #expect(throws: ClientError.self) { for try await _ in client.events(of: "none") {} }
        }
    }

    @Test func `a server that never answers again is given up after the patience`() async throws {
        let router = Router()
        router.get("/jobs/{id}/events") { _, _ in
            Response(
                status: .ok, headers: [.contentType: "text/event-stream"], body: .init(byteBuffer: ByteBuffer(string: ": \n\n")))
        }
        try await serving(router) { client in
            let stream = EventStream(
                transport: client.transport, job: "x", cursor: .start, follow: true, patience: .milliseconds(50),
                onReconnect: nil, firstWait: .milliseconds(1))
            await #expect(throws: ClientError.self) { for try await _ in stream {} }
        }
    }
}

/// Runs `body` with a client of a server with these routes, on a free port of loopback.
func serving(
    _ router: Router<BasicRequestContext>, _ body: @Sendable (CoordinatorClient) async throws -> Void
) async throws {
    let (ports, announce) = AsyncStream.makeStream(of: Int.self)
    let application = Application(
        router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)),
        onServerRunning: { announce.yield($0.localAddress?.port ?? 0) })
    let services = ServiceGroup(
        configuration: .init(services: [application], gracefulShutdownSignals: [], logger: Logger(label: "server")))
    async let served: Void = services.run()
    var iterator = ports.makeAsyncIterator()
    let port = try #require(await iterator.next())
    let client = try CoordinatorClient(url: "http://127.0.0.1:\(port)", token: "test")
    do { try await body(client) } catch { Issue.record(error) }
    await client.shutdown()
    // A server that is cancelled instead traps in NIO's debug build when it was just writing.
    await services.triggerGracefulShutdown()
    try? await served
}
