import CargoArtifact
public import CargoWire
import Foundation
import Synchronization

/// The writes. Every body may run twice (`PostgresPool.transaction`): what it makes at random is made before it.
extension PostgresJobStore {
    public func submit(_ job: NewJob) async throws -> Submission {
        try await checkQuota(job.account)
        try meter.admit(job.keptBytes, account: job.account)
        let now = settings.clocks.wall()
        let id = job.id ?? JobID(at: now)
        let key = JobKey(account: job.account, id: id)
        let salt = Data(PooledRandom.bytes(16))
        let detail = TransitionDetail.submitted(
            payload: AuditChain.commitment(to: job.spec, salt: salt), cargo: job.cargo, digest: job.digest, trace: job.trace)
        var first = Transition(
            sequence: 1, at: now, actor: "account:\(job.account)", status: .queued, attempt: 0, host: nil,
            detail: detail, hash: Data())
        first.hash = AuditChain.hash(first, of: id, after: AuditChain.origin)
        let record = JobRecord(
            key: key, state: JobState(maxAttempts: job.maxAttempts), tier: job.tier, priority: job.priority, cargo: job.cargo,
            digest: job.digest, requirement: job.requirement, createdAt: now, token: "", sequence: 1, head: first.hash)
        let transition = first
        let submission = try await pool.transaction { connection in
            // The key first: a second submit under it waits here for the fate of the first.
            if let idempotency = job.idempotency, let known = try Self.repetition(connection, job, idempotency, id, now) {
                return Submission(job: known, repeated: true)
            }
            guard try PostgresRecord.insert(connection, record) else {
                // Taken, perhaps by this very submit whose COMMIT was not answered: the salted hash tells.
                let ours = try connection.run(
                    "SELECT 1 FROM transitions WHERE account = $1 AND id = $2 AND seq = 1 AND hash = $3",
                    [.int(key.account), .id(id), .bytes(transition.hash)])
                guard ours.count == 1 else { throw StoreError.idTaken }
                return Submission(job: record, repeated: false)
            }
            try PostgresRecord.append(connection, transition, of: key)
            try connection.run(
                "INSERT INTO payloads (account, id, spec, salt, metadata, files, retention) VALUES ($1,$2,$3,$4,$5,$6,$7)",
                [
                    .int(key.account), .id(id), .bytes(job.spec), .bytes(salt), .bytes(job.metadata),
                    .text(job.files.isEmpty ? nil : try SQLiteRows.text(job.files)), .text(job.retention.map { String($0) }),
                ])
            for sha256 in job.files.values { try Self.use(connection, sha256, by: id.description) }
            if let callback = job.callback { try Self.keep(callback, of: key, in: connection) }
            return Submission(job: record, repeated: false)
        }
        hooks.onCommit(1)
        if !submission.repeated {
            meter.add(job.keptBytes, account: job.account)
            announce(.ready(record.requirement.stored))
        }
        return submission
    }

    private func checkQuota(_ account: Int64) async throws {
        let quota = settings.queuedPerAccount
        if memory.withLock({ $0.maySubmit(account, quota: quota) }) { return }
        let count = try await pool.read { connection in
            // Counted no further than matters.
            try connection.run(
                "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE status = 0 AND account = $1 LIMIT $2) q",
                [.int(account), .int(quota)]
            ).first?.int(0) ?? 0
        }
        guard count < quota else { throw StoreError.quotaExceeded(quota) }
        memory.withLock { $0.counted(account, Int(count)) }
    }

    private static func repetition(
        _ connection: PostgresConnection, _ job: NewJob, _ idempotency: NewJob.Idempotency, _ id: JobID, _ now: Timestamp
    ) throws -> JobRecord? {
        let made = try connection.run(
            "INSERT INTO idempotency (account, operation, key, body, job, created) VALUES ($1,$2,$3,$4,$5,$6) ON CONFLICT DO NOTHING",
            [
                .int(job.account), .text(idempotency.operation), .text(idempotency.key), .bytes(idempotency.bodyDigest), .id(id),
                .int(now.milliseconds),
            ])
        if made.changed == 1 { return nil }
        let known = try connection.run(
            "SELECT body, job FROM idempotency WHERE account = $1 AND operation = $2 AND key = $3",
            [.int(job.account), .text(idempotency.operation), .text(idempotency.key)])
        guard let row = known.first else { throw StoreError.notFound }
        guard row.data(0) == idempotency.bodyDigest else { throw StoreError.idempotencyConflict }
        guard let record = try PostgresRecord.lock(connection, JobKey(account: job.account, id: try row.id(1))) else {
            throw StoreError.notFound
        }
        return record
    }

    // MARK: Claims

    public func claim(_ ask: ClaimAsk) async throws -> GrantedClaim? {
        let seen = settings.clocks.uptime()
        memory.withLock { $0.saw(ask.host, ask.capabilities, at: seen) }
        if let claimID = ask.claimID, let again = try await claimAgain(ask.host, claimID) {
            _ = try await renew(again.job.key.id, again.lease)
            return again
        }
        // Groups that yielded nothing for this host are not asked twice.
        var barren: Set<Group> = []
        while true {
            var groups = try await readyGroups().filter { $0.requirement.fits(ask.capabilities) && !barren.contains($0) }
            if let only = ask.only { groups = try await group(of: only, among: groups).map { [$0] } ?? [] }
            guard !groups.isEmpty else { return nil }
            let ordered = memory.withLock { memory in
                groups.map { ($0, memory.pass(of: $0.account)) }.sorted {
                    $0.0.priority != $1.0.priority ? $0.0.priority > $1.0.priority : $0.1 < $1.1
                }
            }
            for (group, _) in ordered {
                if let granted = try await grant(from: group, ask, at: seen) {
                    memory.withLock { $0.took(group.account) }
                    return granted
                }
                barren.insert(group)
            }
        }
    }

    public func offers(_ ask: ClaimAsk, limit: Int) async throws -> [JobRecord] {
        let groups = try await readyGroups().filter { $0.requirement.fits(ask.capabilities) }.prefix(Self.mostOffered)
        return try await pool.read { connection in
            let records = try groups.flatMap { group in
                try connection.run(
                    "SELECT \(PostgresRecord.columns) FROM jobs j WHERE ready AND priority = $1 AND account = $2 "
                        + "AND requirement = $3 ORDER BY id LIMIT $4",
                    [.int(group.priority), .int(group.account), .text(group.requirement.stored), .int(limit)]
                ).map { try PostgresRecord.record($0) }
            }
            return records.sorted { $0.priority != $1.priority ? $0.priority > $1.priority : $0.key.id < $1.key.id }
                .prefix(limit).map(\.self)
        }
    }

    /// Groups of ready jobs that one look reads at most, the highest priorities first.
    private static let mostOffered = 64

    /// The group in which a ready job stands.
    private func group(of id: JobID, among groups: [Group]) async throws -> Group? {
        let accounts = Set(groups.map(\.account))
        let found = try await pool.read { connection -> Group? in
            for account in accounts {
                let rows = try connection.run(
                    "SELECT priority, account, requirement FROM jobs WHERE account = $1 AND id = $2 AND ready",
                    [.int(account), .id(id)])
                if let row = rows.first {
                    return Group(
                        priority: Int(row.int(0) ?? 0), account: row.int(1) ?? 0,
                        requirement: Requirement(stored: row.text(2) ?? "", avoided: []))
                }
            }
            return nil
        }
        return found.flatMap { groups.contains($0) ? $0 : nil }
    }

    public func spec(of key: JobKey) async throws -> [UInt8] {
        let spec = try await pool.read { connection -> Data? in
            try connection.run(
                "SELECT spec FROM payloads WHERE account = $1 AND id = $2", [.int(key.account), .id(key.id)]
            ).first?.data(0)
        }
        guard let spec else { throw StoreError.notFound }
        return Array(spec)
    }

    /// Ready jobs that differ in nothing a claim looks at.
    struct Group: Hashable {
        var priority: Int
        var account: Int64
        var requirement: Requirement
    }

    /// `g`: the groups, of which each is found from the one before.
    static let groups =
        "WITH RECURSIVE g AS ("
        + "(SELECT priority, account, requirement FROM jobs WHERE ready ORDER BY priority DESC, account, requirement LIMIT 1)"
        + " UNION ALL SELECT n.priority, n.account, n.requirement FROM g, LATERAL ("
        + "SELECT priority, account, requirement FROM jobs WHERE ready AND (priority = g.priority AND "
        + "(account, requirement) > (g.account, g.requirement) OR priority < g.priority) "
        + "ORDER BY priority DESC, account, requirement LIMIT 1) n) "

    /// Every group that has a ready job, by jumping through the index from one group to the next: its cost grows with the
    /// groups, not with the jobs.
    func readyGroups() async throws -> [Group] {
        try await pool.read { connection in
            try connection.run(
                Self.groups + "SELECT priority, account, requirement FROM g LIMIT 10000"
            ).map { row in
                Group(
                    priority: Int(row.int(0) ?? 0), account: row.int(1) ?? 0,
                    requirement: Requirement(stored: row.text(2) ?? "", avoided: []))
            }
        }
    }

    private func claimAgain(_ host: String, _ claimID: String) async throws -> GrantedClaim? {
        try await pool.read { [self] connection in
            let rows = try connection.run(
                "SELECT \(PostgresRecord.columns), p.spec FROM attempts a JOIN jobs j USING (account, id) "
                    + "JOIN payloads p USING (account, id) WHERE a.host = $1 AND a.claim = $2 AND a.answer IS NULL "
                    + "AND j.token = a.token AND j.attempt = a.attempt AND j.status IN (1, 2)", [.text(host), .text(claimID)])
            guard let row = rows.first else { return nil }
            let record = try PostgresRecord.record(row)
            return GrantedClaim(
                job: record, lease: lease(of: record, generation: try Self.generation(connection)),
                spec: row.data(PostgresRecord.columnCount) ?? Data())
        }
    }

    /// Locks the group's oldest job that nobody else is locking, and claims it.
    private func grant(from group: Group, _ ask: ClaimAsk, at seen: Uptime) async throws -> GrantedClaim? {
        let token = RandomText.hexadecimal(bytes: 16)
        let exact: [PostgresValue] = ask.only.map { [PostgresValue.id($0)] } ?? []
        let avoiding = memory.withLock { memory in
            var requirement = group.requirement
            requirement.avoided = [ask.host]
            return memory.leaves(requirement, host: ask.host, at: seen)
        }
        let granted = try await pool.transaction { [self] connection -> (GrantedClaim, StepPlan?)? in
            let generation = try Self.generation(connection)
            // Claimed already, by this very call whose COMMIT was not answered?
            if let row = try connection.run(
                "SELECT \(PostgresRecord.columns), p.spec FROM attempts a JOIN jobs j USING (account, id) "
                    + "JOIN payloads p USING (account, id) WHERE a.host = $1 AND a.claim IS NOT DISTINCT FROM $2 AND a.token = $3 "
                    + "AND a.answer IS NULL AND a.claim IS NOT NULL AND j.token = a.token",
                [
                    .text(ask.host), .text(ask.claimID), .text(token),
                ]
            ).first {
                let record = try PostgresRecord.record(row)
                return (
                    GrantedClaim(
                        job: record, lease: lease(of: record, generation: generation),
                        spec: row.data(PostgresRecord.columnCount) ?? Data()), nil
                )
            }
            let rows = try connection.run(
                "WITH picked AS MATERIALIZED (SELECT account, id FROM jobs WHERE ready AND priority = $1 AND account = $2 "
                    + "AND requirement = $3 AND (NOT $4::boolean OR NOT $5::text = ANY (string_to_array(avoided, ','))) "
                    + (ask.only == nil ? "" : "AND id = $6 ") + "ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) "
                    + "SELECT \(PostgresRecord.columns), p.spec FROM picked JOIN jobs j USING (account, id) "
                    + "JOIN payloads p USING (account, id)",
                [
                    .int(group.priority), .int(group.account), .text(group.requirement.stored),
                    .bool(avoiding && ask.only == nil), .text(ask.host),
                ] + exact)
            guard let row = rows.first else { return nil }
            let record = try PostgresRecord.record(row)
            var claimed = record
            claimed.token = token
            guard
                let plan = try advance(
                    connection, from: record, to: claimed, .claimed(host: ask.host), actor: "host:\(ask.host)", lease: nil,
                    generation: generation)
            else { return nil }
            try connection.run(
                "INSERT INTO attempts (id, attempt, account, host, token, claim, claimed, home) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)",
                [
                    .id(record.key.id), .int(plan.next.state.attempt), .int(record.key.account), .text(ask.host), .text(token),
                    .text(ask.claimID), .int(plan.transition.at.milliseconds),
                    .text(settings.coordinator.isEmpty ? "" : LogPart.text([LogPart(home: settings.coordinator, base: 0)])),
                ])
            let granted = GrantedClaim(
                job: plan.next, lease: lease(of: plan.next, generation: generation),
                spec: row.data(PostgresRecord.columnCount) ?? Data())
            return (granted, plan)
        }
        guard let (claim, plan) = granted else { return nil }
        remember(claim.job.key, claim.lease, cancel: false)
        if let plan { apply(plan) }
        return claim
    }

    // MARK: Leases

    func remember(_ key: JobKey, _ lease: Lease, cancel: Bool) {
        let until = settings.clocks.uptime().advanced(bySeconds: settings.leaseSeconds)
        memory.withLock { memory in
            memory.generation = lease.generation
            memory.leases[key.id] = PostgresMemory.KnownLease(
                key: key, lease: lease, cancel: cancel, renewed: false, until: until)
        }
    }

    public func renew(_ id: JobID, _ lease: Lease) async throws -> Bool {
        let known = try await known(id, lease)
        let now = settings.clocks.uptime()
        memory.withLock { memory in
            memory.leases[id]?.renewed = true
            memory.leases[id]?.until = now.advanced(bySeconds: settings.leaseSeconds)
        }
        return known.cancel
    }

    public func holder(_ id: JobID, _ lease: Lease) async throws -> (key: JobKey, attempt: Int) {
        let known = try await known(id, lease)
        return (known.key, known.lease.epoch)
    }

    /// The live lease, from memory or else from its row, where it is renewed in the same statement.
    private func known(_ id: JobID, _ lease: Lease) async throws -> PostgresMemory.KnownLease {
        let now = settings.clocks.uptime()
        if let known = memory.withLock({ $0.live(id, lease, at: now) }) { return known }
        let (shift, full) = (shift, Self.leaseMilliseconds(settings))
        let row = try await pool.transaction { connection -> (account: Int64, cancel: Bool, generation: Int)? in
            let rows = try connection.run(
                "UPDATE jobs SET lease_until = \(Self.now) + $2 WHERE id = $3 AND attempt = $4 AND token = $5 AND host = $6 "
                    + "AND status IN (1, 2) RETURNING account, cancel",
                [
                    shift, .int(full), .id(id), .int(lease.epoch), .text(lease.token), .text(lease.host),
                ])
            let generation = try Self.generation(connection)
            return rows.first.map { ($0.int(0) ?? 0, $0.bool(1), generation) }
        }
        guard let row, row.generation == lease.generation else { throw StoreError.leaseLost }
        remember(JobKey(account: row.account, id: id), lease, cancel: row.cancel)
        guard let known = memory.withLock({ $0.leases[id] }) else { throw StoreError.leaseLost }
        return known
    }

    public func stage(_ output: OutputFile, for id: JobID, _ lease: Lease) async throws {
        let (key, attempt) = try await holder(id, lease)
        try await pool.transaction { connection in
            let live = try connection.run(
                "SELECT 1 FROM jobs WHERE account = $1 AND id = $2 AND attempt = $3 AND token = $4 AND host = $5 AND status IN (1, 2) "
                    + "FOR SHARE", [.int(key.account), .id(id), .int(attempt), .text(lease.token), .text(lease.host)])
            guard live.count == 1, try Self.generation(connection) == lease.generation else { throw StoreError.leaseLost }
            try connection.run(
                "INSERT INTO outputs (id, attempt, account, path, size, sha256) VALUES ($1,$2,$3,$4,$5,$6) "
                    + "ON CONFLICT (id, attempt, path) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256",
                [.id(id), .int(attempt), .int(key.account), .text(output.path), .int(output.size), .text(output.sha256)])
            try Self.use(connection, output.sha256, by: id.description)
        }
        meter.add(output.size, account: key.account)
    }

    // MARK: Reports

    public func report(_ id: JobID, _ lease: Lease, _ input: JobInput, _ end: AttemptEnd) async throws -> JobRecord {
        let (record, plan) = try await pool.transaction { [self] connection -> (JobRecord, StepPlan?) in
            let generation = try Self.generation(connection)
            guard generation == lease.generation else { throw StoreError.leaseLost }
            let attempts = try connection.run(
                "SELECT account, answer FROM attempts WHERE id = $1 AND attempt = $2 AND token = $3 AND host = $4",
                [.id(id), .int(lease.epoch), .text(lease.token), .text(lease.host)])
            guard let attempt = attempts.first,
                let record = try PostgresRecord.lock(connection, JobKey(account: attempt.int(0) ?? 0, id: id))
            else { throw StoreError.leaseLost }
            // Read again under the job's lock: the same report may just have been accepted on another connection.
            let answer = try connection.run(
                "SELECT answer FROM attempts WHERE id = $1 AND attempt = $2", [.id(id), .int(lease.epoch)]
            ).first?.int(0)
            if let answer {
                var then = record
                then.state.status = SQLiteRows.status(Int(answer))
                then.state.attempt = lease.epoch
                return (then, nil)
            }
            guard record.state.attempt == lease.epoch, record.token == lease.token else { throw StoreError.leaseLost }
            let missing = try Self.missingOutputs(connection, end.outputs, of: id, attempt: lease.epoch)
            guard missing.isEmpty else { throw StoreError.outputsMissing(missing) }
            let plan: StepPlan?
            do {
                plan = try advance(
                    connection, from: record, to: record, input, actor: "host:\(lease.host)", lease: lease, end: end,
                    generation: generation)
            } catch is StaleInput {
                throw StoreError.leaseLost
            }
            let next = plan?.next ?? record
            if input != .started {
                try connection.run(
                    "UPDATE attempts SET answer = $1, log_bytes = $4 WHERE id = $2 AND attempt = $3",
                    [.int(SQLiteRows.code(next.state.status)), .id(id), .int(lease.epoch), .int(end.logBytes ?? 0)])
            }
            return (next, plan)
        }
        if let plan {
            apply(plan)
            if let bytes = end.logBytes { meter.add(bytes, account: record.key.account) }
            if input == .hostLost { hooks.onLeaseLost(id, lease.host) }
        }
        return record
    }

    private static func missingOutputs(
        _ connection: PostgresConnection, _ outputs: [OutputFile], of id: JobID, attempt: Int
    ) throws -> [String] {
        var missing: [String] = []
        for output in outputs where missing.count < 10 {
            let there = try connection.run(
                "SELECT 1 FROM outputs WHERE id = $1 AND attempt = $2 AND path = $3 AND size = $4 AND sha256 = $5",
                [.id(id), .int(attempt), .text(output.path), .int(output.size), .text(output.sha256)])
            if there.count == 0 { missing.append(output.path) }
        }
        return missing
    }

    public func undelivered(_ claim: GrantedClaim) async throws {
        try await lose(claim.job.key, token: claim.lease.token, .claimUndelivered, expiredOnly: false)
    }

    public func cancel(_ key: JobKey, actor: String) async throws -> JobRecord {
        try await stepOfOwner(key, .cancelRequested, actor: actor)
    }

    public func replay(_ key: JobKey, actor: String) async throws -> JobRecord {
        try await stepOfOwner(key, .replayed, actor: actor)
    }

    public func acknowledge(_ key: JobKey, actor: String) async throws -> JobRecord {
        let soon = settings.clocks.wall().advanced(bySeconds: settings.acknowledgedSeconds).milliseconds
        let (record, plan) = try await pool.transaction { [self] connection -> (JobRecord, StepPlan?) in
            guard let record = try PostgresRecord.lock(connection, key) else { throw StoreError.notFound }
            let last = try connection.run(
                "SELECT detail FROM transitions WHERE account = $1 AND id = $2 AND seq = $3",
                [.int(key.account), .id(key.id), .int(record.sequence)]
            ).first?.data(0)
            if try TransitionDetail.note(in: last) == JobMachine.acknowledgement { return (record, nil) }
            do {
                let plan = try advance(
                    connection, from: record, to: record, .acknowledged, actor: actor, lease: nil,
                    generation: try Self.generation(connection))
                try connection.run(
                    "UPDATE expiry SET at = $1 WHERE account = $2 AND id = $3 AND at > $1",
                    [.int(soon), .int(key.account), .id(key.id)])
                return (plan?.next ?? record, plan)
            } catch let stale as StaleInput {
                throw StoreError.wrongState(stale.status)
            }
        }
        if let plan { apply(plan) }
        return record
    }

    private func stepOfOwner(_ key: JobKey, _ input: JobInput, actor: String) async throws -> JobRecord {
        let (record, plan) = try await pool.transaction { [self] connection -> (JobRecord, StepPlan?) in
            guard let record = try PostgresRecord.lock(connection, key) else { throw StoreError.notFound }
            do {
                let plan = try advance(
                    connection, from: record, to: record, input, actor: actor, lease: nil,
                    generation: try Self.generation(connection))
                return (plan?.next ?? record, plan)
            } catch let stale as StaleInput {
                throw StoreError.wrongState(stale.status)
            }
        }
        if let plan { apply(plan) }
        if input == .cancelRequested { memory.withLock { $0.leases[key.id]?.cancel = true } }
        return record
    }

    /// Ends a lease from this side.
    func lose(_ key: JobKey, token: String, _ input: JobInput, expiredOnly: Bool) async throws {
        let shift = shift
        let plan = try await pool.transaction { [self] connection -> StepPlan? in
            guard let record = try PostgresRecord.lock(connection, key), record.token == token,
                record.state.status == .provisioning || record.state.status == .processing
            else { return nil }
            if expiredOnly {
                let expired = try connection.run(
                    "SELECT 1 FROM jobs WHERE account = $2 AND id = $3 AND lease_until < \(Self.now)",
                    [shift, .int(key.account), .id(key.id)])
                guard expired.count == 1 else { return nil }
            }
            hooks.onLeaseEnding(key.id, record.state.attempt)
            return try advance(
                connection, from: record, to: record, input, actor: "coordinator", lease: nil,
                generation: try Self.generation(connection))
        }
        if let plan {
            apply(plan)
            if input == .hostLost { hooks.onLeaseLost(key.id, plan.next.state.host ?? "") }
        }
    }

    /// One step of the machine with everything it asks for.
    private func advance(
        _ connection: PostgresConnection, from old: JobRecord, to new: JobRecord, _ input: JobInput, actor: String, lease: Lease?,
        end: AttemptEnd = AttemptEnd(), generation: Int
    ) throws -> StepPlan? {
        let now = settings.clocks.wall()
        guard
            let plan = try StepPlan.make(
                machine, from: old, to: new, input, actor: actor, end: end, now: now, random: settings.random())
        else { return nil }
        let next = plan.next
        let grants = plan.actions.contains(.grantLease)
        let ready = next.state.status == .queued && (next.notBefore ?? now) <= now
        guard
            try PostgresRecord.replace(
                connection, old, with: next, under: lease,
                leaseFor: grants ? Self.leaseMilliseconds(settings) : nil, generation: generation, shift: shift,
                ready: ready)
        else { throw StoreError.leaseLost }
        try PostgresRecord.append(connection, plan.transition, of: old.key)
        if let result = plan.result {
            try connection.run(
                "INSERT INTO results (account, id, attempt, exit, error, outputs) VALUES ($1,$2,$3,$4,$5,$6) "
                    + "ON CONFLICT (account, id) DO UPDATE SET attempt = excluded.attempt, exit = excluded.exit, "
                    + "error = excluded.error, outputs = excluded.outputs",
                [
                    .int(old.key.account), .id(old.key.id), .int(next.state.attempt), .text(result.exit), .text(result.error),
                    .text(result.outputs),
                ])
        }
        if plan.actions.contains(.settle) {
            try Self.scheduleExpiry(connection, next, usually: settings.retentionSeconds)
            try Self.enqueueWebhook(of: old.key, at: now, in: connection)
        }
        if input == .replayed { try Self.unscheduleExpiry(connection, old.key) }
        return plan
    }

    /// After the commit.
    private func apply(_ plan: StepPlan) {
        hooks.onCommit(1)
        let record = plan.next
        for action in plan.actions {
            switch action {
            case .enqueue:
                if (record.notBefore ?? record.createdAt) <= settings.clocks.wall() {
                    announce(.ready(record.requirement.stored))
                }
            case .endLease:
                memory.withLock { _ = $0.leases.removeValue(forKey: record.key.id) }
                announce(.ended(record.key.id, record.state.attempt))
            case .settle:
                hooks.onEnd(record)
                announce(.webhook)
            case .grantLease: hooks.onClaim()
            }
        }
        announce(.changed(record.key.id))
    }
}
