public import CargoWire
public import Foundation
import GRDB
import Synchronization

/// How a store behaves; tests shorten its times.
public struct StoreSettings: Sendable {
    public var leaseSeconds: Double = 30
    public var maxLosses = 3
    /// Queued jobs of one account at most.
    public var queuedPerAccount = 2_000_000
    /// Bytes that one account keeps at most: jobs, uploads, logs, outputs.
    public var bytesPerAccount: Int64 = 1 << 40
    /// Seconds that results are kept after a job's end when it does not say.
    public var retentionSeconds = 604_800.0
    /// Seconds that they are still kept once their owner has acknowledged that they arrived.
    public var acknowledgedSeconds = 3600.0
    /// This coordinator's id among those that share a database; empty where there is one alone.
    public var coordinator = ""
    public var clocks = Clocks()
    /// In 0..<1, for backoff jitter.
    public var random: @Sendable () -> Double = { Double.random(in: 0..<1) }

    public init() {}
}

/// Jobs in one SQLite database that this process alone owns.
public final class SQLiteJobStore: PromptJobStore, AccountStore {
    let database: DatabasePool
    let writer: GroupCommit
    let settings: StoreSettings
    let machine: JobMachine
    /// Rises when the data folder is restored from a copy.
    public let generation: Int
    let hot = Mutex(HotState())
    let hooks: StoreHooks
    let meter: ByteMeter

    /// Opens the database at `path`, migrates it, and takes up every job that has not ended.
    public init(path: String, settings: StoreSettings = StoreSettings(), hooks: StoreHooks = StoreHooks()) throws {
        database = try SQLiteSchema.open(path: path)
        writer = GroupCommit(database: database, onCommit: hooks.onCommit)
        self.settings = settings
        self.hooks = hooks
        machine = JobMachine(maxLosses: settings.maxLosses)
        meter = ByteMeter(most: settings.bytesPerAccount)
        generation = try database.read { database in
            try String.fetchOne(database, sql: "SELECT value FROM meta WHERE name = 'generation'").flatMap(Int.init) ?? 1
        }
        try takeUp()
    }

    /// Commits what waits and closes; nothing can be written afterwards.
    public func close() {
        let additions = meter.due(at: settings.clocks.uptime(), isLast: true)
        try? writer.performAndWait { database in _ = try Self.write(additions, to: database) }
        writer.stop()
        try? database.close()
    }

    /// Rebuilds queue and leases from the rows. Every lease gets its full time again.
    private func takeUp() throws {
        let totals = try database.read { database in
            try Row.fetchAll(database, sql: "SELECT account, bytes FROM account_bytes").map { ($0[0] as Int64, $0[1] as Int64) }
        }
        meter.wrote([:], totals: Dictionary(uniqueKeysWithValues: totals))
        let now = settings.clocks.wall()
        let deadline = settings.clocks.uptime().advanced(bySeconds: settings.leaseSeconds)
        try database.read { database in
            let rows = try Row.fetchCursor(
                database,
                sql: "SELECT \(SQLiteRows.columns) FROM jobs INDEXED BY jobs_open WHERE status < 3 ORDER BY id")
            while let row = try rows.next() {
                let record = try SQLiteRows.record(row)
                if record.state.status == .queued {
                    hot.withLock { _ = $0.enqueue(entry(of: record), notBefore: record.notBefore, now: now) }
                } else {
                    let claim = try String.fetchOne(
                        database, sql: "SELECT claim FROM attempts WHERE id = ? AND attempt = ?",
                        arguments: [record.key.id.bytes, record.state.attempt])
                    hot.withLock { $0.grant(liveLease(of: record, claimID: claim, deadline: deadline)) }
                }
            }
        }
    }

    public func runningAttempts() async throws -> [RunningAttempt] {
        hot.withLock { $0.leases.values.map { RunningAttempt(id: $0.key.id, attempt: $0.attempt) } }
    }

    public func counts() async throws -> StoreCounts {
        let (queued, leases, heads) = hot.withLock { ($0.ready.count + $0.delayed.count, $0.leases.count, $0.ready.heads) }
        // Each line is in the order of arrival, so the oldest job is the first of one of them.
        let oldest = try await database.read { database in
            let statement = try database.cachedStatement(sql: "SELECT created FROM jobs WHERE account = ? AND id = ?")
            return try heads.compactMap { try Int64.fetchOne(statement, arguments: [$0.account, $0.id.bytes]) }.min()
        }
        return StoreCounts(queued: queued, leases: leases, oldest: oldest.map(Timestamp.init(milliseconds:)))
    }

    func entry(of record: JobRecord) -> ReadyQueue.Entry {
        var requirement = record.requirement
        requirement.avoided = record.state.avoided
        return ReadyQueue.Entry(key: record.key, priority: record.priority, requirement: requirement)
    }

    func liveLease(of record: JobRecord, claimID: String?, deadline: Uptime) -> HotState.LiveLease {
        HotState.LiveLease(
            key: record.key, attempt: record.state.attempt, token: record.token, host: record.state.host ?? "", claimID: claimID,
            deadline: deadline, cancel: record.state.cancelRequested)
    }

    func lease(of record: JobRecord) -> Lease {
        Lease(
            generation: generation, epoch: record.state.attempt, token: record.token, host: record.state.host ?? "",
            seconds: settings.leaseSeconds)
    }

    /// Goes through one commit, so that an answer means that the store can write.
    public func probe() async throws {
        try await writer.perform { database, _ in
            try database.cachedStatement(sql: "INSERT OR REPLACE INTO meta (name, value) VALUES ('probe', '1')").execute()
        }
    }

    public func warnings() async throws -> [String] { [] }

    // MARK: Reading

    public func job(_ key: JobKey) async throws -> (JobRecord, JobResult, metadata: Data?) {
        try await database.read { database in
            guard let record = try SQLiteRows.load(database, key) else { throw StoreError.notFound }
            let result = try Self.result(database, key)
            let metadata = try Data.fetchOne(
                try database.cachedStatement(sql: "SELECT metadata FROM payloads WHERE account = ? AND id = ?"),
                arguments: [key.account, key.id.bytes])
            return (record, result, metadata)
        }
    }

    private static func result(_ database: Database, _ key: JobKey) throws -> JobResult {
        let statement = try database.cachedStatement(sql: "SELECT exit, error, outputs FROM results WHERE account = ? AND id = ?")
        var result = JobResult()
        guard let row = try Row.fetchOne(statement, arguments: [key.account, key.id.bytes]) else { return result }
        result.exit = try SQLiteRows.decode(ExitReport.self, row[0])
        result.error = try SQLiteRows.decode(JobError.self, row[1])
        result.outputs = try SQLiteRows.decode([OutputFile].self, row[2]) ?? []
        return result
    }

    /// The blobs behind a job's input files, HEX by name.
    public func files(of key: JobKey) async throws -> [String: String] {
        try await database.read { database in
            let statement = try database.cachedStatement(sql: "SELECT files FROM payloads WHERE account = ? AND id = ?")
            return try SQLiteRows.decode(
                [String: String].self, try String.fetchOne(statement, arguments: [key.account, key.id.bytes])) ?? [:]
        }
    }

    public func admit(_ bytes: Int64, account: Int64) throws { try meter.admit(bytes, account: account) }

    /// Writes what accounts keep more than the last time. Called each 100 ms.
    func flushMeter() async throws {
        let additions = meter.due(at: settings.clocks.uptime())
        guard !additions.isEmpty else { return }
        let totals = try await writer.perform { database, _ in try Self.write(additions, to: database) }
        meter.wrote(additions, totals: totals)
    }

    private static func write(_ additions: [Int64: Int64], to database: Database) throws -> [Int64: Int64] {
        var totals: [Int64: Int64] = [:]
        for (account, bytes) in additions {
            totals[account] = try database.first(
                "INSERT INTO account_bytes (account, bytes) VALUES (?, max(0, ?)) "
                    + "ON CONFLICT (account) DO UPDATE SET bytes = max(0, bytes + ?) RETURNING bytes",
                [.int(account), .int(bytes), .int(bytes)]
            ) { $0.int64(0) }
        }
        return totals
    }

    /// Makes uploaded bytes known under an id of this account.
    public func addUpload(_ upload: Upload, account: Int64) async throws {
        try meter.admit(upload.size, account: account)
        let now = settings.clocks.wall()
        try await writer.perform { [meter] database, effects in
            effects.append { meter.add(upload.size, account: account) }
            try database.cachedStatement(sql: "INSERT INTO uploads (account, id, size, sha256, created) VALUES (?,?,?,?,?)")
                .execute(arguments: [account, upload.id, upload.size, upload.sha256, now.milliseconds])
            try SQLiteRows.use(database, upload.sha256, by: upload.id)
        }
    }

    public func upload(_ id: String, account: Int64) async throws -> Upload? {
        try await database.read { database in
            let statement = try database.cachedStatement(sql: "SELECT size, sha256 FROM uploads WHERE account = ? AND id = ?")
            return try Row.fetchOne(statement, arguments: [account, id]).map { Upload(id: id, size: $0[0], sha256: $0[1]) }
        }
    }

    public func jobs(of account: Int64, status: JobStatus?, before: JobID?, limit: Int) async throws -> [(JobRecord, JobResult)] {
        try await database.read { database in
            var sql = "SELECT \(SQLiteRows.columns) FROM jobs WHERE account = ?"
            var arguments: StatementArguments = [account]
            if let before {
                sql += " AND id < ?"
                arguments += [before.bytes]
            }
            if let status {
                sql += " AND status = ?"
                arguments += [SQLiteRows.code(status)]
            }
            arguments += [limit]
            let statement = try database.cachedStatement(sql: sql + " ORDER BY id DESC LIMIT ?")
            return try Row.fetchAll(statement, arguments: arguments).map(SQLiteRows.record).map { record in
                (record, try Self.result(database, record.key))
            }
        }
    }

    public func transitions(of key: JobKey, after sequence: Int64, limit: Int) async throws -> [Transition] {
        try await database.read { database in
            let statement = try database.cachedStatement(
                sql: "SELECT seq, at, actor, status, attempt, host, detail, hash FROM transitions "
                    + "WHERE account = ? AND id = ? AND seq > ? ORDER BY seq LIMIT ?")
            return try Row.fetchAll(statement, arguments: [key.account, key.id.bytes, sequence, limit]).map(SQLiteRows.transition)
        }
    }
}
