import CargoWire
public import Foundation
import GRDB

/// How long things stay, who else may see them, and what waits.
extension SQLiteJobStore {
    /// A job that ended is kept for its own retention, else the store's.
    func scheduleExpiry(_ database: Database, _ record: JobRecord) throws {
        let end = (record.finishedAt ?? settings.clocks.wall()).milliseconds
        try database.run(
            "INSERT OR IGNORE INTO expiry (at, account, id) "
                + "SELECT ? + CAST(COALESCE(retention, ?) * 1000 AS INTEGER), account, id FROM payloads WHERE account = ? AND id = ?",
            [.int(end), .real(settings.retentionSeconds), .int(record.key.account), .id(record.key.id)])
    }

    func unscheduleExpiry(_ database: Database, _ key: JobKey) throws {
        try database.execute(sql: "DELETE FROM expiry WHERE account = ? AND id = ?", arguments: [key.account, key.id.bytes])
    }

    public func expire(limit: Int) async throws -> Expired {
        let now = settings.clocks.wall().milliseconds
        let oldest = now - Int64(settings.retentionSeconds * 1000)
        return try await writer.perform { [meter] database, effects in
            var expired = Expired()
            var freed: [Int64: Int64] = [:]
            let due = try Row.fetchAll(
                database,
                // What waits for a webhook stays until it is told or given up.
                sql: "SELECT at, account, id FROM expiry WHERE at <= ? AND NOT EXISTS (SELECT 1 FROM webhooks w "
                    + "WHERE w.account = expiry.account AND w.job = expiry.id AND w.status = 0) ORDER BY at LIMIT ?",
                arguments: [now, limit])
            for row in due {
                let bytes: Data = row[2]
                guard let id = JobID(bytes: bytes) else { continue }
                let key = JobKey(account: row[1], id: id)
                try database.execute(
                    sql: "DELETE FROM expiry WHERE at = ? AND account = ? AND id = ?", arguments: [row[0], key.account, bytes])
                guard let record = try SQLiteRows.load(database, key), record.state.status.isFinal else { continue }
                expired.blobs.formUnion(try Self.release(database, owner: id.description))
                freed[key.account, default: 0] += try Self.bytes(of: key, in: database)
                try database.execute(
                    sql: "DELETE FROM webhook_attempts WHERE id IN (SELECT id FROM webhooks WHERE account = ? AND job = ?)",
                    arguments: [key.account, bytes])
                try database.execute(sql: "DELETE FROM webhooks WHERE account = ? AND job = ?", arguments: [key.account, bytes])
                for table in ["payloads", "results", "callbacks"] {
                    try database.execute(
                        sql: "DELETE FROM \(table) WHERE account = ? AND id = ?", arguments: [key.account, bytes])
                }
                try database.execute(sql: "DELETE FROM shares WHERE account = ? AND id = ?", arguments: [key.account, bytes])
                for table in ["outputs", "attempts"] {
                    try database.execute(sql: "DELETE FROM \(table) WHERE id = ?", arguments: [bytes])
                }
                expired.jobs.append((key, record.state.attempt))
            }
            let uploads = try Row.fetchAll(
                database, sql: "SELECT account, id, size FROM uploads WHERE created <= ? ORDER BY created LIMIT ?",
                arguments: [oldest, limit])
            for row in uploads {
                let id: String = row[1]
                expired.blobs.formUnion(try Self.release(database, owner: id))
                try database.execute(sql: "DELETE FROM uploads WHERE account = ? AND id = ?", arguments: [row[0], id])
                freed[row[0], default: 0] += row[2]
            }
            try database.execute(
                sql: "DELETE FROM idempotency WHERE (account, operation, key) IN "
                    + "(SELECT account, operation, key FROM idempotency WHERE created <= ? LIMIT ?)",
                arguments: [oldest, limit])
            try database.execute(sql: "DELETE FROM shares WHERE until <= ?", arguments: [now])
            expired.isFull = due.count == limit || uploads.count == limit
            let removed = freed
            effects.append { for (account, bytes) in removed { meter.add(-bytes, account: account) } }
            return expired
        }
    }

    /// What a job took of its account's quota.
    private static func bytes(of key: JobKey, in database: Database) throws -> Int64 {
        try database.first(
            "SELECT ? + coalesce((SELECT length(spec) + coalesce(length(metadata), 0) FROM payloads WHERE account = ? AND id = ?), 0) "
                + "+ coalesce((SELECT sum(size) FROM outputs WHERE id = ?), 0) "
                + "+ coalesce((SELECT sum(log_bytes) FROM attempts WHERE id = ?), 0)",
            [.int(ByteMeter.perJob), .int(key.account), .id(key.id), .id(key.id), .id(key.id)]
        ) { $0.int64(0) } ?? 0
    }

    private static func release(_ database: Database, owner: String) throws -> [String] {
        let blobs = try String.fetchAll(database, sql: "SELECT sha256 FROM blob_uses WHERE owner = ?", arguments: [owner])
        if !blobs.isEmpty { try database.execute(sql: "DELETE FROM blob_uses WHERE owner = ?", arguments: [owner]) }
        return blobs
    }

    public func usesBlob(_ sha256: String) async throws -> Bool {
        try await database.read { database in
            try Int.fetchOne(database, sql: "SELECT 1 FROM blob_uses WHERE sha256 = ? LIMIT 1", arguments: [sha256]) != nil
        }
    }

    // MARK: Shares

    public func share(_ key: JobKey, tokenHash: Data, until: Timestamp) async throws {
        try await writer.perform { database, _ in
            guard try SQLiteRows.load(database, key) != nil else { throw StoreError.notFound }
            try database.execute(
                sql: "INSERT INTO shares (hash, account, id, until) VALUES (?,?,?,?)",
                arguments: [tokenHash, key.account, key.id.bytes, until.milliseconds])
        }
    }

    public func unshare(_ key: JobKey) async throws {
        try await writer.perform { database, _ in
            guard try SQLiteRows.load(database, key) != nil else { throw StoreError.notFound }
            try database.execute(sql: "DELETE FROM shares WHERE account = ? AND id = ?", arguments: [key.account, key.id.bytes])
        }
    }

    public func shared(_ tokenHash: Data) async throws -> JobKey? {
        let now = settings.clocks.wall().milliseconds
        return try await database.read { database in
            let row = try Row.fetchOne(
                database, sql: "SELECT account, id FROM shares WHERE hash = ? AND until > ?", arguments: [tokenHash, now])
            guard let row, let id = JobID(bytes: row[1]) else { return nil }
            return JobKey(account: row[0], id: id)
        }
    }

    // MARK: What waits

    public func queueView(of account: Int64, job: JobID?) async throws -> QueueView {
        try await database.read { database in
            var view = QueueView()
            // Over the open jobs alone: what ended may be a hundred times as much.
            let rows = try Row.fetchCursor(
                database,
                sql: "SELECT status, cargo, tier, COUNT(*), MIN(created) FROM jobs INDEXED BY jobs_open "
                    + "WHERE status < 3 AND account = ? GROUP BY status, cargo, tier ORDER BY COUNT(*) DESC LIMIT 1000",
                arguments: [account])
            while let row = try rows.next() {
                view.groups.append(
                    QueueView.Group(
                        status: SQLiteRows.status(row[0]), cargo: row[1], tier: row[2], count: row[3],
                        oldest: Timestamp(milliseconds: row[4])))
            }
            if let job {
                guard let record = try SQLiteRows.load(database, JobKey(account: account, id: job)) else {
                    throw StoreError.notFound
                }
                if record.state.status == .queued {
                    view.position = try Int.fetchOne(
                        database,
                        sql: "SELECT COUNT(*) FROM jobs INDEXED BY jobs_open WHERE status < 3 AND status = 0 AND account = ? "
                            + "AND (priority > ? OR (priority = ? AND id < ?))",
                        arguments: [account, record.priority, record.priority, job.bytes])
                }
            }
            return view
        }
    }
}
