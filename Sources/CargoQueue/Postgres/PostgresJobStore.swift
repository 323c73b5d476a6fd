public import CargoWire
public import Foundation
import Synchronization

/// Jobs in a PostgreSQL database that several coordinators share.
///
/// Nothing about a job is decided in memory: a claim locks its row with SKIP LOCKED, a lease's deadline is compared and
/// set by the server's clock. Memory holds only what may be lost: turns between accounts, hosts seen lately, leases
/// renewed since the last flush.
public final class PostgresJobStore: JobStore, AccountStore {
    let pool: PostgresPool
    let settings: StoreSettings
    let hooks: StoreHooks
    let machine: JobMachine
    let memory = Mutex(PostgresMemory())
    let meter: ByteMeter
    private let bulletin: PostgresBulletin
    /// What a lease lasts in the database: longer than its host is told, because renewals are written in batches.
    static func leaseMilliseconds(_ settings: StoreSettings) -> Int64 { milliseconds(settings.leaseSeconds * 1.1 + 0.6) }

    /// Connects, migrates, and gives every lease its full time again.
    /// - Parameter url: anything libpq reads.
    public init(url: String, settings: StoreSettings = StoreSettings(), hooks: StoreHooks = StoreHooks()) throws {
        self.settings = settings
        self.hooks = hooks
        machine = JobMachine(maxLosses: settings.maxLosses)
        meter = ByteMeter(most: settings.bytesPerAccount)
        do {
            let connection = try PostgresConnection(url)
            try PostgresSchema.migrate(connection)
            try connection.run(
                "UPDATE jobs SET lease_until = \(Self.now) + $2 WHERE status IN (1, 2)",
                [.int(Self.shift(settings)), .int(Self.leaseMilliseconds(settings))])
            try connection.run("UPDATE pulse SET at = \(Self.now)", [.int(Self.shift(settings))])
            let generation = try Self.generation(connection)
            memory.withLock { $0.generation = generation }
            meter.wrote([:], totals: try Self.keptBytes(connection))
        } catch let error as PostgresError {
            throw StoreError.unavailable("The database cannot be used: \(error)")
        }
        pool = PostgresPool(url: url)
        bulletin = PostgresBulletin(url: url, hooks: hooks)
    }

    public func close() {
        bulletin.stop()
        pool.stop()
    }

    /// The server's clock, milliseconds since 1970; `$1` is `shift`.
    static let now = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint + $1::bigint"

    /// What tests have moved the injected clock away from the machine's; 0 in service.
    static func shift(_ settings: StoreSettings) -> Int64 {
        let shift = settings.clocks.uptime().milliseconds - Uptime.now().milliseconds
        return abs(shift) < 50 ? 0 : shift
    }

    var shift: PostgresValue { .int(Self.shift(settings)) }

    static func milliseconds(_ seconds: Double) -> Int64 { Int64((seconds * 1000).rounded()) }

    /// A failover to a standby starts a new timeline: what the old server acknowledged last may be missing there, so its
    /// leases are void.
    public var generation: Int { memory.withLock { $0.generation } }

    static func generation(_ connection: PostgresConnection) throws -> Int {
        let rows = try connection.run(
            "SELECT m.value * 1000 + ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint "
                + "FROM meta m WHERE m.name = 'generation'")
        return Int(rows.first?.int(0) ?? 1)
    }

    func lease(of record: JobRecord, generation: Int) -> Lease {
        Lease(
            generation: generation, epoch: record.state.attempt, token: record.token, host: record.state.host ?? "",
            seconds: settings.leaseSeconds)
    }

    /// Tells this coordinator at once and the others by NOTIFY, which is only a hint.
    func announce(_ change: PostgresBulletin.Change) {
        change.tell(hooks)
        bulletin.post(change)
    }

    /// What this coordinator knows already.
    func tellOthers(_ change: PostgresBulletin.Change) { bulletin.post(change) }

    // MARK: Reading

    /// Those whose logs grow on this coordinator's disk.
    public func runningAttempts() async throws -> [RunningAttempt] {
        let own = settings.coordinator
        return try await pool.read { connection in
            try connection.run(
                "SELECT j.id, j.attempt, a.home FROM jobs j JOIN attempts a ON a.id = j.id AND a.attempt = j.attempt "
                    + "WHERE j.status IN (1, 2)"
            ).compactMap { row -> RunningAttempt? in
                guard let last = LogPart.parts(row.text(2) ?? "").last, last.home.isEmpty || last.home == own else { return nil }
                return RunningAttempt(id: try row.id(0), attempt: Int(row.int(1) ?? 0), base: last.base)
            }
        }
    }

    public func counts() async throws -> StoreCounts {
        try await pool.read { connection in
            let row = try connection.run(
                "SELECT (SELECT count(*) FROM jobs WHERE ready) + (SELECT count(*) FROM jobs WHERE status = 0 AND NOT ready), "
                    + "(SELECT count(*) FROM jobs WHERE status IN (1, 2))"
            ).first
            // The first of each group is its oldest; a thousand groups are looked at.
            let oldest = try connection.run(
                Self.groups + "SELECT min((SELECT created FROM jobs j WHERE j.ready AND j.priority = f.priority AND "
                    + "j.account = f.account AND j.requirement = f.requirement ORDER BY id LIMIT 1)) FROM (SELECT * FROM g LIMIT 1000) f"
            ).first?.int(0)
            return StoreCounts(
                queued: Int(row?.int(0) ?? 0), leases: Int(row?.int(1) ?? 0), oldest: oldest.map(Timestamp.init(milliseconds:)))
        }
    }

    public func probe() async throws {
        try await pool.transaction { connection in
            _ = try connection.run("INSERT INTO meta VALUES ('probe', 1) ON CONFLICT (name) DO UPDATE SET value = meta.value + 1")
        }
    }

    public func warnings() async throws -> [String] {
        let replicas = try await pool.read { try $0.run("SHOW synchronous_standby_names").first?.text(0) ?? "" }
        guard replicas.isEmpty else { return [] }
        return [
            "The database has no synchronous replica: a failover may lose what was acknowledged last. Set synchronous_standby_names."
        ]
    }

    public func job(_ key: JobKey) async throws -> (JobRecord, JobResult, metadata: Data?) {
        try await pool.read { connection in
            let rows = try connection.run(
                "SELECT \(PostgresRecord.columns), r.exit, r.error, r.outputs, p.metadata FROM jobs j "
                    + "LEFT JOIN results r USING (account, id) LEFT JOIN payloads p USING (account, id) "
                    + "WHERE account = $1 AND id = $2", [.int(key.account), .id(key.id)])
            guard let row = rows.first else { throw StoreError.notFound }
            return (try PostgresRecord.record(row), try PostgresRecord.result(row), row.data(PostgresRecord.columnCount + 3))
        }
    }

    public func files(of key: JobKey) async throws -> [String: String] {
        try await pool.read { connection in
            let rows = try connection.run(
                "SELECT files FROM payloads WHERE account = $1 AND id = $2", [.int(key.account), .id(key.id)])
            return try SQLiteRows.decode([String: String].self, rows.first?.text(0)) ?? [:]
        }
    }

    public func admit(_ bytes: Int64, account: Int64) throws { try meter.admit(bytes, account: account) }

    private static func keptBytes(_ connection: PostgresConnection) throws -> [Int64: Int64] {
        let rows = try connection.run("SELECT account, bytes FROM account_bytes")
        return Dictionary(rows.map { ($0.int(0) ?? 0, $0.int(1) ?? 0) }, uniquingKeysWith: { $1 })
    }

    /// Adds what accounts keep more than the last time to what the other coordinators have added.
    func flushMeter(isLast: Bool = false) async throws {
        let additions = meter.due(at: settings.clocks.uptime(), isLast: isLast)
        guard !additions.isEmpty else { return }
        let totals = try await pool.transaction { connection -> [Int64: Int64] in
            for (account, bytes) in additions.sorted(by: { $0.key < $1.key }) {
                try connection.run(
                    "INSERT INTO account_bytes (account, bytes) VALUES ($1, greatest(0, $2::bigint)) ON CONFLICT (account) "
                        + "DO UPDATE SET bytes = greatest(0, account_bytes.bytes + $2::bigint)", [.int(account), .int(bytes)])
            }
            return try Self.keptBytes(connection)
        }
        meter.wrote(additions, totals: totals)
    }

    public func addUpload(_ upload: Upload, account: Int64) async throws {
        try meter.admit(upload.size, account: account)
        let now = settings.clocks.wall()
        try await pool.transaction { connection in
            try connection.run(
                "INSERT INTO uploads (account, id, size, sha256, created) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                [.int(account), .text(upload.id), .int(upload.size), .text(upload.sha256), .int(now.milliseconds)])
            try Self.use(connection, upload.sha256, by: upload.id)
        }
        meter.add(upload.size, account: account)
    }

    public func upload(_ id: String, account: Int64) async throws -> Upload? {
        try await pool.read { connection in
            try connection.run("SELECT size, sha256 FROM uploads WHERE account = $1 AND id = $2", [.int(account), .text(id)])
                .first.map {
                    Upload(id: id, size: $0.int(0) ?? 0, sha256: $0.text(1) ?? "")
                }
        }
    }

    public func jobs(of account: Int64, status: JobStatus?, before: JobID?, limit: Int) async throws -> [(JobRecord, JobResult)] {
        try await pool.read { connection in
            try connection.run(
                "SELECT \(PostgresRecord.columns), r.exit, r.error, r.outputs FROM jobs j LEFT JOIN results r USING (account, id) "
                    + "WHERE account = $1 AND ($2::uuid IS NULL OR id < $2) "
                    + "AND ($3::smallint IS NULL OR status = $3) ORDER BY id DESC LIMIT $4",
                [.int(account), .bytes(before?.bytes), .int(status.map { Int64(SQLiteRows.code($0)) }), .int(limit)]
            ).map { (try PostgresRecord.record($0), try PostgresRecord.result($0)) }
        }
    }

    public func transitions(of key: JobKey, after sequence: Int64, limit: Int) async throws -> [Transition] {
        try await pool.read { connection in
            try connection.run(
                "SELECT seq, at, actor, status, attempt, host, detail, hash FROM transitions "
                    + "WHERE account = $1 AND id = $2 AND seq > $3 ORDER BY seq LIMIT $4",
                [.int(key.account), .id(key.id), .int(sequence), .int(limit)]
            ).map { row in
                Transition(
                    sequence: row.int(0) ?? 0, at: Timestamp(milliseconds: row.int(1) ?? 0), actor: row.text(2) ?? "",
                    status: SQLiteRows.status(Int(row.int(3) ?? 0)), attempt: Int(row.int(4) ?? 0), host: row.text(5),
                    detail: row.data(6) ?? Data(), hash: row.data(7) ?? Data())
            }
        }
    }
}
