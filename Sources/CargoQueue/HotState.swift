import CargoWire

/// What the one process that owns a SQLite store keeps in memory: queued jobs in claim order, leases, hosts seen.
///
/// All of it follows from the rows, so a restart rebuilds it. Lease deadlines live only here: a restart gives every
/// lease its full time again (docs/rules.md 11). Its bounds are those of the rows it mirrors.
struct HotState {
    struct LiveLease {
        var key: JobKey
        var attempt: Int
        var token: String
        var host: String
        var claimID: String?
        var deadline: Uptime
        var cancel: Bool
    }

    struct SeenHost {
        var capabilities: HostCapabilities
        var at: Uptime
    }

    struct Delayed: Comparable {
        var at: Timestamp
        var entry: ReadyQueue.Entry
        static func < (left: Delayed, right: Delayed) -> Bool { left.at < right.at }
        static func == (left: Delayed, right: Delayed) -> Bool { left.at == right.at && left.entry == right.entry }
    }

    struct ClaimName: Hashable {
        var host: String
        var claimID: String
    }

    var ready = ReadyQueue()
    var delayed = MinimumHeap<Delayed>()
    private(set) var leases: [JobID: LiveLease] = [:]
    private(set) var claims: [ClaimName: JobID] = [:]
    private var hosts: [String: SeenHost] = [:]
    private var lastTick: Uptime?
    private var lastLook: Uptime?

    /// A host that has not asked for work for so long is not waited for: one that waits asks again each 2 s.
    private let hostMemorySeconds = 5.0

    mutating func saw(_ host: String, _ capabilities: HostCapabilities?, at now: Uptime) {
        let known = hosts[host]?.capabilities
        hosts[host] = SeenHost(capabilities: capabilities?.keeping(known) ?? known ?? HostCapabilities(), at: now)
        if hosts.count > 100_000 { hosts = hosts.filter { $0.value.at.advanced(bySeconds: hostMemorySeconds) > now } }
    }

    /// What a claim by this host would be given. Nothing changes.
    func offers(_ capabilities: HostCapabilities, limit: Int) -> [ReadyQueue.Entry] {
        ready.offers(where: { $0.fits(capabilities) }, limit: limit)
    }

    mutating func take(
        for host: String, _ capabilities: HostCapabilities, only: JobID? = nil, at now: Uptime
    ) -> ReadyQueue.Entry? {
        if let only { return ready.take(only) { $0.fits(capabilities) } }
        let hosts = hosts
        let memory = hostMemorySeconds
        let accepts = { (requirement: Requirement) in
            guard requirement.fits(capabilities) else { return false }
            guard requirement.avoided.contains(host) else { return true }
            return !hosts.contains { name, seen in
                seen.at.advanced(bySeconds: memory) > now && !requirement.avoided.contains(name)
                    && requirement.fits(seen.capabilities)
            }
        }
        return ready.take(where: accepts, preferring: { $0.isAtHand(capabilities) })
    }

    /// Requests to models that wait, each five seconds; a thousand at most.
    mutating func stillReady(at now: Uptime) -> [Requirement] {
        if let lastLook, now < lastLook.advanced(bySeconds: 5) { return [] }
        lastLook = now
        return Array(ready.requirements.lazy.filter { $0.model != nil }.prefix(1000))
    }

    mutating func grant(_ lease: LiveLease) {
        leases[lease.key.id] = lease
        if let claimID = lease.claimID { claims[ClaimName(host: lease.host, claimID: claimID)] = lease.key.id }
    }

    mutating func end(_ id: JobID) {
        guard let lease = leases.removeValue(forKey: id), let claimID = lease.claimID else { return }
        claims[ClaimName(host: lease.host, claimID: claimID)] = nil
    }

    func live(_ id: JobID, _ lease: Lease) -> LiveLease? {
        guard let held = leases[id], held.attempt == lease.epoch, held.token == lease.token, held.host == lease.host else {
            return nil
        }
        return held
    }

    mutating func renew(_ id: JobID, until deadline: Uptime) {
        leases[id]?.deadline = deadline
    }

    mutating func markCancelled(_ id: JobID) {
        leases[id]?.cancel = true
    }

    mutating func enqueue(_ entry: ReadyQueue.Entry, notBefore: Timestamp?, now: Timestamp) -> Bool {
        if let notBefore, notBefore > now {
            delayed.insert(Delayed(at: notBefore, entry: entry))
            return false
        }
        ready.insert(entry)
        return true
    }

    /// Moves what is due into the ready queue; answers its requirements.
    mutating func promote(now: Timestamp) -> [Requirement] {
        var due: [Requirement] = []
        while let first = delayed.first, first.at <= now {
            delayed.removeFirst()
            ready.insert(first.entry)
            due.append(first.entry.requirement)
        }
        return due
    }

    /// The leases that ran out. When this process itself was away (stopped, starved), its silence is not the hosts':
    /// every lease gets its full time again instead.
    mutating func expired(at now: Uptime, leaseSeconds: Double) -> [LiveLease] {
        defer { lastTick = now }
        if let lastTick, now > lastTick.advanced(bySeconds: max(1, leaseSeconds / 6)) {
            for id in leases.keys { leases[id]?.deadline = now.advanced(bySeconds: leaseSeconds) }
            return []
        }
        // A tenth more than the host was told: its own clock begins when the answer arrives, so it stops first.
        return leases.values.filter { $0.deadline.advanced(bySeconds: leaseSeconds / 10) < now }
    }
}
