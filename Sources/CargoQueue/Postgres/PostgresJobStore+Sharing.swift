import CargoWire
import Foundation

/// How coordinators on one database find each other, and who keeps which log.
extension PostgresJobStore: SharedStore {
    static let sharingMigration = """
        CREATE TABLE host_news (
            host text PRIMARY KEY, coordinator text NOT NULL, heard bigint NOT NULL, capabilities text NOT NULL, report text
        );
        CREATE INDEX host_news_by_time ON host_news (heard);
        """

    /// A coordinator that was silent for so long is forgotten.
    private static let forgottenMilliseconds: Int64 = 30 * 86_400_000

    func pulse(_ id: String, url: String) async throws -> [PeerRow] {
        let shift = shift
        return try await pool.transaction { connection in
            try connection.run(
                "INSERT INTO coordinators (id, url, seen) VALUES ($2, $3, \(Self.now)) "
                    + "ON CONFLICT (id) DO UPDATE SET url = excluded.url, seen = excluded.seen", [shift, .text(id), .text(url)])
            try connection.run(
                "DELETE FROM coordinators WHERE seen < \(Self.now) - $2::bigint", [shift, .int(Self.forgottenMilliseconds)])
            return try connection.run("SELECT id, url, greatest(0, \(Self.now) - seen) FROM coordinators LIMIT 1000", [shift])
                .map { PeerRow(id: $0.text(0) ?? "", url: $0.text(1) ?? "", silentMilliseconds: $0.int(2) ?? 0) }
        }
    }

    func logParts(_ id: JobID, attempt: Int) async throws -> [LogPart] {
        try await pool.read { connection in
            try connection.run("SELECT home FROM attempts WHERE id = $1 AND attempt = $2", [.id(id), .int(attempt)]).first
                .map { LogPart.parts($0.text(0) ?? "") } ?? []
        }
    }

    func takeLog(_ id: JobID, _ lease: Lease, known: [LogPart], next: LogPart) async throws -> [LogPart] {
        let shift = shift
        let taken = try await pool.transaction { connection -> [LogPart]? in
            guard try Self.generation(connection) == lease.generation else { return nil }
            // Its lease holds as long as the job's row has its token.
            let live = try connection.run(
                "SELECT a.home FROM attempts a JOIN jobs j USING (account, id) WHERE a.id = $1 AND a.attempt = $2 AND a.token = $3 "
                    + "AND a.host = $4 AND a.answer IS NULL AND j.attempt = a.attempt AND j.token = a.token AND j.status IN (1, 2) "
                    + "FOR UPDATE", [.id(id), .int(lease.epoch), .text(lease.token), .text(lease.host)])
            guard let row = live.first else { return nil }
            let parts = LogPart.parts(row.text(0) ?? "")
            guard parts == known, let last = parts.last else { return parts }
            // It may have come back meanwhile: then it keeps what it has.
            let alive = try connection.run(
                "SELECT 1 FROM coordinators WHERE id = $2 AND seen > \(Self.now) - $3::bigint",
                [shift, .text(last.home), .int(Peers.silentMilliseconds)])
            guard alive.count == 0 else { return parts }
            try connection.run(
                "UPDATE attempts SET home = $3 WHERE id = $1 AND attempt = $2",
                [.id(id), .int(lease.epoch), .text(LogPart.text(parts + [next]))])
            return parts + [next]
        }
        guard let taken else { throw StoreError.leaseLost }
        announce(.changed(id))
        return taken
    }

    func kept(_ ids: Set<JobID>) async throws -> Set<JobID> {
        let list = "{" + ids.map(\.description).joined(separator: ",") + "}"
        return try await pool.read { connection in
            Set(
                try connection.run(
                    "SELECT DISTINCT a.id FROM unnest($1::text::uuid[]) AS k (id) JOIN attempts a USING (id)", [.text(list)]
                ).map { try $0.id(0) })
        }
    }

    func movements(of keys: [JobKey]) async throws -> [JobMovement] {
        let accounts = "{" + keys.map { String($0.account) }.joined(separator: ",") + "}"
        let ids = "{" + keys.map(\.id.description).joined(separator: ",") + "}"
        return try await pool.read { connection in
            try connection.run(
                "SELECT j.account, j.id, j.seq, j.status, coalesce(a.home, '') FROM "
                    + "unnest($1::text::bigint[], $2::text::uuid[]) AS k (account, id) "
                    + "JOIN jobs j USING (account, id) LEFT JOIN attempts a ON a.id = j.id AND a.attempt = j.attempt",
                [.text(accounts), .text(ids)]
            ).map { row in
                JobMovement(
                    key: JobKey(account: row.int(0) ?? 0, id: try row.id(1)), sequence: row.int(2) ?? 0,
                    status: SQLiteRows.status(Int(row.int(3) ?? 0)), home: row.text(4) ?? "")
            }
        }
    }

    func tell(_ news: [HostNews], from coordinator: String) async throws {
        guard !news.isEmpty else { return }
        let shift = shift
        // In one order everywhere, so that two coordinators never wait for each other.
        let rows = try news.sorted { $0.host < $1.host }.map {
            ($0.host, try SQLiteRows.text($0.capabilities), try SQLiteRows.text($0.report), $0.ageMilliseconds)
        }
        try await pool.transaction { connection in
            for (host, capabilities, report, age) in rows {
                try connection.run(
                    "INSERT INTO host_news (host, coordinator, heard, capabilities, report) "
                        + "VALUES ($2, $3, \(Self.now) - $4::bigint, $5, $6) ON CONFLICT (host) DO UPDATE SET "
                        + "coordinator = excluded.coordinator, heard = excluded.heard, capabilities = excluded.capabilities, "
                        + "report = excluded.report WHERE host_news.heard <= excluded.heard",
                    [shift, .text(host), .text(coordinator), .int(age), .text(capabilities), .text(report)])
            }
        }
    }

    func news(besides coordinator: String, heardWithin milliseconds: Int64) async throws -> [HostNews] {
        let shift = shift
        return try await pool.read { connection in
            try connection.run(
                "SELECT host, capabilities, report, greatest(0, \(Self.now) - heard) FROM host_news "
                    + "WHERE heard > \(Self.now) - $2::bigint AND coordinator <> $3 LIMIT 20000",
                [shift, .int(milliseconds), .text(coordinator)]
            ).compactMap { row -> HostNews? in
                // Of another version of this program, perhaps.
                guard let capabilities = try? SQLiteRows.decode(HostCapabilities.self, row.text(1)) else { return nil }
                return HostNews(
                    host: row.text(0) ?? "", capabilities: capabilities,
                    report: try? SQLiteRows.decode(HostReport.self, row.text(2)), ageMilliseconds: row.int(3) ?? 0)
            }
        }
    }
}
