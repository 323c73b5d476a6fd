import FoundationEssentials
import Synchronization
import Testing

@testable import CargoTunnel

/// Hands one link's frames to another, one batch after the other.
private final class Ferry: TunnelCarrier {
    private let (wake, waker) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))

    func framesWait() { waker.yield() }
    func stop() { waker.finish() }

    func run(from link: TunnelLink, to other: TunnelLink) async throws {
        link.carry(by: self)
        for await _ in wake {
            while let batch = link.takePending() { for bytes in batch { try other.received(bytes) } }
        }
    }
}

/// Two links that hear each other's bytes, in order.
private struct Pair: Sendable {
    let host = TunnelLink(.host)
    let coordinator = TunnelLink(.coordinator)

    func run(_ handler: @escaping TunnelLink.Handler, _ body: @escaping @Sendable () async throws -> Void) async throws {
        let (out, back) = (Ferry(), Ferry())
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await out.run(from: host, to: coordinator) }
            group.addTask { try await back.run(from: coordinator, to: host) }
            group.addTask { await coordinator.serve(handler) }
            group.addTask { await host.serve(handler) }
            group.addTask {
                try await body()
                host.close()
                coordinator.close()
                out.stop()
                back.stop()
            }
            try await group.waitForAll()
        }
    }
}

@Suite struct TunnelLinkTests {
    @Test func manyCallsShareOneConnection() async throws {
        let pair = Pair()
        try await pair.run { opening, stream in
            let body = try await stream.collect(limit: 4 << 20)
            try stream.writeHead(ExchangeHead(status: 200))
            try await stream.write(Array((opening.job ?? "").utf8) + body)
        } _: {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<100 {
                    group.addTask {
                        // Some are larger than a window: they need credit on the way.
                        let body = Array(repeating: UInt8(number), count: number % 10 == 0 ? 1 << 20 : 10)
                        let answer = try await pair.host.exchange(
                            TunnelOpening(.heartbeat, job: "j\(number)"), body, limit: 4 << 20)
                        #expect(answer.status == 200 && answer.body == Array("j\(number)".utf8) + body)
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test func aReaderThatDoesNotReadHoldsUpTheWriter() async throws {
        let pair = Pair()
        let written = Mutex(0)
        try await pair.run { _, stream in
            for _ in 0..<100 {
                try await stream.write(Array(repeating: 0, count: 64 << 10))
                written.withLock { $0 += 64 << 10 }
            }
        } _: {
            let stream = try pair.host.open(TunnelOpening(.echo))
            _ = try await stream.next()
            // A second call has its answer while the first stream stands still.
            _ = try await pair.host.open(TunnelOpening(.echo)).next()
            #expect(written.withLock { $0 } <= 2 * (TunnelStreams.window + (128 << 10)))
            var total = 64 << 10
            while let bytes = try await stream.next() { total += bytes.count }
            #expect(total == 100 * (64 << 10))
        }
    }

    @Test func smallPiecesThatNobodyReadsAreKeptTogether() async throws {
        let pair = Pair()
        let (told, tell) = AsyncStream<Void>.makeStream()
        let pieces = Mutex<[Int]>([])
        try await pair.run { opening, stream in
            guard opening.operation == .heartbeat else { return try stream.writeHead(ExchangeHead(status: 200)) }
            for await _ in told { break }
            while let bytes = try await stream.next() { pieces.withLock { $0.append(bytes.count) } }
            try stream.writeHead(ExchangeHead(status: 200))
        } _: {
            let stream = try pair.host.open(TunnelOpening(.heartbeat))
            for _ in 0..<20_000 { try await stream.write([1]) }
            // Without bytes no window holds them up.
            for _ in 0..<20_000 { try stream.acknowledge() }
            stream.end()
            // Answered when all of that has arrived.
            _ = try await pair.host.exchange(TunnelOpening(.echo), [], limit: 10)
            tell.finish()
            _ = try await stream.head()
        }
        #expect(pieces.withLock { $0.reduce(0, +) } == 20_000)
        #expect(pieces.withLock { $0.count } <= 20)
    }

    @Test func aResetCancelsTheWorkOfTheOtherSide() async throws {
        let pair = Pair()
        let (ended, end) = AsyncStream<Bool>.makeStream()
        try await pair.run { _, stream in
            try stream.writeHead(ExchangeHead(status: 200))
            do {
                try await Task.sleep(for: .seconds(60))
                end.yield(false)
            } catch {
                end.yield(true)
                throw error
            }
        } _: {
            let stream = try pair.host.open(TunnelOpening(.claim))
            #expect(try await stream.head() != nil)
            stream.reset(.cancelled)
            var iterator = ended.makeAsyncIterator()
            #expect(await iterator.next() == true)
        }
    }

    @Test func whoWaitsHearsThatTheConnectionIsLost() async throws {
        let link = TunnelLink(.host)
        let waiting = Task { try await link.exchange(TunnelOpening(.claim), [], limit: 10) }
        while link.takesNew == false { await Task.yield() }
        link.close()
        await #expect(throws: TunnelFault.lost) { try await waiting.value }
        #expect(throws: TunnelFault.lost) { try link.open(TunnelOpening(.claim)) }
    }

    @Test func aSideOpensOnlyWhatIsItsOwn() async throws {
        let pair = Pair()
        try await pair.run { _, stream in
            try stream.writeHead(ExchangeHead(status: 200))
        } _: {
            await #expect(throws: TunnelFault.self) {
                _ = try await pair.host.exchange(TunnelOpening(.answer), [], limit: 10)
            }
            await #expect(throws: TunnelFault.self) {
                _ = try await pair.coordinator.exchange(TunnelOpening(.complete), [], limit: 10)
            }
        }
    }

    @Test func crumbsOfDataCostTheirReaderNoMoreThanTheirBytes() async throws {
        let link = TunnelLink(.coordinator)
        let stream = try link.open(TunnelOpening(.answer))
        // Empty ones use up no window: nothing else bounds them.
        for _ in 0..<20_000 { try link.received(TunnelFrame.data(stream: 2, []).bytes) }
        for _ in 0..<100_000 { try link.received(TunnelFrame.data(stream: 2, [7]).bytes) }
        try link.received(TunnelFrame.end(stream: 2, []).bytes)
        var (pieces, total) = (0, 0)
        while let bytes = try await stream.next() {
            pieces += 1
            total += bytes.count
        }
        #expect(total == 100_000 && pieces < 40, "\(pieces) pieces")
    }

    @Test func streamsThatAreResetAtOnceRunNoMoreHandlersThanThereAreStreams() async throws {
        let link = TunnelLink(.coordinator)
        let running = Mutex((now: 0, most: 0))
        let (gate, opener) = AsyncStream<Void>.makeStream()
        let released = Task { for await _ in gate {} }
        let serving = Task {
            await link.serve { _, _ in
                running.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
                // Work that a cancellation does not stop, as a commit.
                await released.value
                running.withLock { $0.now -= 1 }
            }
        }
        let opening = TunnelLink.word(TunnelOpening(.claim))
        for number in 0..<UInt32(4 * TunnelStreams.mostStreams) {
            try link.received(TunnelFrame.open(stream: number * 2 + 1, opening).bytes)
            try link.received(TunnelFrame.reset(stream: number * 2 + 1, []).bytes)
            await Task.yield()
        }
        while running.withLock({ $0.most }) < TunnelStreams.mostStreams { await Task.yield() }
        // Whoever could begin another has had every chance to.
        for _ in 0..<1000 { await Task.yield() }
        #expect(running.withLock { $0.most } == TunnelStreams.mostStreams)
        opener.finish()
        link.close()
        await serving.value
        #expect(running.withLock { $0.now } == 0)
    }

    @Test func bodiesOfAllStreamsTogetherHaveOneBound() async throws {
        let pair = Pair()
        try await pair.run { _, stream in
            let body = try await stream.collect(limit: 4 << 20)
            try stream.writeHead(ExchangeHead(status: 200))
            try await stream.write(body)
        } _: {
            try pair.coordinator.gather(TunnelLink.mostGathered - 10)
            #expect(try await pair.host.exchange(TunnelOpening(.report), [1, 2, 3], limit: 10).body == [1, 2, 3])
            let large = Array(repeating: UInt8(0), count: 11)
            let fault = await #expect(throws: TunnelFault.self) {
                _ = try await pair.host.exchange(TunnelOpening(.report), large, limit: 100)
            }
            #expect(fault?.code == "overloaded" && fault?.retryable == true)
            // What was gathered before is not counted for ever.
            pair.coordinator.release(TunnelLink.mostGathered - 10)
            try pair.coordinator.gather(TunnelLink.mostGathered)
        }
    }

    @Test func aFaultOfTheHandlerReachesTheCaller() async throws {
        let pair = Pair()
        let fault = TunnelFault(code: "overloaded", message: "No slot.", status: 503, retryable: true)
        try await pair.run { _, _ in
            throw fault
        } _: {
            await #expect(throws: fault) { _ = try await pair.host.exchange(TunnelOpening(.claim), [], limit: 10) }
        }
    }
}
