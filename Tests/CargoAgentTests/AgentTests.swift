import CargoArtifact
import CargoClient
import CargoWire
import FoundationEssentials
import Hummingbird
import Logging
import NIOCore
import ServiceLifecycle
import Synchronization
import SystemPackage
import Testing

@testable import CargoAgent
@testable import CargoRunner

/// An agent before a coordinator that fails on purpose; what the jobs do is scripted.
@Suite struct AgentTests {
    /// Runs a job as a closure.
    struct Script: Execution {
        var body: @Sendable (Journal.Entry, @Sendable (RunEvent) async -> Void) async throws -> RunOutcome

        func run(
            _ claim: Claim, _ entry: Journal.Entry, grace: Double, onEvent: @Sendable (RunEvent) async -> Void
        ) async throws -> RunOutcome {
            try await body(entry, onEvent)
        }

        static func outcome(_ log: [UInt8] = [], exitCode: Int? = 0, signal: Int? = nil) -> RunOutcome {
            RunOutcome(
                exitCode: exitCode, signal: signal, timedOut: false, oomKilled: false, wallSeconds: 0, cpuSeconds: 0,
                maxRSSBytes: 0, outputs: [], logBytes: Int64(log.count), logDigest: Digest(of: log), logTruncated: false,
                limit: nil, missing: [], skipped: [], deniedCalls: [:])
        }

        /// Prints and ends.
        static func printing(_ text: String) -> Script {
            Script { _, onEvent in
                await onEvent(.started)
                await onEvent(.log(.stdout, offset: 0, bytes: Array(text.utf8)))
                return outcome(Array(text.utf8))
            }
        }

        /// Runs until it is stopped, then dies of SIGTERM as most programs do.
        static func untilStopped(_ stopped: Gate) -> Script {
            Script { _, onEvent in
                await onEvent(.started)
                let never = Gate()
                await never.wait()
                stopped.open()
                return outcome(exitCode: nil, signal: 15)
            }
        }
    }

    /// Runs an agent beside `body`; the agent ends when `body` does.
    private func agent(
        _ coordinator: FakeCoordinator, _ script: Script, home: Home = Home(), slots: Int = 1, drain: Duration = .zero,
        before: @Sendable (_ url: String) throws -> Void = { _ in },
        _ body: @escaping @Sendable (_ drain: @escaping @Sendable () async -> Void) async throws -> Void
    ) async throws {
        let (ports, announce) = AsyncStream.makeStream(of: Int.self)
        let server = Application(
            router: coordinator.router, configuration: .init(address: .hostname("127.0.0.1", port: home.port)),
            onServerRunning: { announce.yield($0.localAddress?.port ?? 0) })
        let serving = ServiceGroup(
            configuration: .init(services: [server], gracefulShutdownSignals: [], logger: Logger(label: "server")))
        async let served: Void = serving.run()
        try await withThrowingTaskGroup(of: Void.self) { group in
            var iterator = ports.makeAsyncIterator()
            let port = try #require(await iterator.next())
            home.port = port
            let configuration = AgentConfiguration(
                coordinator: try CoordinatorClient(url: "http://127.0.0.1:\(port)", token: "key", connections: 8), name: "test",
                slots: slots, home: home.path, trust: home.path.appending("trust.json"), drain: drain)
            try before("http://127.0.0.1:\(port)")
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            let services = ServiceGroup(
                configuration: .init(
                    services: [
                        .init(
                            service: Agent(configuration, logger: logger, execution: script),
                            successTerminationBehavior: .gracefullyShutdownGroup)
                    ], gracefulShutdownSignals: [], logger: logger))
            let ended = Gate()
            group.addTask {
                try? await services.run()
                ended.open()
            }
            do {
                try await body {
                    await services.triggerGracefulShutdown()
                    await ended.wait()
                }
            } catch { Issue.record(error) }
            group.cancelAll()
        }
        // The agent is gone; a server that is cancelled instead traps in NIO's debug build when it was just writing.
        await serving.triggerGracefulShutdown()
        try? await served
    }

    @Test(.timeLimit(.minutes(1))) func `a job is claimed, its log and outcome arrive, and nothing of it stays`() async throws {
        let coordinator = FakeCoordinator(claims: [FakeCoordinator.claim()])
        let home = Home()
        try await agent(coordinator, .printing("hello\n"), home: home) { drain in
            await coordinator.wait { $0.contains(where: \.isReport) }
            await drain()
        }
        #expect(coordinator.log == Array("hello\n".utf8))
        guard case .complete(let completion) = coordinator.calls.first(where: \.isReport) else {
            Issue.record("no completion")
            return
        }
        #expect(completion.exit.exitCode == 0 && completion.logBytes == 6 && completion.outcome != nil)
        #expect(home.journal().isEmpty)
    }

    @Test(.timeLimit(.minutes(1))) func `a claim whose answer is lost is asked for again under the same id`() async throws {
        let coordinator = FakeCoordinator(claims: [FakeCoordinator.claim()]) { call, number in
            call.kind == .claim && number == 1 ? .badGateway : nil
        }
        try await agent(coordinator, .printing("x")) { drain in
            await coordinator.wait { $0.contains(where: \.isReport) }
            await drain()
        }
        let ids = coordinator.calls.compactMap { call -> String? in
            if case .claim(let ask) = call { return ask.claimID }
            return nil
        }
        #expect(ids.count >= 2 && ids[0] == ids[1])
        #expect(coordinator.calls.count { $0.kind == .complete } == 1)
    }

    @Test(.timeLimit(.minutes(1))) func `a cancelled job is stopped and its outcome reported`() async throws {
        let coordinator = FakeCoordinator(claims: [FakeCoordinator.claim(seconds: 0.3)], seconds: 0.3)
        let stopped = Gate()
        try await agent(coordinator, .untilStopped(stopped)) { drain in
            await coordinator.wait { $0.contains { $0.kind == .heartbeat } }
            coordinator.cancelJobs()
            await stopped.wait()
            await coordinator.wait { $0.contains(where: \.isReport) }
            await drain()
        }
        guard case .complete(let completion) = coordinator.calls.first(where: \.isReport) else {
            Issue.record("no completion")
            return
        }
        #expect(completion.exit.signal == 15)
    }

    @Test(.timeLimit(.minutes(1))) func `a job whose lease is lost is stopped and never reported`() async throws {
        let coordinator = FakeCoordinator(claims: [FakeCoordinator.claim()]) { call, _ in
            call.kind == .heartbeat ? .conflict : nil
        }
        let home = Home()
        let stopped = Gate()
        try await agent(coordinator, .untilStopped(stopped), home: home) { drain in
            await stopped.wait()
            // The slot is free again: the next claim shows that the attempt is over.
            await coordinator.wait { $0.count { $0.kind == .claim } > 1 }
            await drain()
        }
        #expect(!coordinator.calls.contains { $0.isReport })
        #expect(home.journal().isEmpty)
    }

    @Test(.timeLimit(.minutes(1))) func `a host that hears nothing stops by its own clock before the lease ends`() async throws {
        let coordinator = FakeCoordinator(claims: [FakeCoordinator.claim(seconds: 1)]) { call, _ in
            call.kind == .heartbeat ? .badGateway : nil
        }
        let stopped = Gate()
        let begun = ContinuousClock.now
        try await agent(coordinator, .untilStopped(stopped)) { drain in
            await stopped.wait()
            #expect(ContinuousClock.now - begun < .seconds(1.5))
            await coordinator.wait { $0.count { $0.kind == .claim } > 1 }
            await drain()
        }
        #expect(!coordinator.calls.contains { $0.isReport })
    }

    @Test(.timeLimit(.minutes(1))) func `an outcome is repeated until it is acknowledged, and kept on disk until then`()
        async throws
    {
        let home = Home()
        let kept = Mutex<[Int]>([])
        let coordinator = FakeCoordinator(claims: [FakeCoordinator.claim()]) { call, number in
            guard call.kind == .complete else { return nil }
            kept.withLock { $0.append(home.journal().count) }
            return number < 3 ? .serviceUnavailable : nil
        }
        try await agent(coordinator, .printing("done"), home: home) { drain in
            await coordinator.wait { $0.count { $0.kind == .complete } == 3 }
            await coordinator.wait { $0.count { $0.kind == .claim } > 1 }
            await drain()
        }
        #expect(kept.withLock { $0 } == [1, 1, 1])
        #expect(home.journal().isEmpty)
    }

    @Test(.timeLimit(.minutes(1))) func `an outcome left by an earlier life is reported after the restart, with its log`()
        async throws
    {
        let home = Home()
        // The first life never gets its report through, and ends.
        let deaf = FakeCoordinator(claims: [FakeCoordinator.claim()]) { call, _ in
            call.isReport ? .serviceUnavailable : nil
        }
        try await agent(deaf, .printing("kept\n"), home: home) { drain in
            await deaf.wait { $0.contains { $0.kind == .complete } }
            await drain()
        }
        #expect(home.journal().count == 1)
        let healed = FakeCoordinator()
        try await agent(healed, .printing("unused"), home: home) { drain in
            await healed.wait { $0.contains { $0.kind == .complete } }
            await drain()
        }
        guard case .complete(let completion) = healed.calls.first(where: \.isReport) else {
            Issue.record("no completion")
            return
        }
        #expect(completion.logBytes == 5)
        #expect(home.journal().isEmpty)
    }

    @Test(.timeLimit(.minutes(1))) func `an attempt that died with its agent is handed back at the next start`() async throws {
        let home = Home()
        let coordinator = FakeCoordinator()
        try await agent(
            coordinator, .printing("unused"), home: home,
            before: { url in
                _ = try Journal(root: home.path.appending("agent/jobs")).begin(
                    .init(coordinator: url, job: UUIDv7.make(), lease: FakeCoordinator.claim().lease))
            }
        ) { drain in
            await coordinator.wait { $0.contains(where: \.isReport) }
            await drain()
        }
        guard case .fail(let failure) = coordinator.calls.first(where: \.isReport) else {
            Issue.record("not handed back")
            return
        }
        #expect(failure.error.code == "host_lost" && failure.retryable == true)
        #expect(home.journal().isEmpty)
    }

    @Test(.timeLimit(.minutes(1))) func `a shutdown lets running jobs end`() async throws {
        let coordinator = FakeCoordinator(claims: [FakeCoordinator.claim()])
        let go = Gate()
        let script = Script { _, onEvent in
            await onEvent(.started)
            await go.wait()
            return Script.outcome()
        }
        try await agent(coordinator, script, drain: .seconds(30)) { drain in
            await coordinator.wait { $0.contains { $0.kind == .heartbeat } }
            async let drained: Void = drain()
            go.open()
            await drained
        }
        #expect(coordinator.calls.contains { $0.kind == .complete })
    }

    @Test(.timeLimit(.minutes(1))) func `a job that outlasts the drain goes back to the queue`() async throws {
        let coordinator = FakeCoordinator(claims: [FakeCoordinator.claim()])
        let stopped = Gate()
        try await agent(coordinator, .untilStopped(stopped), drain: .milliseconds(1)) { drain in
            await coordinator.wait { $0.contains { $0.kind == .heartbeat } }
            await drain()
        }
        guard case .fail(let failure) = coordinator.calls.first(where: \.isReport) else {
            Issue.record("not handed back")
            return
        }
        #expect(stopped.isOpen && failure.error.code == "host_lost")
    }

    @Test(.timeLimit(.minutes(1))) func `a log that nobody takes holds the job up instead of filling memory`() async throws {
        let release = Gate()
        let coordinator = FakeCoordinator(claims: [FakeCoordinator.claim()]) { call, _ in
            if call.kind == .heartbeat { await release.wait() }
            return nil
        }
        let written = Mutex(0)
        let piece = [UInt8](repeating: 7, count: 65_536)
        let script = Script { _, onEvent in
            for number in 0..<128 {
                await onEvent(.log(.stdout, offset: Int64(number * piece.count), bytes: piece))
                written.withLock { $0 += piece.count }
            }
            return Script.outcome([UInt8](repeating: 7, count: 128 * piece.count))
        }
        try await agent(coordinator, script) { drain in
            await coordinator.wait { $0.contains { $0.kind == .heartbeat } }
            release.open()
            await coordinator.wait { $0.contains { $0.kind == .complete } }
            await drain()
        }
        #expect(coordinator.log.count == 128 * piece.count)
        let largest = coordinator.calls.map { call -> Int in
            guard case .heartbeat(let heartbeat) = call else { return 0 }
            return (heartbeat.logs ?? []).reduce(0) { $0 + $1.bytes.count }
        }.max()
        #expect((largest ?? 0) <= LogOutbox.maximumBatch)
    }
}

/// An agent's home of one test; it keeps its coordinator's port over restarts.
final class Home: Sendable {
    let path = FilePath("/tmp/longshore-agent-\(UUID().uuidString)")
    private let portNumber = Mutex(0)

    var port: Int {
        get { portNumber.withLock { $0 } }
        set { portNumber.withLock { $0 = newValue } }
    }

    init() { try? FileManager.default.createDirectory(atPath: path.string, withIntermediateDirectories: true) }

    deinit { try? FileManager.default.removeItem(atPath: path.string) }

    func journal() -> [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: path.appending("agent/jobs").string)) ?? []
    }
}
