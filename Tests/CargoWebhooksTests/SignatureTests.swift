import CargoArtifact
import Foundation
import Testing

@testable import CargoQueue
@testable import CargoWebhooks

@Suite("Signing and retrying webhooks")
struct SignatureTests {
    /// The vector that the reference libraries of Standard Webhooks are tested with.
    @Test func `the published vector of Standard Webhooks is met`() throws {
        let headers = WebhookSignature.headers(
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp: 1_614_265_330, body: Data(#"{"test": 2432232314}"#.utf8),
            secrets: [try WebhookSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")])
        #expect(headers.map(\.name) == ["webhook-id", "webhook-timestamp", "webhook-signature"])
        #expect(headers.map(\.value)[1...] == ["1614265330", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="])
    }

    @Test func `two secrets sign beside each other while one is rotated`() throws {
        let secrets = [WebhookSecret.make(), WebhookSecret.make()]
        let both = WebhookSignature.headers(id: "m", timestamp: 1, body: Data(), secrets: secrets)[2].value.split(separator: " ")
        let each = secrets.map { WebhookSignature.headers(id: "m", timestamp: 1, body: Data(), secrets: [$0])[2].value }
        #expect(both.map(String.init) == each)
        #expect(each[0] != each[1])
    }

    @Test(
        "A secret is whsec_ and 24 to 64 bytes",
        arguments: ["", "whsec_", "whsec_AAAA", "whsec_!!!!", "sk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    func badSecret(_ text: String) {
        #expect(throws: Refusal.self) { try WebhookSecret(text) }
        #expect((try? WebhookSecret(WebhookSecret.make().text)) != nil)
    }

    private let start = Timestamp(milliseconds: 1_700_000_000_000)

    private func fate(_ result: DeliveryResult, attempts: Int = 0, after seconds: Double = 0, random: Double = 0.5) -> WebhookFate
    {
        RetryPlan().fate(
            after: result, attempts: attempts, since: start, now: start.advanced(bySeconds: seconds), random: random)
    }

    @Test func `each result has its fate`() {
        #expect(fate(.answered(status: 200, retryAfter: nil)) == .delivered)
        #expect(fate(.answered(status: 204, retryAfter: nil)) == .delivered)
        #expect(fate(.answered(status: 410, retryAfter: nil)) == .abandoned)
        #expect(fate(.refused("private")) == .abandoned)
        for result: DeliveryResult in [
            .answered(status: 301, retryAfter: nil), .answered(status: 400, retryAfter: nil),
            .answered(status: 500, retryAfter: 900),
            .unreachable("no route"),
        ] {
            #expect(fate(result) == .again(at: start.advanced(bySeconds: 5)))
        }
        #expect(fate(.answered(status: 429, retryAfter: 900)) == .again(at: start.advanced(bySeconds: 900)))
        #expect(fate(.answered(status: 503, retryAfter: -5)) == .again(at: start.advanced(bySeconds: 5)))
        #expect(fate(.answered(status: 503, retryAfter: .max)) == .again(at: start.advanced(bySeconds: 86400)))
    }

    @Test func `waits grow threefold with jitter to four hours`() {
        func wait(_ attempts: Int, _ random: Double) -> Double {
            guard case .again(let at) = fate(.unreachable(""), attempts: attempts, random: random) else { return -1 }
            return Double(at.milliseconds - start.milliseconds) / 1000
        }
        #expect(wait(1, 0) == 11.25)
        #expect(wait(1, 0.5) == 15)
        #expect(wait(3, 0.5) == 135)
        #expect(wait(100, 0.5) == 14400)
        #expect(wait(.max, 0.999) <= 18000)
    }

    @Test func `a receiver that never comes back is tried for 24 hours and then left`() {
        var random = SystemRandomNumberGenerator()
        var (now, attempts) = (start, 0)
        while case .again(let at) = RetryPlan().fate(
            after: .unreachable("down"), attempts: attempts, since: start, now: now,
            random: .random(in: 0..<1, using: &random))
        {
            #expect(at > now)
            now = at
            attempts += 1
            #expect(attempts < 40)
        }
        #expect(now == start.advanced(bySeconds: 86400))
        #expect(attempts >= 12)
    }
}
