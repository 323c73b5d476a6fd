import CargoWire
import Foundation
import Synchronization

/// What time does to jobs: renewals are written, leases run out, delays end.
extension PostgresJobStore {
    /// Between two rounds; the coordinator calls more often.
    private static let roundSeconds = 0.45
    /// Leases or delayed jobs that one round takes up; the next takes the others.
    private static let mostOfARound = 1000

    public func tick() async throws {
        let now = settings.clocks.uptime()
        let (due, stalled) = memory.withLock { memory -> (Bool, Bool) in
            guard let last = memory.lastTick else {
                memory.lastTick = now
                return (true, false)
            }
            guard now >= last.advanced(bySeconds: Self.roundSeconds) else { return (false, false) }
            memory.lastTick = now
            return (true, now > last.advanced(bySeconds: max(1, settings.leaseSeconds / 6)))
        }
        guard due else { return }
        try await flush()
        try await flushMeter()
        // Our own silence is not the hosts': what they could not renew here gets its full time again.
        guard try await beat(stalled: stalled) else { return }
        for lost in try await expired() { try await lose(lost.key, token: lost.token, .hostLost, expiredOnly: true) }
        try await promote()
        try await poll(now)
    }

    /// Writes the renewals since the last time; what the database no longer knows as running is forgotten here.
    private func flush() async throws {
        let renewed = memory.withLock { memory -> [PostgresMemory.KnownLease] in
            let renewed = memory.leases.values.filter(\.renewed)
            for lease in renewed { memory.leases[lease.key.id]?.renewed = false }
            return renewed
        }
        guard !renewed.isEmpty else { return }
        let (shift, milliseconds) = (shift, Self.leaseMilliseconds(settings))
        let alive = try await pool.transaction { connection -> [JobID: Bool] in
            var alive: [JobID: Bool] = [:]
            // In one order everywhere, so that two coordinators never wait for each other.
            for known in renewed.sorted(by: { $0.key.id < $1.key.id }) {
                let rows = try connection.run(
                    "UPDATE jobs SET lease_until = \(Self.now) + $2 WHERE account = $3 AND id = $4 AND attempt = $5 AND token = $6 "
                        + "AND status IN (1, 2) RETURNING cancel",
                    [
                        shift, .int(milliseconds), .int(known.key.account), .id(known.key.id), .int(known.lease.epoch),
                        .text(known.lease.token),
                    ])
                if let row = rows.first { alive[known.key.id] = row.bool(0) }
            }
            return alive
        }
        memory.withLock { memory in
            for known in renewed where memory.leases[known.key.id]?.lease.token == known.lease.token {
                if let cancel = alive[known.key.id] {
                    memory.leases[known.key.id]?.cancel = cancel
                } else {
                    memory.leases[known.key.id] = nil
                }
            }
        }
    }

    /// Moves the pulse that all coordinators share. When it stood still (none was alive, the server was away or its clock
    /// leapt) or we stalled ourselves, every lease gets its full time again.
    /// - Returns: whether leases may be taken away now.
    private func beat(stalled: Bool) async throws -> Bool {
        let (shift, full) = (shift, Self.leaseMilliseconds(settings))
        let gap = Self.milliseconds(max(1, settings.leaseSeconds / 6))
        let (steady, generation) = try await pool.transaction { connection -> (Bool, Int) in
            let rows = try connection.run(
                "UPDATE pulse SET at = \(Self.now) FROM (SELECT at AS before FROM pulse FOR UPDATE) p "
                    + "RETURNING at - before BETWEEN 0 - 1000 AND $2::bigint", [shift, .int(gap)])
            let generation = try Self.generation(connection)
            if !stalled, rows.first?.bool(0) == true { return (true, generation) }
            try connection.run("UPDATE jobs SET lease_until = \(Self.now) + $2 WHERE status IN (1, 2)", [shift, .int(full)])
            return (false, generation)
        }
        memory.withLock { memory in
            if memory.generation != generation { memory.leases = [:] }
            memory.generation = generation
        }
        return steady
    }

    private func expired() async throws -> [(key: JobKey, token: String)] {
        let shift = shift
        return try await pool.read { connection in
            try connection.run(
                "SELECT account, id, token FROM jobs WHERE status IN (1, 2) AND lease_until < \(Self.now) ORDER BY lease_until LIMIT $2",
                [shift, .int(Self.mostOfARound)]
            ).map { (JobKey(account: $0.int(0) ?? 0, id: try $0.id(1)), $0.text(2) ?? "") }
        }
    }

    /// Delayed jobs whose time has come.
    private func promote() async throws {
        let now = settings.clocks.wall()
        let requirements = try await pool.transaction { connection in
            try connection.run(
                "UPDATE jobs SET ready = true WHERE (account, id) IN (SELECT account, id FROM jobs WHERE status = 0 AND NOT ready "
                    + "AND not_before <= $1 ORDER BY not_before LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING requirement",
                [.int(now.milliseconds), .int(Self.mostOfARound)]
            ).map { $0.text(0) ?? "" }
        }
        for requirement in requirements { announce(.ready(requirement)) }
    }

    /// What a lost hint would have told: each second or so, one waiter for each kind of job that is ready.
    private func poll(_ now: Uptime) async throws {
        let due = memory.withLock { memory -> Bool in
            if let last = memory.lastPoll, now < last.advanced(bySeconds: 0.5 + 0.5 * settings.random()) { return false }
            memory.lastPoll = now
            return true
        }
        guard due else { return }
        for requirement in Set(try await readyGroups().map(\.requirement)) { hooks.onStillReady(requirement) }
    }
}
