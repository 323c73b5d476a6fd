import CargoWire
import Foundation
import Synchronization
import SystemPackage
import TestStage
import Testing

@testable import CargoQueue

/// What several coordinators on one PostgreSQL rely on, while connections, hints and servers are lost.
@Suite(.serialized, .enabled(if: PostgresCluster.programs != nil, "PostgreSQL is not installed"))
struct SharedStoreTests {
    /// Calls between queues of this process, by the names that they advertise.
    private final class Wire: PeerCalls {
        struct Away: Error {}
        private let queues = Mutex<[String: JobQueue]>([:])

        func set(_ name: String, _ queue: JobQueue?) { queues.withLock { $0[name] = queue } }

        @concurrent
        func read(
            _ url: String, header: String, receive: @escaping @Sendable ([UInt8]) async throws -> Void
        ) async throws {
            guard let parts = URLComponents(string: url), let host = parts.host, let queue = queues.withLock({ $0[host] }),
                case let path = parts.path.split(separator: "/"), path.count == 5, let id = JobID(path[2]),
                let attempt = Int(path[4])
            else { throw Away() }
            let query = Dictionary((parts.queryItems ?? []).map { ($0.name, $0.value ?? "") }, uniquingKeysWith: { $1 })
            #expect(queue.peers?.sender(header, method: "GET", target: "\(parts.path)?\(parts.query ?? "")") != nil)
            var served = ServedLog(
                queue, JobKey(account: Int64(query["account"] ?? "") ?? 0, id: id), attempt: attempt,
                base: Int64(query["base"] ?? "") ?? 0, after: Int64(query["after"] ?? "") ?? 0,
                follows: query["follow"] == "true")
            while let bytes = try await served.next() { try await receive(bytes) }
        }

        func post(_ url: String, header: String, body: [UInt8]) async throws -> (status: Int, body: [UInt8]) { throw Away() }
    }

    private func queue(_ name: String, _ database: String, _ folder: TemporaryFolder, _ wire: Wire) async throws -> JobQueue {
        var settings = StoreSettings()
        settings.coordinator = name
        let queue = try await JobQueue(folder: folder.path.appending(name), database: database, settings: settings, calls: wire)
        wire.set(name, queue)
        queue.peers?.advertise("http://\(name)")
        try await queue.share()
        return queue
    }

    private func submitted(_ store: any JobStore, id: JobID? = nil) async throws -> JobKey {
        let job = NewJob(
            id: id, account: 1, tier: 1, priority: 50, maxAttempts: 1, cargo: "acme/x:1.0.0", digest: nil,
            requirement: Requirement(kind: "process", tier: 1), spec: Data("{}".utf8), metadata: nil, files: [:],
            retention: nil, idempotency: nil)
        return try await store.submit(job).job.key
    }

    private let ask = ClaimAsk(host: "host-a", capabilities: HostCapabilities(kinds: ["process"]), claimID: nil)

    /// Hints come by NOTIFY; one that was lost is made up for by looking, about once a second.
    @Test(.timeLimit(.minutes(2))) func aReaderElsewhereNeedsNoHint() async throws {
        let database = try PostgresCluster.shared.get().database()
        let (folder, wire) = (try TemporaryFolder(), Wire())
        let a = try await queue("a", database, folder, wire)
        let b = try await queue("b", database, folder, wire)
        defer {
            a.close()
            b.close()
        }
        let key = try await submitted(a.store)
        let claim = try #require(try await a.claim(ask, wait: 0))
        let rounds = Task {
            while !Task.isCancelled {
                try? await a.share()
                try? await b.share()
                try? await Task.sleep(for: .milliseconds(200))
            }
        }
        defer { rounds.cancel() }
        async let waited = b.job(key, wait: 60)
        let reader = Task {
            var feed = EventFeed(b, key, from: .start)
            defer { feed.close() }
            var text = ""
            while let events = try await feed.next(patience: 60) {
                for case .log(let chunk) in events.map(\.event) { text += chunk.data ?? "" }
            }
            return text
        }
        for number in 0..<5 {
            // Whoever listens is cut off now, and connects again some tenths of a second later.
            try PostgresCluster.shared.get().disconnectAll(database)
            var beat = Heartbeat(lease: claim.lease)
            beat.logs = [LogChunk(stream: .stdout, offset: Int64(number * 2), data: "\(number)\n")]
            #expect(try await a.heartbeat(key.id, beat).durableOffset == Int64(number * 2 + 2))
        }
        try PostgresCluster.shared.get().disconnectAll(database)
        _ = try await a.complete(key.id, Completion(lease: claim.lease, exit: ExitReport(exitCode: 0), outputs: []))
        #expect(try await reader.value == "0\n1\n2\n3\n4\n")
        #expect(try await waited.0.state.status == .complete)
    }

    /// When a connection breaks in the middle of COMMIT nobody knows whether it took effect: the rows tell.
    @Test(.timeLimit(.minutes(3))) func aCommitWhoseAnswerWasLostIsLookedUp() async throws {
        let cluster = try PostgresCluster.shared.get()
        let database = try cluster.database()
        let store = try PostgresJobStore(url: database)
        defer { store.close() }
        let cutting = Mutex(true)
        let cutter = Task.detached {
            while cutting.withLock({ $0 }) { try? cluster.disconnectAll(database) }
        }
        let ids = (0..<300).map { _ in JobID(at: .now()) }
        await withTaskGroup(of: Void.self) { group in
            for worker in 0..<10 {
                group.addTask {
                    // Nobody is told that an id is taken which it took itself.
                    for index in stride(from: worker, to: ids.count, by: 10) {
                        await #expect(throws: Never.self) { _ = try await submitted(store, id: ids[index]) }
                    }
                }
            }
        }
        cutting.withLock { $0 = false }
        _ = await cutter.value
        #expect(try await store.counts().queued == ids.count)
        for id in ids {
            let rows = try await store.transitions(of: JobKey(account: 1, id: id), after: 0, limit: 10)
            #expect(rows.count == 1 && AuditChain.firstBreak(in: rows, of: id) == nil)
        }
    }

    @Test(arguments: [
        ("GET", "/peer/jobs/1/logs/1?account=2", [UInt8](), 0),
        ("POST", "/peer/jobs/1/logs/1?account=1", [], 0),
        ("GET", "/peer/jobs/1/logs/1?account=1", [1], 0),
        ("GET", "/peer/jobs/1/logs/1?account=1", [], 121_000),
        ("GET", "/peer/jobs/1/logs/1?account=1", [], -121_000),
    ])
    func aProofIsGoodForOneRequestOfOneTime(_ method: String, _ target: String, _ body: [UInt8], _ later: Int64) {
        let now = Timestamp(milliseconds: 1_800_000_000_000)
        let proof = PeerProof(secret: "s")
        let header = proof.header(from: "a", method: "GET", target: "/peer/jobs/1/logs/1?account=1", body: [], at: now)
        #expect(proof.sender(header, method: "GET", target: "/peer/jobs/1/logs/1?account=1", body: [], at: now) == "a")
        let then = Timestamp(milliseconds: now.milliseconds + later)
        #expect(proof.sender(header, method: method, target: target, body: body, at: then) == nil)
        #expect(
            PeerProof(secret: "t").sender(header, method: "GET", target: "/peer/jobs/1/logs/1?account=1", body: [], at: now)
                == nil)
    }

    @Test func framesComeOutAsTheyWentInWhereverTheyAreCut() throws {
        var bytes: [UInt8] = []
        for number in 0..<5 {
            try PeerFrame.piece(LogPiece(stream: .stderr, offset: Int64(number), bytes: [UInt8(number), 10])).write(into: &bytes)
            try PeerFrame.idle.write(into: &bytes)
        }
        try PeerFrame.end.write(into: &bytes)
        for size in [1, 2, 13, 14, 1000] {
            var reader = PeerFrame.Reader()
            var frames: [PeerFrame] = []
            for start in stride(from: 0, to: bytes.count, by: size) {
                frames += try reader.frames(bytes[start..<min(start + size, bytes.count)])
            }
            #expect(frames.count == 11)
            let pieces = frames.compactMap { frame -> LogPiece? in
                guard case .piece(let piece) = frame else { return nil }
                return piece
            }
            #expect(pieces.map(\.offset) == [0, 1, 2, 3, 4] && pieces.map(\.bytes.first) == [0, 1, 2, 3, 4])
        }
        var reader = PeerFrame.Reader()
        #expect(throws: PeerFrame.Broken.self) { _ = try reader.frames([255, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0]) }
    }
}
