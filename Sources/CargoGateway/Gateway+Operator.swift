import CargoArtifact
import CargoQueue
import CargoWire
import HTTPTypes
import Hummingbird
import NIOCore

/// The operator's calls: keys, health, metrics.
extension Gateway {
    private struct KeyRequest: Decodable {
        var name: String?
        var account: String?
        var scopes: [Scope]
    }

    private struct Readiness: Encodable {
        var status = "ready"
        var warnings: [String]
    }

    private struct KeyAnswer: Encodable {
        var id: String
        var key: String
        var account: String
        var scopes: [Scope]
    }

    func addAdmin(to router: Router<GatewayContext>) {
        router.post("/admin/keys") { request, _ in
            _ = try caller(request, .admin)
            let ask = try await body(KeyRequest.self, of: request, limit: 65536)
            let account = ask.account ?? "default"
            guard !ask.scopes.isEmpty else { throw GatewayError(422, "invalid_key", "Name at least one of the scopes.") }
            guard !account.isEmpty, account.utf8.count <= 100, (ask.name ?? "").utf8.count <= 100 else {
                throw GatewayError(422, "invalid_key", "Names of keys and accounts have at most 100 bytes.")
            }
            let scopes = Set(ask.scopes)
            let key = try await queue.directory.createKey(name: ask.name ?? "", scopes: scopes, account: account)
            return try Answer.json(
                KeyAnswer(id: key.id, key: key.token, account: account, scopes: scopes.sorted { $0.rawValue < $1.rawValue }),
                status: .created)
        }
    }

    func addHealth(to router: Router<GatewayContext>) {
        router.get("/healthz") { _, _ in Answer.bytes(ByteBuffer(string: #"{"status":"ok"}"#)) }
        router.get("/readyz") { _, _ in
            // A commit goes through: disk, lock and writer are well.
            try await queue.store.probe()
            return try Answer.json(Readiness(warnings: try await queue.store.warnings()))
        }
        router.get("/metrics") { request, _ in
            _ = try caller(request, .read)
            let text = metrics.text(
                GatewayMetrics.Now(
                    counts: try await queue.store.counts(), wall: queue.settings.clocks.wall(),
                    webhookLag: try await queue.outbox.webhookLag(), freeBytes: disk.freeBytes))
            return Answer.bytes(ByteBuffer(string: text), type: "text/plain; version=0.0.4")
        }
    }
}
