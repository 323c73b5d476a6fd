import Foundation
import GRDB

/// The outbox beside the jobs: its rows are written in the very commits that end them.
extension SQLiteJobStore: WebhookOutbox {
    /// Lines kept of one message's log.
    private static let mostAttempts = 100
    private static let columns = "id, account, job, url, shape, status, since, attempts, due"

    static func createWebhookTables(_ database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE callbacks (
                    account INTEGER NOT NULL, id BLOB NOT NULL, url TEXT NOT NULL, shape TEXT NOT NULL,
                    PRIMARY KEY (account, id)
                ) WITHOUT ROWID;

                CREATE TABLE webhooks (
                    id BLOB PRIMARY KEY, account INTEGER NOT NULL, job BLOB NOT NULL, url TEXT NOT NULL, shape TEXT NOT NULL,
                    status INTEGER NOT NULL, since INTEGER NOT NULL, attempts INTEGER NOT NULL, due INTEGER NOT NULL
                ) WITHOUT ROWID;
                CREATE INDEX webhooks_due ON webhooks (due) WHERE status = 0;
                CREATE INDEX webhooks_by_job ON webhooks (account, job);

                CREATE TABLE webhook_attempts (
                    id BLOB NOT NULL, number INTEGER NOT NULL, at INTEGER NOT NULL, answer INTEGER,
                    milliseconds INTEGER NOT NULL, problem TEXT, PRIMARY KEY (id, number)
                ) WITHOUT ROWID;

                CREATE TABLE webhook_secrets (
                    account INTEGER NOT NULL, number INTEGER NOT NULL, secret TEXT NOT NULL, until INTEGER,
                    PRIMARY KEY (account, number)
                ) WITHOUT ROWID;
                """)
    }

    static func keep(_ callback: Callback, of key: JobKey, in database: Database) throws {
        try database.cachedStatement(sql: "INSERT INTO callbacks (account, id, url, shape) VALUES (?,?,?,?)")
            .execute(arguments: [key.account, key.id.bytes, callback.url, callback.shape])
    }

    /// Called in the commit that ends a job: its message, when its owner asked for one.
    func enqueueWebhook(of key: JobKey, at now: Timestamp, in database: Database, _ effects: inout GroupCommit.Effects) throws {
        let callback = try database.first(
            "SELECT url, shape FROM callbacks WHERE account = ? AND id = ?", [.int(key.account), .id(key.id)]
        ) { Callback(url: $0.text(0) ?? "", shape: $0.text(1) ?? "") }
        guard let callback else { return }
        let webhook = Webhook(id: JobID(at: now), job: key, callback: callback, since: now, due: now)
        try database.cachedStatement(sql: "INSERT INTO webhooks (\(Self.columns)) VALUES (?,?,?,?,?,0,?,0,?)").execute(
            arguments: [
                webhook.id.bytes, key.account, key.id.bytes, webhook.callback.url, webhook.callback.shape, now.milliseconds,
                now.milliseconds,
            ])
        effects.append { [self] in hooks.onWebhook() }
    }

    public func takeWebhooks(limit: Int, skipping: Set<Int64>, holdSeconds: Double) async throws -> [Webhook] {
        let now = settings.clocks.wall()
        let others = skipping.isEmpty ? "" : "AND account NOT IN (\(skipping.map(String.init).joined(separator: ","))) "
        let sql = "SELECT \(Self.columns) FROM webhooks WHERE status = 0 AND due <= ? \(others)ORDER BY due LIMIT ?"
        // Nearly always there is nothing: a look that writes nothing.
        let any = try await database.read { try Row.fetchOne($0, sql: sql, arguments: [now.milliseconds, 1]) != nil }
        guard any else { return [] }
        return try await writer.perform { database, _ in
            let rows = try Row.fetchAll(database, sql: sql, arguments: [now.milliseconds, limit]).map(Self.webhook)
            let hold = try database.cachedStatement(sql: "UPDATE webhooks SET due = ? WHERE id = ?")
            for row in rows {
                try hold.execute(arguments: [now.advanced(bySeconds: holdSeconds).milliseconds, row.id.bytes])
            }
            return rows
        }
    }

    public func settle(_ webhook: Webhook, _ attempt: WebhookAttempt, _ fate: WebhookFate) async throws {
        let (status, due) = Self.columns(of: fate, otherwise: webhook.due)
        try await writer.perform { database, _ in
            let number =
                1
                + (try Int.fetchOne(
                    try database.cachedStatement(sql: "SELECT max(number) FROM webhook_attempts WHERE id = ?"),
                    arguments: [webhook.id.bytes]) ?? 0)
            try database.cachedStatement(
                sql: "INSERT INTO webhook_attempts (id, number, at, answer, milliseconds, problem) VALUES (?,?,?,?,?,?)"
            ).execute(arguments: [
                webhook.id.bytes, number, attempt.at.milliseconds, attempt.answer, attempt.milliseconds, attempt.problem,
            ])
            try database.cachedStatement(sql: "DELETE FROM webhook_attempts WHERE id = ? AND number <= ?")
                .execute(arguments: [webhook.id.bytes, number - Self.mostAttempts])
            // A replay or another sender may have been quicker than this attempt: then it stays as they left it.
            try database.cachedStatement(
                sql: "UPDATE webhooks SET status = ?, due = ?, attempts = attempts + 1 "
                    + "WHERE id = ? AND status = 0 AND attempts = ? AND since = ?"
            ).execute(arguments: [status, due.milliseconds, webhook.id.bytes, webhook.attempts, webhook.since.milliseconds])
        }
    }

    static func columns(of fate: WebhookFate, otherwise due: Timestamp) -> (status: Int, due: Timestamp) {
        switch fate {
        case .again(let at): (0, at)
        case .delivered: (1, due)
        case .abandoned: (2, due)
        }
    }

    public func webhooks(of job: JobKey) async throws -> [(Webhook, [WebhookAttempt])] {
        try await database.read { database in
            let rows = try Row.fetchAll(
                database, sql: "SELECT \(Self.columns) FROM webhooks WHERE account = ? AND job = ? ORDER BY id",
                arguments: [job.account, job.id.bytes])
            return try rows.map(Self.webhook).map { webhook in
                let attempts = try Row.fetchAll(
                    database, sql: "SELECT at, answer, milliseconds, problem FROM webhook_attempts WHERE id = ? ORDER BY number",
                    arguments: [webhook.id.bytes])
                return (
                    webhook,
                    attempts.map {
                        WebhookAttempt(
                            at: Timestamp(milliseconds: $0[0]), answer: $0[1], milliseconds: $0[2], problem: $0[3])
                    }
                )
            }
        }
    }

    public func replay(webhook id: JobID, of job: JobKey) async throws {
        let now = settings.clocks.wall().milliseconds
        try await writer.perform { [self] database, effects in
            try database.execute(
                sql: "UPDATE webhooks SET status = 0, since = ?, attempts = 0, due = ? WHERE id = ? AND account = ? AND job = ?",
                arguments: [now, now, id.bytes, job.account, job.id.bytes])
            guard database.changesCount == 1 else { throw StoreError.notFound }
            effects.append { [self] in hooks.onWebhook() }
        }
    }

    public func webhookSecrets(of account: Int64, making fresh: String) async throws -> [String] {
        let now = settings.clocks.wall().milliseconds
        let known = try await database.read { try Self.secrets($0, account, now) }
        if !known.isEmpty { return known }
        return try await writer.perform { database, _ in
            let known = try Self.secrets(database, account, now)
            if !known.isEmpty { return known }
            try database.execute(
                sql: "INSERT INTO webhook_secrets (account, number, secret) VALUES (?, 1, ?)", arguments: [account, fresh])
            return [fresh]
        }
    }

    public func rotateWebhookSecret(of account: Int64, to fresh: String, overlapSeconds: Double) async throws {
        let now = settings.clocks.wall()
        try await writer.perform { database, _ in
            let last = try Int.fetchOne(
                database, sql: "SELECT max(number) FROM webhook_secrets WHERE account = ?", arguments: [account])
            let number = last ?? 0
            try database.execute(
                sql: "DELETE FROM webhook_secrets WHERE account = ? AND number < ?", arguments: [account, number])
            try database.execute(
                sql: "UPDATE webhook_secrets SET until = ? WHERE account = ?",
                arguments: [now.advanced(bySeconds: overlapSeconds).milliseconds, account])
            try database.execute(
                sql: "INSERT INTO webhook_secrets (account, number, secret) VALUES (?, ?, ?)",
                arguments: [account, number + 1, fresh])
        }
    }

    public func webhookLag() async throws -> Double {
        let now = settings.clocks.wall().milliseconds
        let oldest = try await database.read { database in
            try Int64.fetchOne(database, sql: "SELECT min(due) FROM webhooks WHERE status = 0")
        }
        return oldest.map { max(0, Double(now - $0) / 1000) } ?? 0
    }

    private static func secrets(_ database: Database, _ account: Int64, _ now: Int64) throws -> [String] {
        try String.fetchAll(
            database,
            sql:
                "SELECT secret FROM webhook_secrets WHERE account = ? AND (until IS NULL OR until > ?) ORDER BY number DESC LIMIT 2",
            arguments: [account, now])
    }

    private static func webhook(_ row: Row) throws -> Webhook {
        let (id, job): (Data, Data) = (row[0], row[2])
        guard let id = JobID(bytes: id), let job = JobID(bytes: job) else {
            throw StoreError.unavailable("A webhook's row holds no valid id.")
        }
        let states: [Webhook.Status] = [.waiting, .delivered, .abandoned]
        return Webhook(
            id: id, job: JobKey(account: row[1], id: job), callback: Callback(url: row[3], shape: row[4]),
            status: states[min(max(row[5], 0), 2)], since: Timestamp(milliseconds: row[6]), attempts: row[7],
            due: Timestamp(milliseconds: row[8]))
    }
}
