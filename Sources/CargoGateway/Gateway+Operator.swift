import CargoArtifact
import CargoQueue
import CargoWire
import HTTPTypes
import Hummingbird
import NIOCore
import Synchronization

/// The operator's calls: keys, health, metrics.
extension Gateway {
    private struct KeyRequest: Decodable {
        var name: String?
        var account: String?
        var scopes: [Scope]
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
            return Answer.bytes(ByteBuffer(string: #"{"status":"ready"}"#))
        }
        router.get("/metrics") { request, _ in
            _ = try caller(request, .read)
            let text = metrics.text(try await queue.store.counts())
            return Answer.bytes(ByteBuffer(string: text), type: "text/plain; version=0.0.4")
        }
    }
}

/// Counts since the start, in Prometheus' text format (exposition format 0.0.4).
public final class GatewayMetrics: Sendable {
    private let commits = Atomic<Int>(0)
    private let writes = Atomic<Int>(0)

    public init() {}

    public func committed(_ items: Int) {
        commits.add(1, ordering: .relaxed)
        writes.add(items, ordering: .relaxed)
    }

    func text(_ counts: StoreCounts) -> String {
        """
        # HELP longshore_jobs_queued Jobs waiting for a host.
        # TYPE longshore_jobs_queued gauge
        longshore_jobs_queued \(counts.queued)
        # HELP longshore_leases Attempts that run under a lease.
        # TYPE longshore_leases gauge
        longshore_leases \(counts.leases)
        # HELP longshore_commits_total Commits of the job store.
        # TYPE longshore_commits_total counter
        longshore_commits_total \(commits.load(ordering: .relaxed))
        # HELP longshore_writes_total Writes that shared those commits.
        # TYPE longshore_writes_total counter
        longshore_writes_total \(writes.load(ordering: .relaxed))

        """
    }
}
