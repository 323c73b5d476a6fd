import CargoWire
public import Foundation

/// How long things stay, who else may see them, and what waits.
extension PostgresJobStore {
    /// A job that ended is kept for its own retention, else the store's.
    static func scheduleExpiry(_ connection: PostgresConnection, _ record: JobRecord, usually seconds: Double) throws {
        let end = record.finishedAt ?? record.createdAt
        try connection.run(
            "INSERT INTO expiry (at, account, id) SELECT $1::bigint + (coalesce(retention, $2::double precision) * 1000)::bigint, "
                + "account, id FROM payloads WHERE account = $3 AND id = $4 ON CONFLICT DO NOTHING",
            [.int(end.milliseconds), .text("\(seconds)"), .int(record.key.account), .id(record.key.id)])
    }

    static func unscheduleExpiry(_ connection: PostgresConnection, _ key: JobKey) throws {
        try connection.run("DELETE FROM expiry WHERE account = $1 AND id = $2", [.int(key.account), .id(key.id)])
    }

    static func use(_ connection: PostgresConnection, _ sha256: String, by owner: String) throws {
        try connection.run(
            "INSERT INTO blob_uses (owner, sha256) VALUES ($1, $2) ON CONFLICT DO NOTHING", [.text(owner), .text(sha256)])
    }

    public func expire(limit: Int) async throws -> Expired {
        let now = settings.clocks.wall().milliseconds
        let oldest = now - Self.milliseconds(settings.retentionSeconds)
        let (expired, freed) = try await pool.transaction { connection -> (Expired, [Int64: Int64]) in
            var expired = Expired()
            var freed: [Int64: Int64] = [:]
            // What waits for a webhook stays until it is told or given up.
            let due = try connection.run(
                "DELETE FROM expiry WHERE (at, account, id) IN (SELECT at, account, id FROM expiry e WHERE at <= $1 AND NOT EXISTS "
                    + "(SELECT 1 FROM webhooks w WHERE w.account = e.account AND w.job = e.id AND w.status = 0) "
                    + "ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING account, id", [.int(now), .int(limit)])
            for row in try due.map({ JobKey(account: $0.int(0) ?? 0, id: try $0.id(1)) }) {
                guard let record = try PostgresRecord.lock(connection, row), record.state.status.isFinal else { continue }
                expired.blobs.formUnion(try Self.release(connection, owner: row.id.description))
                freed[row.account, default: 0] += try Self.bytes(of: row, connection)
                try connection.run(
                    "DELETE FROM webhook_attempts WHERE id IN (SELECT id FROM webhooks WHERE account = $1 AND job = $2)",
                    [.int(row.account), .id(row.id)])
                try connection.run("DELETE FROM webhooks WHERE account = $1 AND job = $2", [.int(row.account), .id(row.id)])
                for table in ["payloads", "results", "callbacks", "shares"] {
                    try connection.run("DELETE FROM \(table) WHERE account = $1 AND id = $2", [.int(row.account), .id(row.id)])
                }
                for table in ["outputs", "attempts"] {
                    try connection.run("DELETE FROM \(table) WHERE id = $1", [.id(row.id)])
                }
                expired.jobs.append((row, record.state.attempt))
            }
            let uploads = try connection.run(
                "DELETE FROM uploads WHERE (account, id) IN (SELECT account, id FROM uploads WHERE created <= $1 "
                    + "ORDER BY created LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id, account, size",
                [.int(oldest), .int(limit)])
            for row in uploads.map({ ($0.text(0) ?? "", $0.int(1) ?? 0, $0.int(2) ?? 0) }) {
                expired.blobs.formUnion(try Self.release(connection, owner: row.0))
                freed[row.1, default: 0] += row.2
            }
            try connection.run(
                "DELETE FROM idempotency WHERE (account, operation, key) IN (SELECT account, operation, key FROM idempotency "
                    + "WHERE created <= $1 LIMIT $2)", [.int(oldest), .int(limit)])
            try connection.run("DELETE FROM shares WHERE until <= $1", [.int(now)])
            expired.isFull = due.count == limit || uploads.count == limit
            return (expired, freed)
        }
        for (account, bytes) in freed { meter.add(-bytes, account: account) }
        return expired
    }

    /// What a job took of its account's quota.
    private static func bytes(of key: JobKey, _ connection: PostgresConnection) throws -> Int64 {
        try connection.run(
            "SELECT ($1::bigint + coalesce((SELECT length(spec) + coalesce(length(metadata), 0) FROM payloads WHERE account = $2 "
                + "AND id = $3), 0) + coalesce((SELECT sum(size) FROM outputs WHERE id = $3), 0) "
                + "+ coalesce((SELECT sum(log_bytes) FROM attempts WHERE id = $3), 0))::bigint",
            [.int(ByteMeter.perJob), .int(key.account), .id(key.id)]
        ).first?.int(0) ?? 0
    }

    private static func release(_ connection: PostgresConnection, owner: String) throws -> [String] {
        try connection.run("DELETE FROM blob_uses WHERE owner = $1 RETURNING sha256", [.text(owner)]).map { $0.text(0) ?? "" }
    }

    public func usesBlob(_ sha256: String) async throws -> Bool {
        try await pool.read { try $0.run("SELECT 1 FROM blob_uses WHERE sha256 = $1 LIMIT 1", [.text(sha256)]).count == 1 }
    }

    // MARK: Shares

    public func share(_ key: JobKey, tokenHash: Data, until: Timestamp) async throws {
        try await pool.transaction { connection in
            guard try PostgresRecord.lock(connection, key) != nil else { throw StoreError.notFound }
            try connection.run(
                "INSERT INTO shares (hash, account, id, until) VALUES ($1,$2,$3,$4) ON CONFLICT DO NOTHING",
                [.bytes(tokenHash), .int(key.account), .id(key.id), .int(until.milliseconds)])
        }
    }

    public func unshare(_ key: JobKey) async throws {
        try await pool.transaction { connection in
            guard try PostgresRecord.lock(connection, key) != nil else { throw StoreError.notFound }
            try connection.run("DELETE FROM shares WHERE account = $1 AND id = $2", [.int(key.account), .id(key.id)])
        }
    }

    public func shared(_ tokenHash: Data) async throws -> JobKey? {
        let now = settings.clocks.wall().milliseconds
        return try await pool.read { connection in
            try connection.run("SELECT account, id FROM shares WHERE hash = $1 AND until > $2", [.bytes(tokenHash), .int(now)])
                .first.map {
                    JobKey(account: $0.int(0) ?? 0, id: try $0.id(1))
                }
        }
    }

    // MARK: What waits

    public func queueView(of account: Int64, job: JobID?) async throws -> QueueView {
        try await pool.read { connection in
            var view = QueueView()
            view.groups = try connection.run(
                "SELECT status, cargo, tier, count(*), min(created) FROM jobs WHERE status < 3 AND account = $1 "
                    + "GROUP BY status, cargo, tier ORDER BY count(*) DESC LIMIT 1000", [.int(account)]
            ).map { row in
                QueueView.Group(
                    status: SQLiteRows.status(Int(row.int(0) ?? 0)), cargo: row.text(1), tier: Int(row.int(2) ?? 1),
                    count: Int(row.int(3) ?? 0), oldest: Timestamp(milliseconds: row.int(4) ?? 0))
            }
            guard let job else { return view }
            let rows = try connection.run(
                "SELECT CASE WHEN j.status = 0 THEN (SELECT count(*) FROM jobs o WHERE o.status = 0 AND o.account = j.account "
                    + "AND (o.priority > j.priority OR (o.priority = j.priority AND o.id < j.id))) END "
                    + "FROM jobs j WHERE j.account = $1 AND j.id = $2", [.int(account), .id(job)])
            guard let row = rows.first else { throw StoreError.notFound }
            view.position = row.int(0).map(Int.init)
            return view
        }
    }
}
