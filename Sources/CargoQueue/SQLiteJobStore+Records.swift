public import FoundationEssentials
import GRDB

/// Small documents in the same database.
extension SQLiteJobStore: RecordStore {
    static func createRecords(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE records (
                    kind TEXT NOT NULL, id TEXT NOT NULL, account INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, id)
                ) WITHOUT ROWID;
                CREATE INDEX records_by_account ON records (kind, account, id);
                ALTER TABLE keys ADD COLUMN details TEXT;
                """)
    }

    public func records(_ kind: String, account: Int64?, from: String, until: String?) async throws -> [SmallRecord] {
        try await database.read { database in
            var sql = "SELECT id, account, value FROM records WHERE kind = ? AND id >= ?"
            var arguments: StatementArguments = [kind, from]
            if let account {
                sql += " AND account = ?"
                arguments += [account]
            }
            if let until {
                sql += " AND id < ?"
                arguments += [until]
            }
            let statement = try database.cachedStatement(sql: sql + " ORDER BY id LIMIT \(SmallRecord.mostListed)")
            return try Row.fetchAll(statement, arguments: arguments).map {
                SmallRecord(kind: kind, id: $0[0], account: $0[1], value: $0[2])
            }
        }
    }

    @discardableResult
    public func change(
        _ kind: String, _ id: String, account: Int64, _ change: @escaping @Sendable (Data?) throws -> Data?
    ) async throws -> Data? {
        try await writer.perform { database, _ in
            let old = try Data.fetchOne(
                try database.cachedStatement(sql: "SELECT value FROM records WHERE kind = ? AND id = ?"), arguments: [kind, id])
            let new = try change(old)
            if let new {
                try database.cachedStatement(
                    sql: "INSERT INTO records (kind, id, account, value) VALUES (?,?,?,?) "
                        + "ON CONFLICT (kind, id) DO UPDATE SET account = excluded.account, value = excluded.value"
                ).execute(arguments: [kind, id, account, new])
            } else if old != nil {
                try database.cachedStatement(sql: "DELETE FROM records WHERE kind = ? AND id = ?").execute(arguments: [kind, id])
            }
            return new
        }
    }
}
