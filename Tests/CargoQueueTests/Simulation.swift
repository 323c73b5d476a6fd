import CargoWire

@testable import CargoQueue

/// One history of the whole queue under faults, decided by its seed: two coordinators on one store, ten hosts, clients,
/// a network that loses, delays and doubles messages, and crashes of everyone.
///
/// Time is virtual and every choice comes from the seed, so a seed that fails fails again. The decisions are the
/// product's own `JobMachine` and `Backoff`; what is modelled is the store around them: rows, leases, commits.
struct Simulation {
    /// The promise that a history broke.
    struct Violation: Error, CustomStringConvertible {
        let seed: UInt64
        let time: Int
        let text: String
        var description: String { "seed \(seed), \(time) ms: \(text)" }
    }

    private struct Row {
        var state: JobState
        var token = 0
        var claimID = 0
        var deadline = 0
        var notBefore = 0
        var rows: [JobStatus] = [.queued]
        var acceptedResults = 0
    }

    private struct HeldWork {
        var job: Int
        var epoch: Int
        var token: Int
        /// The host's own clock says that its lease is over then.
        var leaseUntil: Int
        var endsAt: Int
        var exitCode: Int
        var ended = false
    }

    private struct Host {
        var incarnation = 0
        var alive = true
        var claimID = 0
        var work: HeldWork?
    }

    private enum Event {
        case submit(job: Int), submitted(job: Int)
        case claim(host: Int, claimID: Int, sentAt: Int)
        case granted(host: Int, claimID: Int, job: Int, epoch: Int, token: Int, sentAt: Int)
        case beat(host: Int, job: Int, epoch: Int, token: Int, sentAt: Int)
        case beaten(host: Int, job: Int, epoch: Int, alive: Bool, cancel: Bool, sentAt: Int)
        case report(host: Int, job: Int, epoch: Int, token: Int, exitCode: Int)
        case reported(host: Int, job: Int, epoch: Int)
        case cancel(job: Int)
        case hostActs(host: Int, incarnation: Int)
        case hostCrashes(host: Int), hostReturns(host: Int)
        case tick(coordinator: Int, incarnation: Int)
        case coordinatorCrashes(Int), coordinatorReturns(Int)
        case clientRetries(job: Int)
    }

    private struct Scheduled: Comparable {
        var at: Int
        var order: Int
        var event: Event
        static func < (left: Scheduled, right: Scheduled) -> Bool { (left.at, left.order) < (right.at, right.order) }
        static func == (left: Scheduled, right: Scheduled) -> Bool { left.order == right.order }
    }

    private let seed: UInt64
    private var random: SplitMix
    private let machine = JobMachine()
    private let lease = 10_000
    private let faultsEnd = 60_000
    private var now = 0
    private var order = 0
    private var agenda = MinimumHeap<Scheduled>()
    private var rows: [Int: Row] = [:]
    private var acknowledged: Set<Int> = []
    private var hosts = Array(repeating: Host(), count: 10)
    private var coordinators: [(alive: Bool, incarnation: Int)] = [(true, 0), (true, 0)]
    private var nextToken = 1
    private var nextClaim = 1
    private(set) var steps = 0

    /// A machine or lease rule to break, so that the simulator proves that it can find it.
    enum Sabotage { case none, forgetsTheToken, losesCommits, keepsDeadlineShort }
    private let sabotage: Sabotage

    init(seed: UInt64, sabotage: Sabotage = .none) {
        self.seed = seed
        self.sabotage = sabotage
        random = SplitMix(state: seed)
    }

    /// Plays to the end; throws at the first broken promise.
    mutating func run() throws {
        let jobs = 4
        for job in 0..<jobs {
            schedule(.clientRetries(job: job), in: Int(random.below(5_000)))
            if random.below(8) == 0 { schedule(.cancel(job: job), in: Int(random.below(60_000))) }
        }
        for host in hosts.indices { schedule(.hostActs(host: host, incarnation: 0), in: Int(random.below(3_000))) }
        for index in coordinators.indices { schedule(.tick(coordinator: index, incarnation: 0), in: 1_000) }
        for _ in 0..<random.below(4) { schedule(.coordinatorCrashes(Int(random.below(2))), in: Int(random.below(60_000))) }
        for _ in 0..<random.below(8) { schedule(.hostCrashes(host: Int(random.below(10))), in: Int(random.below(60_000))) }
        while let next = agenda.removeFirst() {
            now = next.at
            steps += 1
            try handle(next.event)
            if now > faultsEnd, acknowledged.count == jobs, acknowledged.allSatisfy({ rows[$0]?.state.status.isFinal == true }) {
                break
            }
            guard now < 900_000 else { throw violation("a job never ended: \(rows.mapValues(\.rows))") }
        }
        for job in acknowledged {
            guard let row = rows[job] else { throw violation("job \(job) was acknowledged and is gone") }
            guard row.rows.filter(\.isFinal).count == 1, row.rows.last?.isFinal == true else {
                throw violation("job \(job) ended \(row.rows.filter(\.isFinal).count) times: \(row.rows)")
            }
            guard row.acceptedResults <= 1 else { throw violation("job \(job) had \(row.acceptedResults) accepted results") }
        }
    }

    private func violation(_ text: String) -> Violation { Violation(seed: seed, time: now, text: text) }

    private mutating func schedule(_ event: Event, in delay: Int) {
        order += 1
        agenda.insert(Scheduled(at: now + delay, order: order, event: event))
    }

    /// Over the network: late, sometimes never, sometimes twice; after the faults it only delays.
    private mutating func send(_ event: Event) {
        if now < faultsEnd {
            if random.below(10) == 0 { return }
            if random.below(20) == 0 { schedule(event, in: 1 + Int(random.below(4_000))) }
            schedule(event, in: 1 + Int(random.below(random.below(5) == 0 ? 3_000 : 100)))
        } else {
            schedule(event, in: 1 + Int(random.below(50)))
        }
    }

    /// A coordinator that takes a message: nil when the one that it reaches is down.
    private mutating func reached() -> Int? {
        let index = Int(random.below(2))
        return coordinators[index].alive ? index : nil
    }

    /// Whether a write is on disk, and whether its answer still leaves: a crash may come before or after the commit.
    private mutating func commits(_ coordinator: Int) -> (kept: Bool, answers: Bool) {
        guard now < faultsEnd, random.below(200) == 0 else { return (true, true) }
        crash(coordinator)
        let kept = random.below(2) == 0
        return sabotage == .losesCommits ? (false, true) : (kept, false)
    }

    private mutating func crash(_ coordinator: Int) {
        coordinators[coordinator].alive = false
        coordinators[coordinator].incarnation += 1
        schedule(.coordinatorReturns(coordinator), in: 100 + Int(random.below(20_000)))
    }

    // MARK: What happens

    private mutating func handle(_ event: Event) throws {
        switch event {
        case .clientRetries(let job):
            guard !acknowledged.contains(job) else { return }
            send(.submit(job: job))
            schedule(.clientRetries(job: job), in: 2_000 + Int(random.below(2_000)))
        case .submit(let job): submit(job)
        case .submitted(let job): acknowledged.insert(job)
        case .cancel(let job):
            guard acknowledged.contains(job), let coordinator = reached() else { return }
            _ = try apply(.cancelRequested, to: job, by: coordinator, under: nil)
        case .claim(let host, let claimID, let sentAt): try claim(host, claimID, sentAt)
        case .granted(let host, let claimID, let job, let epoch, let token, let sentAt):
            try granted(host, claimID, job, epoch, token, sentAt)
        case .beat(let host, let job, let epoch, let token, let sentAt): try beat(host, job, epoch, token, sentAt)
        case .beaten(let host, let job, let epoch, let alive, let cancel, let sentAt):
            guard let work = hosts[host].work, work.job == job, work.epoch == epoch else { return }
            if !alive { hosts[host].work = nil } else { hosts[host].work?.leaseUntil = max(work.leaseUntil, sentAt + lease) }
            if cancel, alive { hosts[host].work?.endsAt = now }
        case .report(let host, let job, let epoch, let token, let code): try report(host, job, epoch, token, code)
        case .reported(let host, let job, let epoch):
            if let work = hosts[host].work, work.job == job, work.epoch == epoch { hosts[host].work = nil }
        case .hostActs(let host, let incarnation): try act(host, incarnation)
        case .hostCrashes(let host):
            guard hosts[host].alive else { return }
            hosts[host] = Host(incarnation: hosts[host].incarnation + 1, alive: false)
            schedule(.hostReturns(host: host), in: 500 + Int(random.below(30_000)))
        case .hostReturns(let host):
            hosts[host].alive = true
            schedule(.hostActs(host: host, incarnation: hosts[host].incarnation), in: 1)
        case .tick(let coordinator, let incarnation): try tick(coordinator, incarnation)
        case .coordinatorCrashes(let index): if coordinators[index].alive { crash(index) }
        case .coordinatorReturns(let index):
            guard !coordinators[index].alive else { return }
            coordinators[index].alive = true
            // Its start gives every lease its full time again.
            for (job, row) in rows where row.state.status == .provisioning || row.state.status == .processing {
                rows[job]?.deadline = max(row.deadline, now + lease)
            }
            schedule(.tick(coordinator: index, incarnation: coordinators[index].incarnation), in: 1_000)
        }
    }

    private mutating func submit(_ job: Int) {
        guard let coordinator = reached() else { return }
        if rows[job] == nil {
            let fate = commits(coordinator)
            if fate.kept { rows[job] = Row(state: JobState(maxAttempts: 1 + job % 2)) }
            guard fate.answers else { return }
        }
        send(.submitted(job: job))
    }

    private mutating func claim(_ host: Int, _ claimID: Int, _ sentAt: Int) throws {
        guard let coordinator = reached() else { return }
        let name = "host-\(host)"
        for (job, row) in rows where row.claimID == claimID && row.state.host == name && !row.state.status.isFinal {
            guard row.state.status != .queued else { continue }
            rows[job]?.deadline = now + lease
            send(.granted(host: host, claimID: claimID, job: job, epoch: row.state.attempt, token: row.token, sentAt: sentAt))
            return
        }
        let ready = rows.filter { $0.value.state.status == .queued && $0.value.notBefore <= now }.keys.min()
        guard let job = ready else { return }
        guard try apply(.claimed(host: name), to: job, by: coordinator, under: nil) else { return }
        nextToken += 1
        rows[job]?.token = nextToken
        rows[job]?.claimID = claimID
        rows[job]?.deadline = now + (sabotage == .keepsDeadlineShort ? lease / 3 : lease)
        guard let row = rows[job] else { return }
        send(.granted(host: host, claimID: claimID, job: job, epoch: row.state.attempt, token: row.token, sentAt: sentAt))
    }

    private mutating func granted(_ host: Int, _ claimID: Int, _ job: Int, _ epoch: Int, _ token: Int, _ sentAt: Int) throws {
        guard hosts[host].alive, hosts[host].work == nil, hosts[host].claimID == claimID, sentAt + lease > now else { return }
        for (other, held) in hosts.enumerated() where other != host && held.alive {
            if let work = held.work, work.job == job, !work.ended, work.leaseUntil > now {
                throw violation("hosts \(other) and \(host) run job \(job) at the same time")
            }
        }
        hosts[host].claimID = 0
        hosts[host].work = HeldWork(
            job: job, epoch: epoch, token: token, leaseUntil: sentAt + lease, endsAt: now + Int(random.below(25_000)),
            exitCode: random.below(5) == 0 ? 1 : 0)
    }

    /// A host's second: it beats, ends, reports, or asks for work.
    private mutating func act(_ host: Int, _ incarnation: Int) throws {
        guard hosts[host].alive, hosts[host].incarnation == incarnation else { return }
        defer { schedule(.hostActs(host: host, incarnation: incarnation), in: 2_500 + Int(random.below(800))) }
        guard let work = hosts[host].work else {
            if hosts[host].claimID == 0 {
                nextClaim += 1
                hosts[host].claimID = nextClaim
            }
            send(.claim(host: host, claimID: hosts[host].claimID, sentAt: now))
            return
        }
        if work.leaseUntil <= now, !work.ended {
            hosts[host].work = nil  // Its own clock says that the lease is over: it stops.
            return
        }
        if work.endsAt <= now {
            hosts[host].work?.ended = true
            send(.report(host: host, job: work.job, epoch: work.epoch, token: work.token, exitCode: work.exitCode))
        } else {
            send(.beat(host: host, job: work.job, epoch: work.epoch, token: work.token, sentAt: now))
        }
    }

    private func holds(_ row: Row?, _ host: Int, _ epoch: Int, _ token: Int) -> Bool {
        guard let row, row.state.status == .provisioning || row.state.status == .processing else { return false }
        if sabotage == .forgetsTheToken { return true }
        return row.state.attempt == epoch && row.token == token && row.state.host == "host-\(host)"
    }

    private mutating func beat(_ host: Int, _ job: Int, _ epoch: Int, _ token: Int, _ sentAt: Int) throws {
        guard let coordinator = reached() else { return }
        guard holds(rows[job], host, epoch, token) else {
            send(.beaten(host: host, job: job, epoch: epoch, alive: false, cancel: false, sentAt: sentAt))
            return
        }
        if rows[job]?.state.status == .provisioning {
            guard try apply(.started, to: job, by: coordinator, under: (host, epoch, token)) else { return }
        }
        rows[job]?.deadline = now + lease
        let cancel = rows[job]?.state.cancelRequested ?? false
        send(.beaten(host: host, job: job, epoch: epoch, alive: true, cancel: cancel, sentAt: sentAt))
    }

    private mutating func report(_ host: Int, _ job: Int, _ epoch: Int, _ token: Int, _ code: Int) throws {
        guard let coordinator = reached() else { return }
        if holds(rows[job], host, epoch, token) {
            let input = JobInput.finished(ExitReport(exitCode: code), error: nil)
            guard try apply(input, to: job, by: coordinator, under: (host, epoch, token)) else { return }
            if rows[job]?.state.status == .complete { rows[job]?.acceptedResults += 1 }
        }
        // Accepted now, accepted before, or lost: either way the host is done with it.
        send(.reported(host: host, job: job, epoch: epoch))
    }

    private mutating func tick(_ coordinator: Int, _ incarnation: Int) throws {
        guard coordinators[coordinator].alive, coordinators[coordinator].incarnation == incarnation else { return }
        for (job, row) in rows.sorted(by: { $0.key < $1.key }) {
            guard row.state.status == .provisioning || row.state.status == .processing, row.deadline < now else { continue }
            guard try apply(.hostLost, to: job, by: coordinator, under: nil) else { return }
        }
        schedule(.tick(coordinator: coordinator, incarnation: incarnation), in: 1_000)
    }

    /// One step of the machine in one transaction.
    /// - Returns: whether it was committed and the coordinator lives to say so.
    private mutating func apply(
        _ input: JobInput, to job: Int, by coordinator: Int, under holder: (host: Int, epoch: Int, token: Int)?
    ) throws -> Bool {
        guard var row = rows[job] else { return false }
        let step: JobStep
        do {
            step = try machine.step(row.state, input)
        } catch {
            return false
        }
        let fate = commits(coordinator)
        guard fate.kept else { return false }
        if row.state.status.isFinal, step.record != nil { throw violation("job \(job) changed after its end: \(row.rows)") }
        row.state = step.state
        if let record = step.record { row.rows.append(record.status) }
        for case .enqueue(let failure) in step.actions {
            row.notBefore = now + Int(Backoff.seconds(failure: failure, random: 0.5) * 1000)
        }
        rows[job] = row
        return fate.answers
    }
}

/// A small generator whose whole state is its seed (SplitMix64).
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }

    /// 0 ..< bound, evenly enough for faults.
    mutating func below(_ bound: UInt64) -> UInt64 { next() % bound }
}
