import Testing

@testable import CargoClient

@Suite struct EventParserTests {
    private func parse(_ text: String, pieces size: Int = .max) throws -> [EventParser.Event] {
        var parser = EventParser()
        var events: [EventParser.Event] = []
        let bytes = Array(text.utf8)
        var at = 0
        while at < bytes.count {
            let end = min(bytes.count, size == .max ? bytes.count : at + size)
            try bytes[at..<end].withUnsafeBytes { try parser.feed($0, into: &events) }
            at = end
        }
        return events
    }

    @Test(arguments: [1, 2, 3, 7, Int.max])
    func `an event is the same however the bytes were cut`(size: Int) throws {
        let text =
            ": hello\n\nid: 1.2.3\nevent: log\ndata: {\"a\":1}\n\nid:1.2.4\r\ndata:x\r\ndata: y\r\n\r\nretry: 5\n\ndata: ä\n\n"
        let events = try parse(text, pieces: size)
        #expect(
            events == [
                .init(id: "1.2.3", name: "log", data: Array("{\"a\":1}".utf8)),
                .init(id: "1.2.4", name: "message", data: Array("x\ny".utf8)),
                .init(id: "1.2.4", name: "message", data: Array("ä".utf8)),
            ])
    }

    @Test func `an event without its empty line is not delivered`() throws {
        #expect(try parse("data: torn\n").isEmpty)
    }

    @Test func `a line beyond the bound is refused`() {
        #expect(throws: ClientError.self) {
            try parse("data: " + String(repeating: "x", count: EventParser.maximumEvent + 1))
        }
    }
}
