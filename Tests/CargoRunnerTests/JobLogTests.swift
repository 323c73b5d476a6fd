import Testing

@testable import CargoRunner

@Suite struct JobLogTests {
    private func texts(_ events: [RunEvent]) -> [[UInt8]] {
        events.compactMap { if case .log(_, _, let bytes) = $0 { bytes } else { nil } }
    }

    private func said(_ log: inout JobLog, _ text: String, _ stream: RunEvent.Stream = .stdout) -> String {
        String(decoding: texts(log.take(stream, Array(text.utf8), now: 0).events).joined(), as: UTF8.self)
    }

    @Test func `a line past its bound is split and marked, and counted, wherever its pieces end`() {
        let line = String(repeating: "x", count: 700)
        for size in [1, 7, 255, 256, 257, 700] {
            var log = JobLog(limits: LogLimits(line: 256), now: 0)
            var all = ""
            var rest = Substring(line + "\nend\n")
            while !rest.isEmpty {
                all += said(&log, String(rest.prefix(size)))
                rest = rest.dropFirst(size)
            }
            let part = String(repeating: "x", count: 256)
            #expect(
                all == "\(part) [line split]\n\(part) [line split]\n" + String(repeating: "x", count: 188) + "\nend\n", "\(size)")
            #expect(log.linesSplit == 2)
            #expect(log.bytes == Int64(all.utf8.count))
        }
    }

    @Test func `a line that exactly fills its bound is whole`() {
        var log = JobLog(limits: LogLimits(line: 256), now: 0)
        let line = String(repeating: "x", count: 256)
        #expect(said(&log, line) == line)
        #expect(said(&log, "\n" + line + "\n") == "\n" + line + "\n")
        #expect(log.linesSplit == 0)
    }

    @Test func `each stream has lines of its own`() {
        var log = JobLog(limits: LogLimits(line: 256), now: 0)
        let half = String(repeating: "x", count: 200)
        #expect(said(&log, half, .stdout) == half)
        #expect(said(&log, half, .stderr) == half)
        #expect(log.linesSplit == 0)
    }

    @Test func `events hold 64 KiB at most, with their marks`() {
        var log = JobLog(limits: LogLimits(line: 256), now: 0)
        let events = log.take(.stdout, [UInt8](repeating: 120, count: 65536), now: 0).events
        #expect(texts(events).map(\.count).max() == 65536)
        #expect(events.count == 2)
        var offset: Int64 = 0
        for case .log(_, let at, let bytes) in events {
            #expect(at == offset)
            offset += Int64(bytes.count)
        }
    }

    @Test func `what is past the total is dropped, and its rate still counts`() {
        var log = JobLog(limits: LogLimits(total: 10, rate: 1 << 20, burst: 1 << 20), now: 0)
        #expect(said(&log, "0123456789abc") == "0123456789")
        #expect(log.isTruncated)
        let flood = log.take(.stdout, [UInt8](repeating: 0, count: 3 << 20), now: 0)
        #expect(flood.events.isEmpty)
        #expect(flood.pause > 1.9 && flood.pause < 2.1)
    }

    @Test func `a job that stays below its rate never waits, and one above it waits for exactly what it is ahead`() {
        var rate = LogRate(limits: LogLimits(rate: 1000 * 1024, burst: 100 * 1024), now: 5)
        for second in 0..<100 { #expect(rate.spend(100 * 1024, now: 5 + Double(second) / 10) == 0) }
        #expect(abs(rate.spend(200 * 1024, now: 15) - 0.1) < 1e-9)
        // The clock of a suspended machine may stand still, never go back: an earlier time gives nothing.
        #expect(abs(rate.spend(0, now: 10) - 0.1) < 1e-9)
        #expect(rate.spend(0, now: 1000) == 0)
    }
}
