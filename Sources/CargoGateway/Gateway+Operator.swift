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
            let figures = principal.may(.admin) ? try await allFigures() : try await ownFigures(principal)
            // Prometheus names its own formats; whoever names JSON gets JSON.
            var response =
                request.headers[.accept]?.contains("application/json") == true
                ? Answer.bytes(ByteBuffer(bytes: figures.json))
                : Answer.bytes(ByteBuffer(string: figures.text), type: "text/plain; version=0.0.4")
            response.headers[.vary] = "Accept"
            return response
        }
    }

    private func allFigures() async throws -> MetricFigures {
        metrics.figures(
            GatewayMetrics.Now(
                counts: try await queue.store.counts(), wall: queue.settings.clocks.wall(),
                webhookLag: try await queue.outbox.webhookLag(), freeBytes: disk.freeBytes, activeHosts: queue.activeHosts,
                accounts: queue.directory.accountCount, direct: direct.counts))
    }

    /// What a key without the scope `admin` sees: its own account, nothing that others do (docs/rules.md 17).
    private func ownFigures(_ principal: Principal) async throws -> MetricFigures {
        let view = try await queue.store.queueView(of: principal.account, job: nil)
        let waiting = view.groups.filter { $0.status == .queued }
        let now = queue.settings.clocks.wall().milliseconds
        return GatewayMetrics.ownFigures(
            queued: waiting.reduce(0) { $0 + $1.count },
            running: view.groups.filter { $0.status != .queued && !$0.status.isFinal }.reduce(0) { $0 + $1.count },
            oldestSeconds: waiting.map(\.oldest).min().map { Double(max(0, now - $0.milliseconds)) / 1000 } ?? 0)
    }
}
