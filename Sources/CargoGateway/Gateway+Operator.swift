import CargoArtifact
import CargoQueue
import CargoWire
import HTTPTypes
import Hummingbird
import NIOCore

/// The operator's calls: keys, health, metrics.
extension Gateway {
    private struct Readiness: Encodable {
        var status = "ready"
        var warnings: [String]
    }

    func addAdmin(to router: Router<GatewayContext>) {
        router.post("/admin/keys") { request, _ in
            let principal = try caller(request, .admin)
            var ask = try await body(KeyRequest.self, of: request, limit: 65536)
            ask.account = ask.account ?? "default"
            return try Answer.json(try await createKey(ask, by: principal), status: .created)
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
            let principal = try caller(request, .read)
            guard principal.may(.admin) else { return try await ownMetrics(principal) }
            let text = metrics.text(
                GatewayMetrics.Now(
                    counts: try await queue.store.counts(), wall: queue.settings.clocks.wall(),
                    webhookLag: try await queue.outbox.webhookLag(), freeBytes: disk.freeBytes))
            return Answer.bytes(ByteBuffer(string: text), type: "text/plain; version=0.0.4")
        }
    }

    /// What a key without the scope `admin` sees: its own account, nothing that others do (RULES.md 17).
    private func ownMetrics(_ principal: Principal) async throws -> Response {
        let view = try await queue.store.queueView(of: principal.account, job: nil)
        let waiting = view.groups.filter { $0.status == .queued }
        let now = queue.settings.clocks.wall().milliseconds
        let text = GatewayMetrics.ownText(
            queued: waiting.reduce(0) { $0 + $1.count },
            running: view.groups.filter { $0.status != .queued && !$0.status.isFinal }.reduce(0) { $0 + $1.count },
            oldestSeconds: waiting.map(\.oldest).min().map { Double(max(0, now - $0.milliseconds)) / 1000 } ?? 0)
        return Answer.bytes(ByteBuffer(string: text), type: "text/plain; version=0.0.4")
    }
}
