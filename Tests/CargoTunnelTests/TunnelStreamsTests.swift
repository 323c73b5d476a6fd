import CargoTunnel
import Testing

@Suite struct TunnelStreamsTests {
    @Test func everyFrameReadsBackAsItWasWritten() throws {
        let frames: [TunnelFrame] = [
            .open(stream: 1, [1, 2]), .head(stream: 2, []), .data(stream: 0xFFFF_FFFF, [0]), .end(stream: 3, [9]),
            .reset(stream: 4, Array("x".utf8)), .window(stream: 5, credit: 0x0102_0304), .goAway,
        ]
        for frame in frames { #expect(try TunnelFrame(frame.bytes) == frame) }
    }

    @Test func whatIsNoFrameIsRefused() {
        let wrong: [[UInt8]] = [
            [], [1], [1, 0, 0, 0], [0, 0, 0, 0, 1], [8, 0, 0, 0, 1], [3, 0, 0, 0, 0], [6, 0, 0, 0, 1, 0, 0, 0], [7, 0, 0, 0, 1],
            [7, 0, 0, 0, 0, 1], [3, 0, 0, 0, 1] + Array(repeating: 0, count: TunnelFrame.largest),
        ]
        for bytes in wrong { #expect(throws: TunnelFrame.Malformed.self) { _ = try TunnelFrame(bytes) } }
    }

    @Test func oneSideOpensOddStreamsAndTheOtherEvenOnes() throws {
        var (host, coordinator) = (TunnelStreams(.host), TunnelStreams(.coordinator))
        let opened = [host.open(), host.open(), coordinator.open()]
        #expect(opened == [1, 3, 2])
        #expect(try coordinator.receive(.open(stream: 1, [])) == .opened(1, []))
        #expect(throws: TunnelStreams.Violation.wrongStream) { _ = try coordinator.receive(.open(stream: 4, [])) }
        #expect(throws: TunnelStreams.Violation.wrongStream) { _ = try coordinator.receive(.open(stream: 1, [])) }
        #expect(throws: TunnelStreams.Violation.wrongStream) { _ = try coordinator.receive(.data(stream: 5, [])) }
    }

    @Test func aWindowBoundsWhatIsUnderWay() throws {
        var (host, coordinator) = (TunnelStreams(.host), TunnelStreams(.coordinator))
        let own = host.open()
        let stream = try #require(own)
        _ = try coordinator.receive(.open(stream: stream, []))
        let taken = [host.mayWrite(stream, .max), host.mayWrite(stream, 1)]
        #expect(taken == [TunnelStreams.window, 0])
        let all = Array(repeating: UInt8(0), count: TunnelStreams.window)
        _ = try coordinator.receive(.data(stream: stream, all))
        #expect(throws: TunnelStreams.Violation.overWindow) { _ = try coordinator.receive(.data(stream: stream, [0])) }
        let little = coordinator.used(stream, 10)
        #expect(little == nil)
        let rest = coordinator.used(stream, TunnelStreams.window - 10)
        let credit = try #require(rest)
        #expect(Int(credit) == TunnelStreams.window)
        #expect(try host.receive(.window(stream: stream, credit: credit)) == .room(stream))
        let more = host.mayWrite(stream, 5)
        #expect(more == 5)
        #expect(throws: TunnelStreams.Violation.overWindow) { _ = try host.receive(.window(stream: stream, credit: 6)) }
    }

    @Test func aStreamIsForgottenOnceBothSidesHaveEnded() throws {
        var (host, coordinator) = (TunnelStreams(.host), TunnelStreams(.coordinator))
        let own = host.open()
        let stream = try #require(own)
        _ = try coordinator.receive(.open(stream: stream, []))
        let ends = [host.end(stream), host.end(stream)]
        #expect(ends == [true, false])
        #expect(try coordinator.receive(.end(stream: stream, [])) == .ended(stream, []))
        #expect(throws: TunnelStreams.Violation.afterEnd) { _ = try coordinator.receive(.data(stream: stream, [])) }
        let last = coordinator.end(stream)
        #expect(last)
        #expect(try host.receive(.end(stream: stream, [])) == .ended(stream, []))
        #expect(host.count == 0 && coordinator.count == 0)
        // What crossed with the end is no violation.
        #expect(try host.receive(.window(stream: stream, credit: 1)) == nil)
        #expect(try coordinator.receive(.reset(stream: stream, [])) == nil)
    }

    @Test func aPeerThatOpensTooManyStreamsIsRefused() throws {
        var coordinator = TunnelStreams(.coordinator)
        for number in 0..<TunnelStreams.mostStreams { _ = try coordinator.receive(.open(stream: UInt32(number * 2 + 1), [])) }
        let next = UInt32(TunnelStreams.mostStreams * 2 + 1)
        #expect(throws: TunnelStreams.Violation.tooManyStreams) { _ = try coordinator.receive(.open(stream: next, [])) }
        let isReset = coordinator.reset(1)
        #expect(isReset)
        #expect(try coordinator.receive(.open(stream: next, [])) == .opened(next, []))
    }

    @Test func whoGoesAwayGetsNoNewStreams() throws {
        var host = TunnelStreams(.host)
        #expect(try host.receive(.goAway) == .goingAway)
        let refused = host.open()
        #expect(refused == nil)
    }

    @Test func randomFramesNeverBreakTheBounds() throws {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<200 {
            var streams = TunnelStreams(.coordinator)
            _ = streams.open()
            for _ in 0..<200 {
                var bytes = [UInt8.random(in: 1...7, using: &random), 0, 0, 0, UInt8.random(in: 0...9, using: &random)]
                bytes += (0..<Int.random(in: 0...5, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
                guard let frame = try? TunnelFrame(bytes) else { continue }
                guard (try? streams.receive(frame)) != nil else { break }
                #expect(streams.count <= TunnelStreams.mostStreams + 1)
            }
        }
    }
}
