import CargoWire
import Foundation
import Logging
import NIOHTTP1
import Synchronization
import Testing

@testable import CargoQueue
@testable import CargoWebhooks

@Suite("From a job's end to its receiver")
struct CourierTests {
    /// A store in a folder of its own whose wall clock the test moves.
    private final class Bench: Sendable {
        let store: SQLiteJobStore
        let wall: Mutex<Timestamp>
        let folder: String

        init() throws {
            folder = NSTemporaryDirectory() + "webhooks-" + UUIDv7.make()
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            wall = Mutex(Timestamp(milliseconds: 1_800_000_000_000))
            let clock = Holder()
            var settings = StoreSettings()
            settings.clocks = Clocks(wall: { clock.bench?.wall.withLock { $0 } ?? Timestamp(milliseconds: 1_800_000_000_000) })
            store = try SQLiteJobStore(path: folder + "/jobs.sqlite", settings: settings)
            clock.bench = self
        }

        deinit {
            store.close()
            try? FileManager.default.removeItem(atPath: folder)
        }

        func pass(_ seconds: Double) { wall.withLock { $0 = $0.advanced(bySeconds: seconds) } }

        /// One job of an account that ends at once.
        func endedJob(callback: Callback?, account: Int64 = 1) async throws -> JobKey {
            let submitted = try await store.submit(
                NewJob(
                    id: nil, account: account, tier: 1, priority: 50, maxAttempts: 1, cargo: "a/b:1.0.0", digest: nil,
                    requirement: Requirement(kind: "process", tier: 1), spec: Data("{}".utf8), metadata: nil, files: [:],
                    retention: nil,
                    idempotency: nil, callback: callback))
            return try await end(submitted.job.key)
        }

        func end(_ key: JobKey) async throws -> JobKey {
            let claim = try #require(try await store.claim(ClaimAsk(host: "h", capabilities: HostCapabilities(), claimID: nil)))
            _ = try await store.report(
                claim.job.key.id, claim.lease, .finished(ExitReport(exitCode: 0), error: nil), AttemptEnd())
            return key
        }

        func courier(_ receiver: Receiver) throws -> Courier {
            let dial = Dial(policy: AddressPolicy(allowed: [try #require(AddressBlock("127.0.0.1"))]))
            var courier = Courier(
                outbox: store, dial: dial, bell: Doorbell(), log: Logger(label: "test"),
                render: { Data(#"{"message_id":"\#($0.job.id)"}"#.utf8) })
            courier.random = { 0.5 }
            courier.clocks = store.settings.clocks
            return courier
        }
    }

    private final class Holder: @unchecked Sendable {
        // @unchecked: written once, before any second thread exists.
        weak var bench: Bench?
    }

    @Test func `a message is in the outbox when and only when its job has ended and asked for it`() async throws {
        let bench = try Bench()
        let quiet = try await bench.endedJob(callback: nil)
        #expect(try await bench.store.webhooks(of: quiet).isEmpty)
        let key = try await bench.endedJob(callback: Callback(url: "http://example.com/"))
        let (webhook, attempts) = try #require(try await bench.store.webhooks(of: key).first)
        #expect(webhook.status == .waiting)
        #expect(attempts.isEmpty)
        #expect(try await bench.store.webhooks(of: JobKey(account: 2, id: key.id)).isEmpty)
    }

    @Test func `a cancelled job is announced too`() async throws {
        let bench = try Bench()
        let submitted = try await bench.store.submit(
            NewJob(
                id: nil, account: 1, tier: 1, priority: 50, maxAttempts: 1, cargo: nil, digest: nil,
                requirement: Requirement(kind: "process", tier: 1), spec: Data("{}".utf8), metadata: nil, files: [:],
                retention: nil,
                idempotency: nil, callback: Callback(url: "http://example.com/")))
        _ = try await bench.store.cancel(submitted.job.key, actor: "account:1")
        #expect(try await bench.store.webhooks(of: submitted.job.key).count == 1)
    }

    @Test func `a failed delivery is tried again in its time under the same id and then logged as delivered`() async throws {
        let bench = try Bench()
        let receiver = try await Receiver { $0 == 1 ? .status(500, []) : .status(200, []) }
        let courier = try bench.courier(receiver)
        let key = try await bench.endedJob(callback: Callback(url: "http://127.0.0.1:\(receiver.port)/"))
        func sendDue() async throws -> Int {
            let due = try await bench.store.takeWebhooks(limit: 8, skipping: [], holdSeconds: 60)
            for webhook in due { await courier.deliver(webhook) }
            return due.count
        }
        #expect(try await sendDue() == 1)
        #expect(try await sendDue() == 0)
        bench.pass(4.9)
        #expect(try await sendDue() == 0)
        bench.pass(0.2)
        #expect(try await sendDue() == 1)
        let (webhook, attempts) = try #require(try await bench.store.webhooks(of: key).first)
        #expect(webhook.status == .delivered)
        #expect(attempts.map(\.answer) == [500, 200])
        #expect(attempts[0].problem == "the receiver answered 500")
        let ids = receiver.deliveries.flatMap { $0.headers["webhook-id"] }
        #expect(ids == ["msg_\(webhook.id)", "msg_\(webhook.id)"])
        let secret = try WebhookSecret(try #require(try await bench.store.webhookSecrets(of: 1, making: "").first))
        for delivery in receiver.deliveries {
            let time = try #require(Int64(delivery.headers["webhook-timestamp"].first ?? ""))
            let expected = WebhookSignature.headers(
                id: ids[0], timestamp: time, body: Data(delivery.body.utf8), secrets: [secret])
            #expect(delivery.headers["webhook-signature"] == [expected[2].value])
        }
        try await receiver.stop()
    }

    @Test func `a sender that died in the middle leaves its message to the next when the hold is over`() async throws {
        let bench = try Bench()
        _ = try await bench.endedJob(callback: Callback(url: "http://127.0.0.1:9/"))
        #expect(try await bench.store.takeWebhooks(limit: 8, skipping: [], holdSeconds: 60).count == 1)
        bench.pass(59)
        #expect(try await bench.store.takeWebhooks(limit: 8, skipping: [], holdSeconds: 60).isEmpty)
        bench.pass(2)
        #expect(try await bench.store.takeWebhooks(limit: 8, skipping: [], holdSeconds: 60).count == 1)
    }

    @Test func `a message to a private address is abandoned, logged, and can be replayed`() async throws {
        let bench = try Bench()
        let receiver = try await Receiver { _ in .status(200, []) }
        let courier = try bench.courier(receiver)
        let key = try await bench.endedJob(callback: Callback(url: "http://10.0.0.1/"))
        for webhook in try await bench.store.takeWebhooks(limit: 8, skipping: [], holdSeconds: 60) {
            await courier.deliver(webhook)
        }
        let (webhook, attempts) = try #require(try await bench.store.webhooks(of: key).first)
        #expect(webhook.status == .abandoned)
        #expect(attempts.first?.problem?.contains("10.0.0.1 is private") == true)
        await #expect(throws: StoreError.notFound) {
            try await bench.store.replay(webhook: webhook.id, of: JobKey(account: 2, id: key.id))
        }
        try await bench.store.replay(webhook: webhook.id, of: key)
        #expect(try await bench.store.takeWebhooks(limit: 8, skipping: [], holdSeconds: 60).map(\.id) == [webhook.id])
        try await receiver.stop()
    }

    @Test func `the old secret signs beside the new one until its time is over`() async throws {
        let bench = try Bench()
        let first = WebhookSecret.make().text
        #expect(try await bench.store.webhookSecrets(of: 1, making: first) == [first])
        #expect(try await bench.store.webhookSecrets(of: 1, making: "other") == [first])
        #expect(try await bench.store.webhookSecrets(of: 2, making: "other") == ["other"])
        try await bench.store.rotateWebhookSecret(of: 1, to: "second", overlapSeconds: 3600)
        #expect(try await bench.store.webhookSecrets(of: 1, making: "") == ["second", first])
        bench.pass(3601)
        #expect(try await bench.store.webhookSecrets(of: 1, making: "") == ["second"])
        try await bench.store.rotateWebhookSecret(of: 1, to: "third", overlapSeconds: 3600)
        #expect(try await bench.store.webhookSecrets(of: 1, making: "") == ["third", "second"])
    }

    @Test func `one account's slow receiver does not hold up another's`() async throws {
        let bench = try Bench()
        let slow = try await Receiver { _ in .silence }
        let quick = try await Receiver { _ in .status(200, []) }
        for _ in 0..<40 { _ = try await bench.endedJob(callback: Callback(url: "http://127.0.0.1:\(slow.port)/"), account: 1) }
        bench.pass(1)
        _ = try await bench.endedJob(callback: Callback(url: "http://127.0.0.1:\(quick.port)/"), account: 2)
        var courier = try bench.courier(slow)
        courier.mostUnderWay = 24
        let running = Task { [courier] in try await courier.run() }
        await quick.waitFor(1)
        #expect(slow.deliveries.count <= 16)
        running.cancel()
        _ = try? await running.value
        try await slow.stop()
        try await quick.stop()
    }
}
