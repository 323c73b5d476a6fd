import Foundation
import NIOHTTP1
import Synchronization
import Testing

@testable import CargoWebhooks

@Suite("Dialling a receiver")
struct DialTests {
    private func loopbackAllowed() throws -> Dial {
        Dial(policy: AddressPolicy(allowed: [try #require(AddressBlock("127.0.0.1"))]))
    }

    @Test func `a message arrives with its headers and its body`() async throws {
        let receiver = try await Receiver { _ in .status(204, []) }
        let result = try await loopbackAllowed().post(
            Data(#"{"a":1}"#.utf8), to: try WebhookURL("http://127.0.0.1:\(receiver.port)/in?x=1"),
            headers: [("webhook-id", "msg_1")])
        #expect(result == .answered(status: 204, retryAfter: nil))
        let delivery = try #require(receiver.deliveries.first)
        #expect(delivery.uri == "/in?x=1")
        #expect(delivery.body == #"{"a":1}"#)
        #expect(delivery.headers["webhook-id"] == ["msg_1"])
        #expect(delivery.headers["content-type"] == ["application/json"])
        try await receiver.stop()
    }

    @Test("Loopback is not even connected to unless the operator allows it", arguments: ["127.0.0.1", "localhost"])
    func loopback(_ host: String) async throws {
        let receiver = try await Receiver { _ in .status(200, []) }
        let result = await Dial().post(Data(), to: try WebhookURL("http://\(host):\(receiver.port)/"), headers: [])
        guard case .refused(let why) = result else {
            Issue.record("not refused: \(result)")
            return
        }
        #expect(why.contains("loopback"))
        #expect(receiver.connections == 0)
        try await receiver.stop()
    }

    @Test func `a name whose answers change is dialled at the address that was checked`() async throws {
        let good = try await Receiver { _ in .status(200, []) }
        let bad = try await Receiver(address: "127.0.0.2", port: good.port) { _ in .status(200, []) }
        let calls = Mutex(0)
        var dial = try loopbackAllowed()
        dial.resolve = { _ in
            let first = calls.withLock { calls in
                calls += 1
                return calls == 1
            }
            return [IPAddress(first ? "127.0.0.1" : "127.0.0.2")].compactMap { $0 }
        }
        let url = try WebhookURL("http://rebind.example:\(good.port)/")
        #expect(await dial.post(Data(), to: url, headers: []) == .answered(status: 200, retryAfter: nil))
        #expect(calls.withLock { $0 } == 1)
        #expect(good.deliveries.first?.headers["host"] == ["rebind.example:\(good.port)"])
        // The next attempt meets the changed answer and judges it anew.
        guard case .refused = await dial.post(Data(), to: url, headers: []) else {
            Issue.record("the changed answer was dialled")
            return
        }
        #expect(bad.connections == 0)
        try await good.stop()
        try await bad.stop()
    }

    @Test func `of mixed answers only the permitted are dialled`() async throws {
        let receiver = try await Receiver { _ in .status(200, []) }
        let bad = try await Receiver(address: "127.0.0.2", port: receiver.port) { _ in .status(200, []) }
        var dial = try loopbackAllowed()
        dial.resolve = { _ in ["127.0.0.2", "::1", "127.0.0.1"].compactMap { IPAddress($0) } }
        let result = await dial.post(Data(), to: try WebhookURL("http://mixed.example:\(receiver.port)/"), headers: [])
        #expect(result == .answered(status: 200, retryAfter: nil))
        #expect(bad.connections == 0)
        try await receiver.stop()
        try await bad.stop()
    }

    @Test("A redirect is an answer, not a way to another address", arguments: [301, 302, 303, 307, 308])
    func redirect(_ status: Int) async throws {
        let secret = try await Receiver(address: "127.0.0.2") { _ in .status(200, []) }
        let port = secret.port
        let receiver = try await Receiver { _ in .status(status, [("Location", "http://127.0.0.2:\(port)/latest/meta-data/")]) }
        let result = try await loopbackAllowed().post(
            Data(), to: try WebhookURL("http://127.0.0.1:\(receiver.port)/"), headers: [])
        #expect(result == .answered(status: status, retryAfter: nil))
        #expect(secret.connections == 0)
        try await receiver.stop()
        try await secret.stop()
    }

    @Test func `a receiver that never answers is left at the limit`() async throws {
        let receiver = try await Receiver { _ in .silence }
        var dial = try loopbackAllowed()
        dial.seconds = 0.2
        let result = await dial.post(Data(), to: try WebhookURL("http://127.0.0.1:\(receiver.port)/"), headers: [])
        guard case .unreachable = result else {
            Issue.record("\(result)")
            return
        }
        try await receiver.stop()
    }

    @Test func `an answer without end is not read`() async throws {
        let receiver = try await Receiver { _ in .endless }
        let result = try await loopbackAllowed().post(
            Data(), to: try WebhookURL("http://127.0.0.1:\(receiver.port)/"), headers: [])
        #expect(result == .answered(status: 200, retryAfter: nil))
        try await receiver.stop()
    }

    @Test func `nobody listening and a name without address are results, not errors`() async throws {
        let receiver = try await Receiver { _ in .silence }
        let port = receiver.port
        try await receiver.stop()
        let closed = try await loopbackAllowed().post(Data(), to: try WebhookURL("http://127.0.0.1:\(port)/"), headers: [])
        guard case .unreachable = closed else {
            Issue.record("\(closed)")
            return
        }
        var dial = Dial()
        dial.resolve = { _ in throw ResolutionFailure(reason: "Name or service not known") }
        let unknown = await dial.post(Data(), to: try WebhookURL("http://nowhere.example/"), headers: [])
        #expect(unknown == .unreachable("nowhere.example has no address: Name or service not known"))
    }
}
