import CargoWire
import Foundation

/// How a job's record becomes a row of PostgreSQL and back.
enum PostgresRecord {
    /// Of the table `jobs j`; a join may use the same names.
    static let columns =
        "account, id, j.status, j.priority, j.tier, j.attempt, j.failures, j.losses, j.max_attempts, j.cancel, j.not_before, j.created, "
        + "j.started, j.finished, j.cargo, j.digest, j.requirement, j.host, j.token, j.avoided, j.seq, j.head"
    static let columnCount: Int32 = 22

    /// Of a row whose columns after the record's are the result's `exit, error, outputs`.
    static func result(_ row: PostgresRows.Row) throws -> JobResult {
        var result = JobResult()
        result.exit = try SQLiteRows.decode(ExitReport.self, row.text(columnCount))
        result.error = try SQLiteRows.decode(JobError.self, row.text(columnCount + 1))
        result.outputs = try SQLiteRows.decode([OutputFile].self, row.text(columnCount + 2)) ?? []
        return result
    }

    static func record(_ row: PostgresRows.Row) throws -> JobRecord {
        let avoided = (row.text(19) ?? "").split(separator: ",").map(String.init)
        var state = JobState(maxAttempts: Int(row.int(8) ?? 1))
        state.status = SQLiteRows.status(Int(row.int(2) ?? 0))
        state.attempt = Int(row.int(5) ?? 0)
        state.failures = Int(row.int(6) ?? 0)
        state.losses = Int(row.int(7) ?? 0)
        state.cancelRequested = row.bool(9)
        state.host = row.text(17)
        state.avoided = avoided
        func time(_ column: Int32) -> Timestamp? { row.int(column).map(Timestamp.init(milliseconds:)) }
        return JobRecord(
            key: JobKey(account: row.int(0) ?? 0, id: try row.id(1)), state: state, tier: Int(row.int(4) ?? 1),
            priority: Int(row.int(3) ?? 0), cargo: row.text(14), digest: row.text(15),
            requirement: Requirement(stored: row.text(16) ?? "", avoided: avoided),
            createdAt: time(11) ?? Timestamp(milliseconds: 0),
            startedAt: time(12), finishedAt: time(13), notBefore: time(10), token: row.text(18) ?? "", sequence: row.int(20) ?? 0,
            head: row.data(21) ?? Data())
    }

    /// The row, locked until the transaction ends.
    static func lock(_ connection: PostgresConnection, _ key: JobKey) throws -> JobRecord? {
        try connection.run(
            "SELECT \(columns) FROM jobs j WHERE account = $1 AND id = $2 FOR UPDATE", [.int(key.account), .id(key.id)]
        ).first.map(record)
    }

    /// - Returns: whether the id was free.
    static func insert(_ connection: PostgresConnection, _ record: JobRecord) throws -> Bool {
        try connection.run(
            "INSERT INTO jobs (account, id, status, priority, tier, attempt, failures, losses, max_attempts, cancel, created, cargo, "
                + "digest, requirement, token, avoided, seq, head, ready) "
                + "VALUES ($1,$2,0,$3,$4,0,0,0,$5,false,$6,$7,$8,$9,'','',$10,$11,true) ON CONFLICT DO NOTHING",
            [
                .int(record.key.account), .id(record.key.id), .int(record.priority), .int(record.tier),
                .int(record.state.maxAttempts), .int(record.createdAt.milliseconds), .text(record.cargo), .text(record.digest),
                .text(record.requirement.required), .int(record.sequence), .bytes(record.head),
            ]
        ).changed == 1
    }

    /// Writes `new` where the row is still `old`; under a lease, only where all of the lease and a running state match.
    /// - Returns: whether a row matched.
    static func replace(
        _ connection: PostgresConnection, _ old: JobRecord, with new: JobRecord, under lease: Lease?,
        leaseFor milliseconds: Int64?,
        generation: Int, shift: PostgresValue, ready: Bool
    ) throws -> Bool {
        let running = new.state.status == .provisioning || new.state.status == .processing
        var sql =
            "UPDATE jobs SET status = $2, attempt = $3, failures = $4, losses = $5, cancel = $6, not_before = $7, started = $8, "
            + "finished = $9, host = $10, token = $11, avoided = $12, seq = $13, head = $14, ready = $15, lease_until = CASE "
            + "WHEN NOT $16::boolean THEN NULL WHEN $17::bigint IS NULL THEN lease_until "
            + "ELSE \(PostgresJobStore.now) + $17::bigint END, generation = $18 WHERE account = $19 AND id = $20 AND seq = $21"
        var values: [PostgresValue] = [
            shift, .int(SQLiteRows.code(new.state.status)), .int(new.state.attempt), .int(new.state.failures),
            .int(new.state.losses),
            .bool(new.state.cancelRequested), .int(new.notBefore?.milliseconds), .int(new.startedAt?.milliseconds),
            .int(new.finishedAt?.milliseconds), .text(new.state.host), .text(new.token),
            .text(new.state.avoided.joined(separator: ",")), .int(new.sequence), .bytes(new.head), .bool(ready), .bool(running),
            .int(milliseconds), .int(generation), .int(old.key.account), .id(old.key.id), .int(old.sequence),
        ]
        if let lease {
            sql += " AND status IN (1, 2) AND attempt = $22 AND token = $23 AND host = $24"
            values += [.int(lease.epoch), .text(lease.token), .text(lease.host)]
        }
        return try connection.run(sql, values).changed == 1
    }

    static func append(_ connection: PostgresConnection, _ transition: Transition, of key: JobKey) throws {
        try connection.run(
            "INSERT INTO transitions (account, id, seq, at, actor, status, attempt, host, detail, hash) "
                + "VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)",
            [
                .int(key.account), .id(key.id), .int(transition.sequence), .int(transition.at.milliseconds),
                .text(transition.actor),
                .int(SQLiteRows.code(transition.status)), .int(transition.attempt), .text(transition.host),
                .bytes(transition.detail),
                .bytes(transition.hash),
            ])
    }
}
