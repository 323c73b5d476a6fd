import CargoWire
import Foundation
import GRDB
import Synchronization
import SystemPackage
import TestStage
import Testing

@testable import CargoQueue

/// What the rules of jobs and leases say (docs/rules.md, 10 to 18), each caused on purpose, on every store.
@Suite struct RuleTests {
    @Test(arguments: StoreKind.allCases)
    func aCancelSurvivesTheCoordinatorThatTookIt(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        let key = try await bench.submit().job.key
        let claim = try #require(try await bench.claim())
        _ = try await bench.store.cancel(key, actor: "account:1")
        try await bench.restart()
        // The host hears it from whoever it asks, and a host that never asks again ends it too.
        #expect(try await bench.store.renew(key.id, claim.lease))
        try await bench.clocks.advance(seconds: 40, of: bench.store)
        #expect(try await bench.status(key) == .cancelled)
    }

    @Test(arguments: StoreKind.allCases)
    func anAccountThatComesLateTakesTurnsFromThenOn(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        for _ in 0..<30 { _ = try await bench.submit(account: 1) }
        for _ in 0..<20 { _ = try #require(try await bench.claim()) }
        for _ in 0..<10 { _ = try await bench.submit(account: 2) }
        var order: [Int64] = []
        for _ in 0..<10 { order.append(try #require(try await bench.claim()).job.key.account) }
        // Not the twenty turns that it did not ask for.
        #expect((4...6).contains(order.filter { $0 == 2 }.count), "\(order)")
    }

    @Test(arguments: StoreKind.allCases)
    func equalPayloadsCannotBeToldByTheirTrails(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        var commitments: Set<String> = []
        for _ in 0..<3 {
            let key = try await bench.submit().job.key
            let first = try #require(try await bench.store.transitions(of: key, after: 0, limit: 1).first)
            commitments.insert(
                try #require(try JSONDecoder().decode(TransitionDetail.self, from: first.detail).payload))
        }
        #expect(commitments.count == 3)
    }

    @Test(arguments: StoreKind.allCases)
    func whatWaitsForAWebhookStaysUntilItIsTold(_ kind: StoreKind) async throws {
        let bench = try await StoreBench(kind)
        try await bench.restart { $0.retentionSeconds = 100 }
        let outbox = try #require(bench.store as? any WebhookOutbox)
        let job = NewJob(
            id: nil, account: 1, tier: 1, priority: 50, maxAttempts: 1, cargo: "acme/x:1.0.0", digest: nil,
            requirement: Requirement(kind: "process", tier: 1), spec: Data("{}".utf8), metadata: nil, files: [:],
            retention: nil, idempotency: nil, callback: Callback(url: "https://example.com/"))
        let key = try await bench.store.submit(job).job.key
        _ = try await bench.complete(try #require(try await bench.claim()))
        bench.clocks.setWall(forwardBy: 1000)
        #expect(try await bench.store.expire(limit: 10).jobs.isEmpty)
        let message = try #require(try await outbox.takeWebhooks(limit: 1, skipping: [], holdSeconds: 60).first)
        #expect(try await bench.store.expire(limit: 10).jobs.isEmpty)
        try await outbox.settle(
            message, WebhookAttempt(at: bench.clocks.clocks.wall(), answer: 204, milliseconds: 1, problem: nil), .delivered)
        #expect(try await bench.store.expire(limit: 10).jobs.map(\.key) == [key])
    }

    /// A statement that fails may end the whole transaction, with what others had written in it.
    @Test func aBatchWhoseTransactionEndsUnderItFailsWhole() async throws {
        let folder = try TemporaryFolder()
        let database = try SQLiteSchema.open(path: folder.path.appending("jobs.sqlite").string)
        let writer = GroupCommit(database: database)
        defer { writer.stop() }
        try await writer.perform { database, _ in
            try database.execute(
                sql: """
                    CREATE TABLE kept (n INTEGER PRIMARY KEY);
                    CREATE TRIGGER ends BEFORE INSERT ON kept WHEN new.n % 100 = 13 BEGIN SELECT RAISE(ROLLBACK, 'ended'); END;
                    """)
        }
        // Which writes share a batch is the machine's: as often as it takes until one went down with the failing one.
        var fallen = 0
        for round in 0..<100 where fallen == 0 {
            let acknowledged = await withTaskGroup(of: Int?.self) { group in
                for number in (round * 100)..<(round * 100 + 100) {
                    group.addTask {
                        let written: Void? = try? await writer.perform { database, _ in
                            try database.execute(sql: "INSERT INTO kept VALUES (\(number))")
                        }
                        return written == nil ? nil : number
                    }
                }
                return await group.reduce(into: Set<Int>()) { if let number = $1 { $0.insert(number) } }
            }
            let range = (round * 100)..<(round * 100 + 100)
            let kept = try await database.read { database in
                try Set(Int.fetchAll(database, sql: "SELECT n FROM kept WHERE n >= \(range.lowerBound)"))
            }
            #expect(kept == acknowledged && !kept.contains(round * 100 + 13))
            fallen += 99 - acknowledged.count
        }
        #expect(fallen > 0)
    }

    /// The defect of SQLite's WAL up to 3.51.2 needs two connections that write: here one writes, and the others cannot.
    @Test func oneConnectionAloneWrites() async throws {
        let folder = try TemporaryFolder()
        let database = try SQLiteSchema.open(path: folder.path.appending("jobs.sqlite").string)
        await #expect(throws: (any Error).self) {
            try await database.read { try $0.execute(sql: "CREATE TABLE other (n INTEGER)") }
        }
        await #expect(throws: (any Error).self) {
            try await database.unsafeRead { try $0.execute(sql: "CREATE TABLE other (n INTEGER)") }
        }
    }
}
