import Foundation

/// The outbox beside the jobs: its rows are written in the very commits that end them.
extension PostgresJobStore: WebhookOutbox {
    /// Lines kept of one message's log.
    private static let mostAttempts = 100
    private static let columns = "id, account, job, url, shape, status, since, attempts, due"

    static func keep(_ callback: Callback, of key: JobKey, in connection: PostgresConnection) throws {
        try connection.run(
            "INSERT INTO callbacks (account, id, url, shape) VALUES ($1,$2,$3,$4)",
            [.int(key.account), .id(key.id), .text(callback.url), .text(callback.shape)])
    }

    /// Called in the commit that ends a job: its message, when its owner asked for one.
    static func enqueueWebhook(of key: JobKey, at now: Timestamp, in connection: PostgresConnection) throws {
        try connection.run(
            "INSERT INTO webhooks (\(columns)) SELECT $1, account, id, url, shape, 0, $2, 0, $2 FROM callbacks "
                + "WHERE account = $3 AND id = $4", [.id(JobID(at: now)), .int(now.milliseconds), .int(key.account), .id(key.id)])
    }

    public func takeWebhooks(limit: Int, skipping: Set<Int64>, holdSeconds: Double) async throws -> [Webhook] {
        let now = settings.clocks.wall()
        let busy = "{" + skipping.map(String.init).joined(separator: ",") + "}"
        return try await pool.transaction { connection in
            let rows = try connection.run(
                "SELECT \(Self.columns) FROM webhooks WHERE status = 0 AND due <= $1 AND NOT account = ANY ($2::bigint[]) "
                    + "ORDER BY due LIMIT $3 FOR UPDATE SKIP LOCKED", [.int(now.milliseconds), .text(busy), .int(limit)]
            ).map(Self.webhook)
            for row in rows {
                try connection.run(
                    "UPDATE webhooks SET due = $1 WHERE id = $2",
                    [.int(now.advanced(bySeconds: holdSeconds).milliseconds), .id(row.id)])
            }
            return rows
        }
    }

    public func settle(_ webhook: Webhook, _ attempt: WebhookAttempt, _ fate: WebhookFate) async throws {
        let (status, due) = SQLiteJobStore.columns(of: fate, otherwise: webhook.due)
        try await pool.transaction { connection in
            // Locked first, so that numbers follow one another.
            try connection.run("SELECT 1 FROM webhooks WHERE id = $1 FOR UPDATE", [.id(webhook.id)])
            let last = try connection.run("SELECT max(number) FROM webhook_attempts WHERE id = $1", [.id(webhook.id)]).first?.int(
                0)
            let number = (last ?? 0) + 1
            try connection.run(
                "INSERT INTO webhook_attempts (id, number, at, answer, milliseconds, problem) VALUES ($1,$2,$3,$4,$5,$6)",
                [
                    .id(webhook.id), .int(number), .int(attempt.at.milliseconds), .int(attempt.answer.map(Int64.init)),
                    .int(attempt.milliseconds), .text(attempt.problem),
                ])
            try connection.run(
                "DELETE FROM webhook_attempts WHERE id = $1 AND number <= $2",
                [.id(webhook.id), .int(number - Int64(Self.mostAttempts))])
            // A replay or another sender may have been quicker than this attempt: then it stays as they left it.
            try connection.run(
                "UPDATE webhooks SET status = $1, due = $2, attempts = attempts + 1 "
                    + "WHERE id = $3 AND status = 0 AND attempts = $4 AND since = $5",
                [
                    .int(status), .int(due.milliseconds), .id(webhook.id), .int(webhook.attempts),
                    .int(webhook.since.milliseconds),
                ])
        }
    }

    public func webhooks(of job: JobKey) async throws -> [(Webhook, [WebhookAttempt])] {
        try await pool.read { connection in
            try connection.run(
                "SELECT \(Self.columns) FROM webhooks WHERE account = $1 AND job = $2 ORDER BY id",
                [.int(job.account), .id(job.id)]
            ).map(Self.webhook).map { webhook in
                let attempts = try connection.run(
                    "SELECT at, answer, milliseconds, problem FROM webhook_attempts WHERE id = $1 ORDER BY number",
                    [.id(webhook.id)]
                ).map { row in
                    WebhookAttempt(
                        at: Timestamp(milliseconds: row.int(0) ?? 0), answer: row.int(1).map(Int.init),
                        milliseconds: row.int(2) ?? 0,
                        problem: row.text(3))
                }
                return (webhook, attempts)
            }
        }
    }

    public func replay(webhook id: JobID, of job: JobKey) async throws {
        let now = settings.clocks.wall().milliseconds
        try await pool.transaction { connection in
            let changed = try connection.run(
                "UPDATE webhooks SET status = 0, since = $1, attempts = 0, due = $1 WHERE id = $2 AND account = $3 AND job = $4",
                [.int(now), .id(id), .int(job.account), .id(job.id)]
            ).changed
            guard changed == 1 else { throw StoreError.notFound }
        }
        announce(.webhook)
    }

    public func webhookSecrets(of account: Int64, making fresh: String) async throws -> [String] {
        let now = settings.clocks.wall().milliseconds
        return try await pool.transaction { connection in
            let known = try Self.secrets(connection, account, now)
            if !known.isEmpty { return known }
            try connection.run(
                "INSERT INTO webhook_secrets (account, number, secret) VALUES ($1, 1, $2) ON CONFLICT DO NOTHING",
                [.int(account), .text(fresh)])
            return try Self.secrets(connection, account, now)
        }
    }

    public func rotateWebhookSecret(of account: Int64, to fresh: String, overlapSeconds: Double) async throws {
        let until = settings.clocks.wall().advanced(bySeconds: overlapSeconds).milliseconds
        try await pool.transaction { connection in
            let rows = try connection.run(
                "SELECT number, secret FROM webhook_secrets WHERE account = $1 ORDER BY number DESC LIMIT 1 FOR UPDATE",
                [.int(account)])
            // Rotated already, by this very call whose COMMIT was not answered.
            if rows.first?.text(1) == fresh { return }
            let number = rows.first?.int(0) ?? 0
            try connection.run("DELETE FROM webhook_secrets WHERE account = $1 AND number < $2", [.int(account), .int(number)])
            try connection.run("UPDATE webhook_secrets SET until = $1 WHERE account = $2", [.int(until), .int(account)])
            try connection.run(
                "INSERT INTO webhook_secrets (account, number, secret) VALUES ($1, $2, $3)",
                [.int(account), .int(number + 1), .text(fresh)])
        }
    }

    public func webhookLag() async throws -> Double {
        let now = settings.clocks.wall().milliseconds
        let oldest = try await pool.read { connection in
            try connection.run("SELECT min(due) FROM webhooks WHERE status = 0").first?.int(0)
        }
        return oldest.map { max(0, Double(now - $0) / 1000) } ?? 0
    }

    private static func secrets(_ connection: PostgresConnection, _ account: Int64, _ now: Int64) throws -> [String] {
        try connection.run(
            "SELECT secret FROM webhook_secrets WHERE account = $1 AND (until IS NULL OR until > $2) ORDER BY number DESC LIMIT 2",
            [.int(account), .int(now)]
        ).map { $0.text(0) ?? "" }
    }

    private static func webhook(_ row: PostgresRows.Row) throws -> Webhook {
        let states: [Webhook.Status] = [.waiting, .delivered, .abandoned]
        return Webhook(
            id: try row.id(0), job: JobKey(account: row.int(1) ?? 0, id: try row.id(2)),
            callback: Callback(url: row.text(3) ?? "", shape: row.text(4) ?? "job"),
            status: states[min(max(Int(row.int(5) ?? 0), 0), 2)], since: Timestamp(milliseconds: row.int(6) ?? 0),
            attempts: Int(row.int(7) ?? 0), due: Timestamp(milliseconds: row.int(8) ?? 0))
    }
}
