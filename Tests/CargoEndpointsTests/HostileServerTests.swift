import CargoEndpoints
import CargoWire
import Testing

/// A server that means ill costs its timeout and no more.
@Suite struct HostileServerTests {
    private func bounds() -> ServerBounds {
        var bounds = ServerBounds()
        bounds.firstByte = .milliseconds(300)
        bounds.idle = .milliseconds(300)
        bounds.whole = .seconds(2)
        bounds.body = 1 << 20
        bounds.event = 1 << 16
        return bounds
    }

    private func outcome(
        of answer: @escaping @Sendable (ScriptedServer.Exchange) async throws -> Void, stream: Bool
    ) async throws -> (failure: ModelFailure?, time: Duration) {
        try await ScriptedServer.run(answer) { port in
            let server = ModelServer(.tcp(host: "127.0.0.1", port: port), bounds: bounds())
            let start = ContinuousClock.now
            let failure = await failure { try await server.ask(chat(stream: stream), into: Answer()) }
            return (failure, ContinuousClock.now - start)
        }
    }

    /// Writes for ever, until the other side has enough.
    private static func flood(_ exchange: ScriptedServer.Exchange, _ bytes: [UInt8]) async throws {
        while true { try await exchange.write(bytes) }
    }

    private static let forever = Duration.seconds(600)

    @Test(arguments: [true, false])
    func oneThatNeverAnswersTimesOut(stream: Bool) async throws {
        let (failure, time) = try await outcome(
            of: { _ in try await Task.sleep(for: HostileServerTests.forever) }, stream: stream)
        #expect(failure?.code == .timedOut)
        #expect(time < .seconds(5))
    }

    @Test func oneWhoseHeadDripsTimesOut() async throws {
        let (failure, time) = try await outcome(
            of: { exchange in
                try await exchange.write("HTTP/1.1 200 OK\r\n")
                while true {
                    try await exchange.write("a: b\r\n")
                    try await Task.sleep(for: .milliseconds(50))
                }
            }, stream: false)
        #expect(failure?.code == .timedOut)
        #expect(time < .seconds(5))
    }

    @Test func oneWhoseBodyDripsForEverIsEndedByTheWholeTime() async throws {
        let (failure, time) = try await outcome(
            of: { exchange in
                try await exchange.begin(type: "text/event-stream")
                while true {
                    try await exchange.chunk(Array(": still here\n\n".utf8))
                    try await Task.sleep(for: .milliseconds(50))
                }
            }, stream: true)
        #expect(failure?.code == .timedOut)
        #expect(time < .seconds(10))
    }

    @Test func oneThatFallsSilentInTheMiddleTimesOut() async throws {
        let (failure, time) = try await outcome(
            of: { exchange in
                try await exchange.begin(type: "text/event-stream")
                try await exchange.chunk(Array("data: {\"choices\":[]}\n\n".utf8))
                try await Task.sleep(for: HostileServerTests.forever)
            }, stream: true)
        #expect(failure?.code == .timedOut)
        #expect(time < .seconds(5))
    }

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\nX-Large: ",
        "HTTP/1.1 200 ",
        "",
    ])
    func anEndlessHeadIsRefused(start: String) async throws {
        let block = [UInt8](repeating: UInt8(ascii: "A"), count: 64 << 10)
        let (failure, time) = try await outcome(
            of: { exchange in
                try await exchange.write(start)
                try await HostileServerTests.flood(exchange, block)
            }, stream: false)
        #expect([.badAnswer, .timedOut].contains(failure?.code))
        #expect(time < .seconds(5))
    }

    @Test func endlessManyHeadersAreRefused() async throws {
        let (failure, _) = try await outcome(
            of: { exchange in
                try await exchange.write("HTTP/1.1 200 OK\r\n")
                try await HostileServerTests.flood(exchange, Array(String(repeating: "a: b\r\n", count: 1000).utf8))
            }, stream: false)
        #expect(failure?.code == .badAnswer)
    }

    @Test func aFloodOfBodyIsCutOff() async throws {
        let block = [UInt8](repeating: UInt8(ascii: " "), count: 64 << 10)
        for stream in [true, false] {
            let (failure, _) = try await outcome(
                of: { exchange in
                    try await exchange.begin(type: stream ? "text/event-stream" : "application/json")
                    while true { try await exchange.chunk(block) }
                }, stream: stream)
            #expect(failure?.code == .badAnswer)
        }
    }

    @Test(arguments: [
        "SSH-2.0-OpenSSH_9.2\r\n", "\0\0\0\0", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    ])
    func garbageInsteadOfHTTPIsNamed(text: String) async throws {
        let (failure, _) = try await outcome(of: { try await $0.write(text) }, stream: false)
        #expect(failure?.code == .badAnswer)
    }

    @Test func aPageInsteadOfAnAnswerIsNamed() async throws {
        let (failure, _) = try await outcome(of: { try await $0.answer("<h1>It works!</h1>", type: "text/html") }, stream: true)
        #expect(failure?.code == .badAnswer)
        #expect(failure?.message.contains("text/html") == true)
    }

    @Test func oneThatClosesAtOnceIsUnavailable() async throws {
        let (failure, _) = try await outcome(of: { _ in }, stream: false)
        #expect(failure?.code == .unavailable)
        #expect(failure?.retryable == true)
    }
}
