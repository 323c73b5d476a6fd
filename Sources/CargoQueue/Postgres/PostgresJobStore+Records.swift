public import FoundationEssentials

/// Small documents in the shared database.
extension PostgresJobStore: RecordStore {
    static let recordsMigration = """
        CREATE TABLE records (
            kind text NOT NULL, id text COLLATE "C" NOT NULL, account bigint NOT NULL, value bytea NOT NULL,
            PRIMARY KEY (kind, id)
        );
        CREATE INDEX records_by_account ON records (kind, account, id);
        ALTER TABLE keys ADD COLUMN details text
        """

    public func records(_ kind: String, account: Int64?, from: String, until: String?) async throws -> [SmallRecord] {
        try await pool.read { connection in
            try connection.run(
                "SELECT id, account, value FROM records WHERE kind = $1 AND id >= $2 AND ($3::bigint IS NULL OR account = $3) "
                    + "AND ($4::text IS NULL OR id < $4) ORDER BY id LIMIT \(SmallRecord.mostListed)",
                [.text(kind), .text(from), .int(account), .text(until)]
            ).map {
                SmallRecord(kind: kind, id: $0.text(0) ?? "", account: $0.int(1) ?? 0, value: $0.data(2) ?? Data())
            }
        }
    }

    @discardableResult
    public func change(
        _ kind: String, _ id: String, account: Int64, _ change: @escaping @Sendable (Data?) throws -> Data?
    ) async throws -> Data? {
        // Not what keys have used, which is written all the time.
        defer { if kind.hasPrefix("group") || kind.hasPrefix("closed") { tellOthers(.accounts) } }
        return try await pool.transaction { connection in
            // A lock by name: two that make the same new document must not both find nothing.
            try connection.run("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [.text("\(kind)/\(id)")])
            let old = try connection.run("SELECT value FROM records WHERE kind = $1 AND id = $2", [.text(kind), .text(id)])
                .first?.data(0)
            let new = try change(old)
            if let new {
                try connection.run(
                    "INSERT INTO records (kind, id, account, value) VALUES ($1,$2,$3,$4) "
                        + "ON CONFLICT (kind, id) DO UPDATE SET account = excluded.account, value = excluded.value",
                    [.text(kind), .text(id), .int(account), .bytes(new)])
            } else if old != nil {
                try connection.run("DELETE FROM records WHERE kind = $1 AND id = $2", [.text(kind), .text(id)])
            }
            return new
        }
    }
}
