import CargoArtifact
import Testing

@testable import CargoRunner

/// What a cargo with `interface: stdio-jsonl` says becomes events, and nothing that it says is lost.
@Suite struct EventLinesTests {
    private func parts(_ text: String, cut size: Int = .max) -> (parts: [EventLines.Part], lines: EventLines) {
        var lines = EventLines()
        var parts: [EventLines.Part] = []
        let bytes = Array(text.utf8)
        for start in stride(from: 0, to: bytes.count, by: min(size, bytes.count)) {
            parts += lines.take(Array(bytes[start..<min(bytes.count, start + min(size, bytes.count))]))
        }
        return (parts + lines.finish(), lines)
    }

    private func event(_ text: String) -> EventLines.Part { .event(Array((text + "\n").utf8)) }

    @Test(arguments: [1, 2, 3, 7, 1000])
    func `each of the six types becomes an event, wherever its bytes are cut`(size: Int) {
        let said = """
            {"type":"status","message":"loading"}
            {"content":"Grüße 🌊","type":"token"}

            {"type":"progress","step":1,"total":4,"phase":"paint"}
            {"type":"done","usage":{"prompt_tokens":1}}
            {"type":"error","message":"no"}
            """
        let (parts, lines) = parts(said, cut: size)
        #expect(
            parts == [
                event(#"{"message":"loading","type":"status"}"#), event(#"{"content":"Grüße 🌊","type":"token"}"#),
                event(#"{"phase":"paint","step":1,"total":4,"type":"progress"}"#),
                event(#"{"type":"done","usage":{"prompt_tokens":1}}"#), event(#"{"message":"no","type":"error"}"#),
            ])
        #expect(lines.malformed == 0)
        #expect(lines.failure == "no")
    }

    @Test(arguments: [
        "hello", "[1]", #"{"type":"unknown"}"#, #"{"type":"token"}"#, #"{"type":"token","content":5}"#,
        #"{"type":"progress","step":1}"#, #"{"type":"image","data":"%%%"}"#, #"{"type":"image","data":"aGk=","format":"../x"}"#,
        #"{"type":"error"}"#, #"{"type":"token","type":"done","content":"x"}"#,
    ])
    func `a line that is no event stays log, and is reported`(line: String) {
        let (parts, lines) = parts(line + "\n")
        #expect(parts.count == 2)
        #expect(parts.first == .log(Array((line + "\n").utf8)))
        guard case .event(let report)? = parts.last else { return #expect(Bool(false)) }
        #expect(String(decoding: report, as: UTF8.self).contains(#""type":"malformed""#))
        #expect(lines.malformed == 1)
    }

    @Test func `a flood of malformed lines is kept as log and reported a bounded number of times`() {
        let (parts, lines) = parts(String(repeating: "no json\n", count: 1000))
        let reports = parts.filter { if case .event = $0 { true } else { false } }
        #expect(lines.malformed == 1000)
        #expect(reports.count == EventLines.mostReports)
        #expect(parts.count - reports.count == 1000)
    }

    @Test func `a line without end is passed on as log without being held, and the next line counts again`() {
        var lines = EventLines()
        let piece = [UInt8](repeating: UInt8(ascii: "x"), count: 1 << 20)
        var logged = 0
        for _ in 0..<20 {
            for part in lines.take(piece) { if case .log(let bytes) = part { logged += bytes.count } }
        }
        #expect(logged >= EventLines.longestLine)
        for part in lines.take(Array("\n".utf8)) { if case .log(let bytes) = part { logged += bytes.count } }
        #expect(logged == 20 << 20 | 1)
        #expect(lines.take(Array("{\"type\":\"done\"}\n".utf8)) == [event(#"{"type":"done"}"#)])
        #expect(lines.malformed == 1)
    }

    @Test func `an event that is too large for the stream is log`() {
        let (parts, _) = parts(#"{"type":"token","content":""# + String(repeating: "x", count: 70_000) + "\"}\n")
        guard case .log? = parts.first else { return #expect(Bool(false)) }
    }

    @Test func `an image leaves the stream and its event names the file`() throws {
        let (parts, lines) = parts(#"{"type":"image","data":"aGVsbG8=","format":"PNG","width":2,"height":1}"# + "\n")
        let digest = Digest(of: Array("hello".utf8))
        #expect(lines.images == [EventLines.Image(path: "image-1.png", bytes: Array("hello".utf8), digest: digest)])
        #expect(
            parts == [
                event(
                    #"{"format":"png","height":1,"path":"image-1.png","sha256":"\#(digest.hex)","size":5,"type":"image","width":2}"#
                )
            ])
    }

    @Test func `images are bounded in number`() {
        let (parts, lines) = parts(String(repeating: #"{"type":"image","data":"aGk="}"# + "\n", count: EventLines.mostImages + 1))
        #expect(lines.images.count == EventLines.mostImages)
        #expect(lines.malformed == 1)
        #expect(parts.contains(.log(Array((#"{"type":"image","data":"aGk="}"# + "\n").utf8))))
    }

    @Test func `the log counts events and log lines in one account, and drops no half of an event`() {
        var log = JobLog(limits: LogLimits(total: 40), interface: .stdioJSONL, now: 0)
        let taken = log.take(
            .stdout, Array("{\"type\":\"done\"}\n{\"type\":\"status\",\"message\":\"a long message\"}\n".utf8), now: 0)
        #expect(taken.events.count == 1)
        #expect(log.bytes == 16)
        #expect(log.isTruncated)
    }

    @Test func `standard error of such a cargo is log as ever`() {
        var log = JobLog(limits: LogLimits(), interface: .stdioJSONL, now: 0)
        guard case .log(.stderr, 0, let bytes)? = log.take(.stderr, Array("{\"type\":\"done\"}\n".utf8), now: 0).events.first
        else {
            return #expect(Bool(false))
        }
        #expect(bytes.count == 16)
    }
}
