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
        let avoided = avoided(row[19])
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

    private static let loading = "SELECT \(columns) FROM jobs WHERE account = ? AND id = ?"

    static func load(_ database: Database, _ key: JobKey) throws -> JobRecord? {
        try database.first(loading, [.int(key.account), .id(key.id)]) { row in
            var state = JobState(maxAttempts: row.int(8))
            state.status = status(row.int(2))
            state.attempt = row.int(5)
            state.failures = row.int(6)
            state.losses = row.int(7)
            state.cancelRequested = row.int(9) != 0
            state.host = row.text(17)
            state.avoided = avoided(row.text(19) ?? "")
            func time(_ column: Int32) -> Timestamp? {
                row.isNull(column) ? nil : Timestamp(milliseconds: row.int64(column))
            }
            return JobRecord(
                key: key, state: state, tier: row.int(4), priority: row.int(3), cargo: row.text(14), digest: row.text(15),
                requirement: Requirement(stored: row.text(16) ?? "", avoided: state.avoided),
                createdAt: Timestamp(milliseconds: row.int64(11)), startedAt: time(12), finishedAt: time(13), notBefore: time(10),
                token: row.text(18) ?? "", sequence: row.int64(20), head: row.data(21) ?? Data())
        }
    }

    private static func avoided(_ text: String) -> [String] {
        text.isEmpty ? [] : text.split(separator: ",").map(String.init)
    }

    private static let inserting = "INSERT INTO jobs (\(columns)) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"

    static func insert(_ database: Database, _ record: JobRecord) throws {
        let state = record.state
        try database.run(
            inserting,
            [
                .int(record.key.account), .id(record.key.id), .int(code(state.status)), .int(record.priority), .int(record.tier),
                .int(state.attempt), .int(state.failures), .int(state.losses), .int(state.maxAttempts),
                .int(state.cancelRequested ? 1 : 0), .int(record.notBefore?.milliseconds), .int(record.createdAt.milliseconds),
                .int(record.startedAt?.milliseconds), .int(record.finishedAt?.milliseconds), .text(record.cargo),
                .text(record.digest), .text(record.requirement.stored), .text(state.host), .text(record.token),
                .text(state.avoided.joined(separator: ",")), .int(record.sequence), .bytes(record.head),
            ])
    }

    private static let replacing =
        "UPDATE jobs SET status = ?, attempt = ?, failures = ?, losses = ?, cancel = ?, not_before = ?, started = ?, "
        + "finished = ?, host = ?, token = ?, avoided = ?, seq = ?, head = ? WHERE account = ? AND id = ? AND seq = ?"
    private static let replacingUnderLease = replacing + " AND attempt = ? AND token = ? AND host = ? AND status IN (1, 2)"

    /// Writes `new` where the row is still `old`; under a lease, only where all of the lease and a running state match.
    /// - Returns: whether a row matched.
    static func replace(_ database: Database, _ old: JobRecord, with new: JobRecord, under lease: Lease?) throws -> Bool {
        let state = new.state
        var values: [SQLValue] = [
            .int(code(state.status)), .int(state.attempt), .int(state.failures), .int(state.losses),
            .int(state.cancelRequested ? 1 : 0), .int(new.notBefore?.milliseconds), .int(new.startedAt?.milliseconds),
            .int(new.finishedAt?.milliseconds), .text(state.host), .text(new.token), .text(state.avoided.joined(separator: ",")),
            .int(new.sequence), .bytes(new.head), .int(old.key.account), .id(old.key.id), .int(old.sequence),
        ]
        if let lease { values += [.int(lease.epoch), .text(lease.token), .text(lease.host)] }
        try database.run(lease == nil ? replacing : replacingUnderLease, values)
        return database.changesCount == 1
    }

    static func append(_ database: Database, _ transition: Transition, of key: JobKey) throws {
        try database.run(
            "INSERT INTO transitions (account, id, seq, at, actor, status, attempt, host, detail, hash) VALUES (?,?,?,?,?,?,?,?,?,?)",
            [
                .int(key.account), .id(key.id), .int(transition.sequence), .int(transition.at.milliseconds),
                .text(transition.actor), .int(code(transition.status)), .int(transition.attempt), .text(transition.host),
                .bytes(transition.detail), .bytes(transition.hash),
            ])
    }

    /// Notes that an upload or a job names a blob.
    static func use(_ database: Database, _ sha256: String, by owner: String) throws {
        try database.run("INSERT OR IGNORE INTO blob_uses (owner, sha256) VALUES (?, ?)", [.text(owner), .text(sha256)])
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
