import CargoArtifact
public import CargoWire
import Crypto
import Foundation
import GRDB
import Synchronization

/// The writes: each is one step of the state machine inside one savepoint of a group commit.
extension SQLiteJobStore {
    public func submit(_ job: NewJob) async throws -> Submission {
        try await writer.perform(try submitting(job))
    }

    public func submit(_ job: NewJob, then: @escaping @Sendable (Result<Submission, any Error>) -> Void) throws {
        writer.perform(try submitting(job), then: then)
    }

    /// What is to be done inside a commit.
    typealias Write<Value> = @Sendable (Database, inout GroupCommit.Effects) throws -> Value

    private func submitting(_ job: NewJob) throws -> Write<Submission> {
        let waiting = hot.withLock { $0.ready.queued(of: job.account) }
        guard waiting < settings.queuedPerAccount else { throw StoreError.quotaExceeded(settings.queuedPerAccount) }
        let kept = job.keptBytes
        try meter.admit(kept, account: job.account)
        return { [self] database, effects in
            let now = settings.clocks.wall()
            let id = job.id ?? JobID(at: now)
            let key = JobKey(account: job.account, id: id)
            if let repeated = try repetition(database, job, as: id, now) { return Submission(job: repeated, repeated: true) }
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
            do {
                try SQLiteRows.insert(database, record)
            } catch let error as DatabaseError where error.resultCode == .SQLITE_CONSTRAINT {
                throw StoreError.idTaken
            }
            try SQLiteRows.append(database, first, of: key)
            try database.run(
                "INSERT INTO payloads (account, id, spec, salt, metadata, files, retention) VALUES (?,?,?,?,?,?,?)",
                [
                    .int(key.account), .id(id), .bytes(job.spec), .bytes(salt), .bytes(job.metadata),
                    job.files.isEmpty ? .null : .text(try SQLiteRows.text(job.files)), .real(job.retention),
                ])
            for sha256 in job.files.values { try SQLiteRows.use(database, sha256, by: id.description) }
            if let callback = job.callback { try Self.keep(callback, of: key, in: database) }
            effects.append { [self] in
                meter.add(kept, account: job.account)
                ready(record, notBefore: nil)
            }
            return Submission(job: record, repeated: false)
        }
    }

    /// Keeps the job's idempotency key, or answers the job that had it first.
    private func repetition(_ database: Database, _ job: NewJob, as id: JobID, _ now: Timestamp) throws -> JobRecord? {
        guard let idempotency = job.idempotency else { return nil }
        try database.run(
            "INSERT OR IGNORE INTO idempotency (account, operation, key, body, job, created) VALUES (?,?,?,?,?,?)",
            [
                .int(job.account), .text(idempotency.operation), .text(idempotency.key), .bytes(idempotency.bodyDigest), .id(id),
                .int(now.milliseconds),
            ])
        if database.changesCount == 1 { return nil }
        let known = try database.first(
            "SELECT body, job FROM idempotency WHERE account = ? AND operation = ? AND key = ?",
            [.int(job.account), .text(idempotency.operation), .text(idempotency.key)]
        ) { (body: $0.data(0), id: $0.id(1)) }
        guard let known, known.body == idempotency.bodyDigest else { throw StoreError.idempotencyConflict }
        guard let first = known.id, let record = try SQLiteRows.load(database, JobKey(account: job.account, id: first)) else {
            throw StoreError.notFound
        }
        return record
    }

    public func claim(_ ask: ClaimAsk) async throws -> GrantedClaim? {
        let seen = settings.clocks.uptime()
        let held = hot.withLock { hot -> HotState.LiveLease? in
            hot.saw(ask.host, ask.capabilities, at: seen)
            guard let claimID = ask.claimID,
                let id = hot.claims[HotState.ClaimName(host: ask.host, claimID: claimID)]
            else { return nil }
            // The host counts its lease from this answer, so the lease must too.
            hot.renew(id, until: seen.advanced(bySeconds: settings.leaseSeconds))
            return hot.leases[id]
        }
        if let held, let again = try await claimAgain(held) { return again }
        while let entry = hot.withLock({ $0.take(for: ask.host, ask.capabilities, only: ask.only, at: seen) }) {
            do {
                return try await grant(entry, ask)
            } catch is StaleInput {
                continue  // It was cancelled while it waited in memory.
            } catch StoreError.notFound {
                continue
            } catch {
                hot.withLock { $0.ready.insert(entry) }
                throw error
            }
        }
        return nil
    }

    public func offers(_ ask: ClaimAsk, limit: Int) async throws -> [JobRecord] {
        let entries = hot.withLock { $0.offers(ask.capabilities, limit: limit) }
        return try await database.read { database in
            // One that was cancelled is still in its line.
            try entries.compactMap { try SQLiteRows.load(database, $0.key) }.filter { $0.state.status == .queued }
        }
    }

    public func spec(of key: JobKey) async throws -> [UInt8] {
        Array(try await database.read { [self] in try spec($0, key) })
    }

    private func claimAgain(_ held: HotState.LiveLease) async throws -> GrantedClaim? {
        try await database.read { [self] database in
            guard let record = try SQLiteRows.load(database, held.key), record.token == held.token else { return nil }
            return GrantedClaim(job: record, lease: lease(of: record), spec: try spec(database, held.key))
        }
    }

    private func spec(_ database: Database, _ key: JobKey) throws -> Data {
        let spec = try database.first(
            "SELECT spec FROM payloads WHERE account = ? AND id = ?", [.int(key.account), .id(key.id)]
        ) { $0.data(0) }
        guard let spec, let spec else { throw StoreError.notFound }
        return spec
    }

    /// A claim whose answer may have been lost is looked up, so it is not for here; nor is a job that the host may not have.
    public func claim(
        _ ask: ClaimAsk, of mayUse: @Sendable (Int64) -> Bool,
        then: @escaping @Sendable (Result<GrantedClaim, any Error>) -> Void
    ) -> Bool {
        let seen = settings.clocks.uptime()
        let entry = hot.withLock { hot -> ReadyQueue.Entry? in
            hot.saw(ask.host, ask.capabilities, at: seen)
            if let claimID = ask.claimID, hot.claims[HotState.ClaimName(host: ask.host, claimID: claimID)] != nil { return nil }
            return hot.take(for: ask.host, ask.capabilities, at: seen)
        }
        guard let entry else { return false }
        guard mayUse(entry.key.account) else {
            hot.withLock { $0.ready.insert(entry) }
            return false
        }
        writer.perform(granting(entry, ask)) { [self] result in
            if case .failure(let error) = result, !(error is StaleInput), error as? StoreError != .notFound {
                hot.withLock { $0.ready.insert(entry) }
            }
            then(result)
        }
        return true
    }

    private func grant(_ entry: ReadyQueue.Entry, _ ask: ClaimAsk) async throws -> GrantedClaim {
        try await writer.perform(granting(entry, ask))
    }

    private func granting(_ entry: ReadyQueue.Entry, _ ask: ClaimAsk) -> Write<GrantedClaim> {
        let token = RandomText.hexadecimal(bytes: 16)
        return { [self] database, effects in
            guard let record = try SQLiteRows.load(database, entry.key) else { throw StoreError.notFound }
            var claimed = record
            claimed.token = token
            let next = try advance(
                database, from: record, to: claimed, .claimed(host: ask.host), actor: "host:\(ask.host)", lease: nil, &effects)
            try database.run(
                "INSERT INTO attempts (id, attempt, account, host, token, claim, claimed) VALUES (?,?,?,?,?,?,?)",
                [
                    .id(next.key.id), .int(next.state.attempt), .int(next.key.account), .text(ask.host), .text(token),
                    .text(ask.claimID), .int(settings.clocks.wall().milliseconds),
                ])
            let granted = GrantedClaim(job: next, lease: lease(of: next), spec: try spec(database, entry.key))
            effects.append { [self] in
                let deadline = settings.clocks.uptime().advanced(bySeconds: settings.leaseSeconds)
                hot.withLock { $0.grant(liveLease(of: next, claimID: ask.claimID, deadline: deadline)) }
            }
            return granted
        }
    }

    public func renew(_ id: JobID, _ lease: Lease) async throws -> Bool {
        guard lease.generation == generation else { throw StoreError.leaseLost }
        let now = settings.clocks.uptime()
        let held = hot.withLock { hot -> HotState.LiveLease? in
            guard let held = hot.live(id, lease) else { return nil }
            hot.renew(id, until: now.advanced(bySeconds: settings.leaseSeconds))
            return held
        }
        guard let held else { throw StoreError.leaseLost }
        return held.cancel
    }

    public func isHeld(_ id: JobID, under lease: Lease) -> Bool {
        lease.generation == generation && hot.withLock { $0.live(id, lease) != nil }
    }

    public func holder(_ id: JobID, _ lease: Lease) async throws -> (key: JobKey, attempt: Int) {
        guard lease.generation == generation, let held = hot.withLock({ $0.live(id, lease) }) else { throw StoreError.leaseLost }
        return (held.key, held.attempt)
    }

    public func stage(_ output: OutputFile, for id: JobID, _ lease: Lease) async throws {
        let (key, attempt) = try await holder(id, lease)
        try await writer.perform { [self] database, effects in
            guard let record = try SQLiteRows.load(database, key), record.token == lease.token, record.state.attempt == attempt,
                record.state.status == .provisioning || record.state.status == .processing
            else { throw StoreError.leaseLost }
            try database.cachedStatement(
                sql: "INSERT OR REPLACE INTO outputs (id, attempt, account, path, size, sha256) VALUES (?,?,?,?,?,?)"
            ).execute(arguments: [id.bytes, attempt, key.account, output.path, output.size, output.sha256])
            try SQLiteRows.use(database, output.sha256, by: id.description)
            effects.append { [self] in meter.add(output.size, account: key.account) }
        }
    }

    public func report(_ id: JobID, _ lease: Lease, _ input: JobInput, _ end: AttemptEnd) async throws -> JobRecord {
        try await writer.perform(try reporting(id, lease, input, end))
    }

    public func report(
        _ id: JobID, _ lease: Lease, _ input: JobInput, _ end: AttemptEnd,
        then: @escaping @Sendable (Result<JobRecord, any Error>) -> Void
    ) throws {
        writer.perform(try reporting(id, lease, input, end), then: then)
    }

    private func reporting(_ id: JobID, _ lease: Lease, _ input: JobInput, _ end: AttemptEnd) throws -> Write<JobRecord> {
        guard lease.generation == generation else { throw StoreError.leaseLost }
        return { [self] database, effects in
            let attempt = try database.first(
                "SELECT account, answer FROM attempts WHERE id = ? AND attempt = ? AND token = ? AND host = ?",
                [.id(id), .int(lease.epoch), .text(lease.token), .text(lease.host)]
            ) { (account: $0.int64(0), answer: $0.isNull(1) ? nil : $0.int(1)) }
            guard let attempt, let record = try SQLiteRows.load(database, JobKey(account: attempt.account, id: id)) else {
                throw StoreError.leaseLost
            }
            if let answer = attempt.answer {
                // The same report again, its answer was lost on the way: say what was said then.
                var then = record
                then.state.status = SQLiteRows.status(answer)
                then.state.attempt = lease.epoch
                return then
            }
            guard record.state.attempt == lease.epoch, record.token == lease.token else { throw StoreError.leaseLost }
            let missing = try missingOutputs(database, end.outputs, of: id, attempt: lease.epoch)
            guard missing.isEmpty else { throw StoreError.outputsMissing(missing) }
            let next: JobRecord
            do {
                next = try advance(
                    database, from: record, to: record, input, actor: "host:\(lease.host)", lease: lease, end: end, &effects)
            } catch is StaleInput {
                throw StoreError.leaseLost
            }
            if input != .started {
                let logBytes = end.logBytes ?? 0
                try database.run(
                    "UPDATE attempts SET answer = ?, log_bytes = ? WHERE id = ? AND attempt = ?",
                    [.int(SQLiteRows.code(next.state.status)), .int(logBytes), .id(id), .int(lease.epoch)])
                if logBytes > 0 { effects.append { [self] in meter.add(logBytes, account: next.key.account) } }
            }
            return next
        }
    }

    private func missingOutputs(_ database: Database, _ outputs: [OutputFile], of id: JobID, attempt: Int) throws -> [String] {
        if outputs.isEmpty { return [] }
        let statement = try database.cachedStatement(
            sql: "SELECT 1 FROM outputs WHERE id = ? AND attempt = ? AND path = ? AND size = ? AND sha256 = ?")
        var missing: [String] = []
        for output in outputs where missing.count < 10 {
            let there = try Int.fetchOne(statement, arguments: [id.bytes, attempt, output.path, output.size, output.sha256])
            if there == nil { missing.append(output.path) }
        }
        return missing
    }

    public func cancel(_ key: JobKey, actor: String) async throws -> JobRecord {
        try await stepOfOwner(key, .cancelRequested, actor: actor)
    }

    public func replay(_ key: JobKey, actor: String) async throws -> JobRecord {
        try await stepOfOwner(key, .replayed, actor: actor)
    }

    public func acknowledge(_ key: JobKey, actor: String) async throws -> JobRecord {
        try await writer.perform { [self] database, effects in
            guard let record = try SQLiteRows.load(database, key) else { throw StoreError.notFound }
            let last = try Data.fetchOne(
                database, sql: "SELECT detail FROM transitions WHERE account = ? AND id = ? AND seq = ?",
                arguments: [key.account, key.id.bytes, record.sequence])
            if try TransitionDetail.note(in: last) == JobMachine.acknowledgement { return record }
            do {
                let next = try advance(
                    database, from: record, to: record, .acknowledged, actor: actor, lease: nil, &effects)
                let soon = settings.clocks.wall().advanced(bySeconds: settings.acknowledgedSeconds)
                try database.execute(
                    sql: "UPDATE expiry SET at = ? WHERE account = ? AND id = ? AND at > ?",
                    arguments: [soon.milliseconds, key.account, key.id.bytes, soon.milliseconds])
                return next
            } catch let stale as StaleInput {
                throw StoreError.wrongState(stale.status)
            }
        }
    }

    private func stepOfOwner(_ key: JobKey, _ input: JobInput, actor: String) async throws -> JobRecord {
        try await writer.perform { [self] database, effects in
            guard let record = try SQLiteRows.load(database, key) else { throw StoreError.notFound }
            do {
                return try advance(database, from: record, to: record, input, actor: actor, lease: nil, &effects)
            } catch let stale as StaleInput {
                throw StoreError.wrongState(stale.status)
            }
        }
    }

    public func tick() async throws {
        let (now, uptime) = (settings.clocks.wall(), settings.clocks.uptime())
        let (due, expired) = hot.withLock { hot in
            (hot.promote(now: now), hot.expired(at: uptime, leaseSeconds: settings.leaseSeconds))
        }
        for requirement in due { hooks.onReady(requirement) }
        for requirement in hot.withLock({ $0.stillReady(at: uptime) }) { hooks.onStillReady(requirement) }
        try await flushMeter()
        for lease in expired { try await lose(lease, input: .hostLost, actor: "coordinator", deadline: uptime) }
    }

    /// The claim's answer could not be delivered: the job goes back as if it had not been claimed.
    public func undelivered(_ claim: GrantedClaim) async throws {
        guard let held = hot.withLock({ $0.live(claim.job.key.id, claim.lease) }) else { return }
        try await lose(held, input: .claimUndelivered, actor: "coordinator", deadline: nil)
    }

    public func giveBack(_ claim: GrantedClaim) {
        guard let held = hot.withLock({ $0.live(claim.job.key.id, claim.lease) }) else { return }
        lose(held, input: .claimUndelivered, actor: "coordinator", deadline: nil) { _ in }
    }

    private func lose(_ lease: HotState.LiveLease, input: JobInput, actor: String, deadline: Uptime?) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            lose(lease, input: input, actor: actor, deadline: deadline) { continuation.resume(with: $0) }
        }
    }

    /// Ends a lease from this side, unless it was renewed since `deadline` was looked at.
    private func lose(
        _ lease: HotState.LiveLease, input: JobInput, actor: String, deadline: Uptime?,
        then: @escaping @Sendable (Result<Void, any Error>) -> Void
    ) {
        let stillOut = hot.withLock { hot -> Bool in
            guard let held = hot.leases[lease.key.id], held.token == lease.token else { return false }
            if let deadline, held.deadline >= deadline { return false }
            hot.end(lease.key.id)
            return true
        }
        guard stillOut else { return then(.success(())) }
        hooks.onLeaseEnding(lease.key.id, lease.attempt)
        writer.perform { [self] database, effects in
            guard let record = try SQLiteRows.load(database, lease.key), record.token == lease.token else { return }
            let under = self.lease(of: record)
            guard record.state.status == .provisioning || record.state.status == .processing else { return }
            _ = try advance(database, from: record, to: record, input, actor: actor, lease: under, &effects)
        } then: { [self] result in
            if case .failure(let error) = result {
                if error is StaleInput { return then(.success(())) }
                // Not on disk: the lease is out again until the next tick tries anew.
                hot.withLock { $0.grant(lease) }
            }
            then(result)
        }
    }

    /// One step of the machine with everything it asks for: row, audit trail, result, effects after the commit.
    /// - Parameter new: the record with what the caller itself changes; its state is replaced by the step's.
    private func advance(
        _ database: Database, from old: JobRecord, to new: JobRecord, _ input: JobInput, actor: String, lease: Lease?,
        end: AttemptEnd = AttemptEnd(), _ effects: inout GroupCommit.Effects
    ) throws -> JobRecord {
        let now = settings.clocks.wall()
        guard
            let plan = try StepPlan.make(
                machine, from: old, to: new, input, actor: actor, end: end, now: now, random: settings.random())
        else { return old }
        let next = plan.next
        guard try SQLiteRows.replace(database, old, with: next, under: lease) else { throw StoreError.leaseLost }
        try SQLiteRows.append(database, plan.transition, of: old.key)
        if let result = plan.result {
            try database.run(
                "INSERT OR REPLACE INTO results (account, id, attempt, exit, error, outputs) VALUES (?,?,?,?,?,?)",
                [
                    .int(old.key.account), .id(old.key.id), .int(next.state.attempt), .text(result.exit), .text(result.error),
                    .text(result.outputs),
                ])
        }
        if plan.actions.contains(.settle) {
            try scheduleExpiry(database, next)
            try enqueueWebhook(of: old.key, at: now, in: database, &effects)
        }
        if input == .replayed { try unscheduleExpiry(database, old.key) }
        effects.append { [self] in
            apply(plan.actions, next, cancelRequested: input == .cancelRequested)
            if input == .hostLost { hooks.onLeaseLost(next.key.id, next.state.host ?? "") }
            if plan.actions.contains(.grantLease) { hooks.onClaim() }
        }
        return next
    }

    private func apply(_ actions: [JobAction], _ record: JobRecord, cancelRequested: Bool) {
        if cancelRequested { hot.withLock { $0.markCancelled(record.key.id) } }
        for action in actions {
            switch action {
            case .enqueue: ready(record, notBefore: record.notBefore)
            case .endLease:
                hooks.onLeaseEnding(record.key.id, record.state.attempt)
                hot.withLock { $0.end(record.key.id) }
            case .settle: hooks.onEnd(record)
            case .grantLease: break
            }
        }
        hooks.onChange(record.key.id)
    }

    private func ready(_ record: JobRecord, notBefore: Timestamp?) {
        let entry = entry(of: record)
        let now = settings.clocks.wall()
        let isReady = hot.withLock { $0.enqueue(entry, notBefore: notBefore, now: now) }
        if isReady { hooks.onReady(entry.requirement) }
    }
}
