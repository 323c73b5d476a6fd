import CargoWire
import Testing

@testable import CargoClient

/// What a reconnection repeats is dropped, byte for byte.
@Suite struct EventPositionTests {
    private func log(_ id: String, _ offset: Int64, _ text: String) -> EventParser.Event {
        let json = "{\"stream\":\"stdout\",\"offset\":\(offset),\"data\":\"\(text)\"}"
        return EventParser.Event(id: id, name: "log", data: Array(json.utf8))
    }

    private func text(_ element: EventStream.Element?) -> String? {
        guard case .log(let chunk) = element?.event else { return nil }
        return chunk.data
    }

    @Test func `a chunk that comes again is dropped, one that overlaps is cut`() throws {
        var position = EventPosition(cursor: .start)
        #expect(text(try position.accept(log("1.5.1", 0, "hello"))) == "hello")
        #expect(try position.accept(log("1.5.1", 0, "hello")) == nil)
        #expect(text(try position.accept(log("1.8.1", 3, "lo you"))) == " you")
        #expect(position.cursor == EventCursor(attempt: 1, offset: 8, sequence: 1))
    }

    @Test func `a new attempt begins at its own first byte`() throws {
        var position = EventPosition(cursor: EventCursor(attempt: 1, offset: 100, sequence: 3))
        #expect(text(try position.accept(log("2.3.5", 0, "new"))) == "new")
        #expect(try position.accept(log("1.200.5", 100, "late")) == nil)
    }

    @Test func `a transition comes once`() throws {
        var position = EventPosition(cursor: .start)
        let data = Array("{\"status\":\"queued\",\"attempt\":0,\"at\":\"2026-01-01T00:00:00Z\"}".utf8)
        #expect(try position.accept(.init(id: "0.0.1", name: "status", data: data)) != nil)
        #expect(try position.accept(.init(id: "0.0.1", name: "status", data: data)) == nil)
    }

    @Test func `an event of a name from the future is passed over`() throws {
        var position = EventPosition(cursor: .start)
        #expect(try position.accept(.init(id: "1.1.1", name: "token", data: Array("{}".utf8))) == nil)
    }

    @Test func `bytes that are no text travel in base64 and come back`() {
        let bytes: [UInt8] = [0, 255, 10, 195]
        let chunk = LogChunk(stream: .stderr, offset: 4, bytes: bytes)
        #expect(chunk.data == nil && chunk.bytes == bytes)
        #expect(LogChunk(stream: .stdout, offset: 0, bytes: Array("é".utf8)).data == "é")
    }
}
