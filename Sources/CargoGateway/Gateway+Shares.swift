import CargoArtifact
import CargoQueue
import CargoWire
import Crypto
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// Share links: a URL that shows one job to whoever has it, until it ends or is revoked. The job's id alone shows nothing.
extension Gateway {
    private struct Ask: Decodable {
        var seconds: Seconds?
    }

    private struct Share: Encodable {
        var url: String
        var expiresAt: String
        enum CodingKeys: String, CodingKey {
            case url
            case expiresAt = "expires_at"
        }
    }

    func addShares(to router: Router<GatewayContext>) {
        router.post("/jobs/:id/share") { request, context in
            let principal = try caller(request, .write)
            let key = try key(context, principal)
            let bytes = try await bytes(of: request, limit: 65536)
            let ask = bytes.isEmpty ? Ask() : try StrictJSON.decode(Ask.self, from: bytes, limit: 65536)
            let seconds = ask.seconds?.value ?? 86_400
            guard seconds >= 1, seconds <= 30 * 86_400 else {
                throw GatewayError(422, "invalid_share", "'seconds' is from 1 to 2592000, 30 days.")
            }
            let token = hexadecimal((0..<32).map { _ in UInt8.random(in: .min ... .max) })
            let until = queue.settings.clocks.wall().advanced(bySeconds: seconds)
            try await queue.store.share(key, tokenHash: Gateway.hash(token), until: until)
            return try Answer.json(Share(url: "/shared/\(token)", expiresAt: until.text), status: .created)
        }
        router.delete("/jobs/:id/share") { request, context in
            let principal = try caller(request, .write)
            try await queue.store.unshare(try key(context, principal))
            return Response(status: .noContent)
        }
        router.get("/shared/:token") { _, context in
            var job = try await describe(try await sharedKey(context))
            // What the owner wrote beside the job is the owner's.
            job.metadata = nil
            return Answer.json(job)
        }
        router.get("/shared/:token/events") { request, context in try await events(request, try await sharedKey(context)) }
        router.get("/shared/:token/logs") { request, context in try await logs(request, try await sharedKey(context)) }
        router.get("/shared/:token/outputs") { _, context in
            let (_, result, _) = try await queue.store.job(try await sharedKey(context))
            return try Answer.json(OutputList(outputs: result.outputs))
        }
        for method in [HTTPRequest.Method.get, .head] {
            router.on("/shared/:token/outputs/**", method: method) { request, context in
                try await output(request, try await sharedKey(context))
            }
        }
    }

    private static func hash(_ token: String) -> Data { Data(SHA256.hash(data: Data(token.utf8))) }

    private func sharedKey(_ context: GatewayContext) async throws -> JobKey {
        guard let token = context.parameters.get("token"), token.utf8.count == 64,
            let key = try await queue.store.shared(Gateway.hash(token))
        else { throw GatewayError(404, "not_found", "This link shows nothing, or no longer.") }
        return key
    }
}
