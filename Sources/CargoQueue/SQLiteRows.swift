import CargoArtifact
import CargoWire
import Foundation
import GRDB

/// How records become rows and back. Statements are cached by their text, so each text stands here once.
enum SQLiteRows {
    static let columns =
        "account, id, status, priority, tier, attempt, failures, losses, max_attempts, cancel, not_before, created, started, "
        + "finished, cargo, digest, requirement, host, token, avoided, seq, head"

    static func code(_ status: JobStatus) -> Int {
        switch status {
        case .queued: 0
        case .provisioning: 1
        case .processing: 2
        case .complete: 3
        case .error: 4
        case .cancelled: 5
        }
    }

    static func status(_ code: Int) -> JobStatus {
        [.queued, .provisioning, .processing, .complete, .error, .cancelled][min(max(code, 0), 5)]
    }

    static func record(_ row: Row) throws -> JobRecord {
        let idBytes: Data = row[1]
        guard let id = JobID(bytes: idBytes) else { throw StoreError.unavailable("A job's row holds no valid id.") }
        let avoidedText: String = row[19]
        let avoided = avoidedText.isEmpty ? [] : avoidedText.split(separator: ",").map(String.init)
        var state = JobState(maxAttempts: row[8])
        state.status = status(row[2])
        state.attempt = row[5]
        state.failures = row[6]
        state.losses = row[7]
        state.cancelRequested = row[9]
        state.host = row[17]
        state.avoided = avoided
        func time(_ index: Int) -> Timestamp? {
            let value: Int64? = row[index]
            return value.map(Timestamp.init(milliseconds:))
        }
        return JobRecord(
            key: JobKey(account: row[0], id: id), state: state, tier: row[4], priority: row[3], cargo: row[14], digest: row[15],
            requirement: Requirement(stored: row[16], avoided: avoided), createdAt: Timestamp(milliseconds: row[11]),
            startedAt: time(12), finishedAt: time(13), notBefore: time(10), token: row[18], sequence: row[20], head: row[21])
    }

    static func load(_ database: Database, _ key: JobKey) throws -> JobRecord? {
        let statement = try database.cachedStatement(sql: "SELECT \(columns) FROM jobs WHERE account = ? AND id = ?")
        return try Row.fetchOne(statement, arguments: [key.account, key.id.bytes]).map(record)
    }

    static func insert(_ database: Database, _ record: JobRecord) throws {
        try database.cachedStatement(
            sql: "INSERT INTO jobs (\(columns)) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
        ).execute(arguments: [
            record.key.account, record.key.id.bytes, code(record.state.status), record.priority, record.tier,
            record.state.attempt, record.state.failures, record.state.losses, record.state.maxAttempts,
            record.state.cancelRequested, record.notBefore?.milliseconds, record.createdAt.milliseconds,
            record.startedAt?.milliseconds, record.finishedAt?.milliseconds, record.cargo, record.digest,
            record.requirement.stored, record.state.host, record.token, record.state.avoided.joined(separator: ","),
            record.sequence, record.head,
        ])
    }

    /// Writes `new` where the row is still `old`; under a lease, only where all of the lease and a running state match.
    /// - Returns: whether a row matched.
    static func replace(_ database: Database, _ old: JobRecord, with new: JobRecord, under lease: Lease?) throws -> Bool {
        let set =
            "UPDATE jobs SET status = ?, attempt = ?, failures = ?, losses = ?, cancel = ?, not_before = ?, started = ?, "
            + "finished = ?, host = ?, token = ?, avoided = ?, seq = ?, head = ? WHERE account = ? AND id = ? AND seq = ?"
        var arguments: StatementArguments = [
            code(new.state.status), new.state.attempt, new.state.failures, new.state.losses, new.state.cancelRequested,
            new.notBefore?.milliseconds, new.startedAt?.milliseconds, new.finishedAt?.milliseconds, new.state.host, new.token,
            new.state.avoided.joined(separator: ","), new.sequence, new.head, old.key.account, old.key.id.bytes, old.sequence,
        ]
        if let lease {
            arguments += [lease.epoch, lease.token, lease.host]
            try database.cachedStatement(sql: set + " AND attempt = ? AND token = ? AND host = ? AND status IN (1, 2)")
                .execute(arguments: arguments)
        } else {
            try database.cachedStatement(sql: set).execute(arguments: arguments)
        }
        return database.changesCount == 1
    }

    static func append(_ database: Database, _ transition: Transition, of key: JobKey) throws {
        try database.cachedStatement(
            sql:
                "INSERT INTO transitions (account, id, seq, at, actor, status, attempt, host, detail, hash) VALUES (?,?,?,?,?,?,?,?,?,?)"
        ).execute(arguments: [
            key.account, key.id.bytes, transition.sequence, transition.at.milliseconds, transition.actor,
            code(transition.status), transition.attempt, transition.host, transition.detail, transition.hash,
        ])
    }

    /// Notes that an upload or a job names a blob.
    static func use(_ database: Database, _ sha256: String, by owner: String) throws {
        try database.cachedStatement(sql: "INSERT OR IGNORE INTO blob_uses (owner, sha256) VALUES (?, ?)")
            .execute(arguments: [owner, sha256])
    }

    static func transition(_ row: Row) -> Transition {
        Transition(
            sequence: row[0], at: Timestamp(milliseconds: row[1]), actor: row[2], status: status(row[3]), attempt: row[4],
            host: row[5], detail: row[6], hash: row[7])
    }

    static func encode(_ value: some Encodable) throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(value)
    }

    static func text(_ value: (some Encodable)?) throws -> String? {
        guard let value else { return nil }
        return String(decoding: try encode(value), as: UTF8.self)
    }

    static func decode<Value: Decodable>(_ type: Value.Type, _ text: String?) throws -> Value? {
        guard let text else { return nil }
        return try JSONDecoder().decode(type, from: Data(text.utf8))
    }
}
