import CargoWire

/// What one coordinator keeps of a shared store in memory: all of it may be lost.
struct PostgresMemory {
    /// A lease that this coordinator has seen alive: heartbeats are answered from here and written in batches.
    struct KnownLease {
        var key: JobKey
        var lease: Lease
        var cancel: Bool
        /// Renewed since the last flush.
        var renewed: Bool
        /// Not believed any longer than this without a word from the database.
        var until: Uptime
    }

    struct SeenHost {
        var capabilities: HostCapabilities
        var at: Uptime
    }

    var generation = 0
    /// As many as hosts hold through this coordinator.
    var leases: [JobID: KnownLease] = [:]
    /// Turns between accounts (stride scheduling), as this coordinator has given them.
    private var passes: [Int64: UInt64] = [:]
    private var virtualTime: UInt64 = 0
    private var hosts: [String: SeenHost] = [:]
    /// Queued jobs of an account: counted in the database, then only added to; counted again before it is believed.
    private var queued: [Int64: (count: Int, added: Int)] = [:]
    var lastTick: Uptime?
    var lastPoll: Uptime?

    /// A host that has not asked for work for so long is not waited for: one that waits asks again each 2 s.
    private let hostMemorySeconds = 5.0
    private let mostRemembered = 100_000

    mutating func saw(_ host: String, _ capabilities: HostCapabilities?, at now: Uptime) {
        let known = hosts[host]?.capabilities
        hosts[host] = SeenHost(capabilities: capabilities?.keeping(known) ?? known ?? HostCapabilities(), at: now)
        if hosts.count > mostRemembered { hosts = hosts.filter { $0.value.at.advanced(bySeconds: hostMemorySeconds) > now } }
    }

    /// Whether a host that the job should avoid must leave it to another that was seen lately.
    func leaves(_ requirement: Requirement, host: String, at now: Uptime) -> Bool {
        guard requirement.avoided.contains(host) else { return false }
        return hosts.contains { name, seen in
            seen.at.advanced(bySeconds: hostMemorySeconds) > now && !requirement.avoided.contains(name)
                && requirement.fits(seen.capabilities)
        }
    }

    /// The accounts in the order of their turns; one that is new begins at the current turn.
    mutating func pass(of account: Int64) -> UInt64 {
        if let pass = passes[account] { return pass }
        if passes.count > mostRemembered { passes = [:] }
        passes[account] = virtualTime
        return virtualTime
    }

    mutating func took(_ account: Int64) {
        virtualTime = max(virtualTime, pass(of: account))
        passes[account] = virtualTime + 1
    }

    /// Whether the account may queue one more for certain; else it has to be counted.
    mutating func maySubmit(_ account: Int64, quota: Int) -> Bool {
        guard var known = queued[account], known.count + known.added < quota, known.added < max(1, quota / 8) else {
            return false
        }
        known.added += 1
        queued[account] = known
        return true
    }

    mutating func counted(_ account: Int64, _ count: Int) {
        if queued.count > mostRemembered { queued = [:] }
        queued[account] = (count, 1)
    }

    func live(_ id: JobID, _ lease: Lease, at now: Uptime) -> KnownLease? {
        guard let known = leases[id], known.until > now, known.lease.generation == lease.generation,
            known.lease.epoch == lease.epoch,
            known.lease.token == lease.token, known.lease.host == lease.host
        else { return nil }
        return known
    }
}
