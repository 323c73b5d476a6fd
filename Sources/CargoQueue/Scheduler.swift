public import CargoScheduler
import CargoWire
import Synchronization

/// What the queue asks of the scheduler, with this coordinator's clock: which waiting host is best for a job, where a request
/// goes, what hosts might fetch.
public final class Scheduler: Sendable {
    private struct Running {
        var host: String
        var model: String
        var since: Int64
        var hasAnswered = false
    }

    private struct Demand {
        var waiting = 0
        var lately: Int64
    }

    private struct State {
        var fleet = Fleet()
        /// Requests that a host has and has not answered; as many as hosts hold.
        var running: [JobID: Running] = [:]
        /// Requests that became ready and were not claimed, by what they require: a hint only, cancelled ones stay a while.
        var demand: [Requirement: Demand] = [:]
        /// When `demand` was last rid of what is old.
        var swept: Int64 = 0
    }

    private static let mostDemands = 10_000
    /// Demand that has not moved for so long is forgotten.
    private static let demandMilliseconds: Int64 = 60_000
    /// A host is told of a model of another's when so many requests wait for it; of one that nobody has at the first.
    private static let worthFetching = 2
    private static let mostHints = 16

    private let state = Mutex(State())
    private let clocks: Clocks

    init(clocks: Clocks) { self.clocks = clocks }

    private var now: Int64 { clocks.uptime().milliseconds }

    public func heard(_ host: String, _ seen: HostBoard.Seen) {
        let now = now
        state.withLock { $0.fleet.heard(host, seen.capabilities, seen.report, at: now) }
    }

    public func forget(_ host: String) { state.withLock { $0.fleet.forget(host) } }

    /// How good a host is for a job with this requirement.
    func score(_ host: String, _ requirement: Requirement) -> Double? {
        let now = now
        return state.withLock { $0.fleet.score(host, for: requirement.need, at: now) }
    }

    /// The best hosts for a request that goes to one at once, best first, of those that `isAllowed` lets through.
    public func pick(
        model: String, tier: Int, audience: Audience?, excluding: Set<String> = [], where isAllowed: (String) -> Bool
    ) -> [String] {
        let need = Requirement(model: model, tier: tier, audience: audience).need
        let now = now
        return state.withLock { $0.fleet.place(need, excluding: excluding, at: now, where: isAllowed).choices.map(\.host) }
    }

    /// A request was given to a host past the queue.
    public func began(_ model: String, on host: String) { state.withLock { $0.fleet.direct(host, model: model, 1) } }

    /// It has ended there, however it came out.
    public func ended(_ model: String, on host: String) { state.withLock { $0.fleet.direct(host, model: model, -1) } }

    /// How such a request came out: seconds to the beginning of its answer, or nil for a failure of the host's.
    public func observed(_ host: String, model: String, seconds: Double?) {
        let now = now
        state.withLock { $0.fleet.observed(host, model: model, seconds: seconds, at: now) }
    }

    public func explain(_ requirement: Requirement, visible: (String) -> Bool) -> [Assessment] {
        let now = now
        return state.withLock { $0.fleet.explain(requirement.need, visible: visible, at: now) }
    }

    // MARK: What requests come to

    func waits(_ requirement: Requirement) {
        guard requirement.model != nil else { return }
        let now = now
        state.withLock { state in
            if state.demand.count >= Self.mostDemands { state.demand = [:] }
            state.demand[Self.plain(requirement), default: Demand(lately: now)].waiting += 1
            state.demand[Self.plain(requirement)]?.lately = now
        }
    }

    func gave(_ job: JobRecord, to host: String) {
        guard let model = job.requirement.model else { return }
        let now = now
        state.withLock { state in
            state.fleet.gave(host, model: model)
            state.running[job.key.id] = Running(host: host, model: model, since: now)
            let plain = Self.plain(job.requirement)
            guard let demand = state.demand[plain] else { return }
            state.demand[plain] = demand.waiting > 1 ? Demand(waiting: demand.waiting - 1, lately: now) : nil
        }
    }

    func answered(_ id: JobID, by host: String) {
        let now = now
        state.withLock { state in
            guard let running = state.running[id], running.host == host, !running.hasAnswered else { return }
            state.running[id]?.hasAnswered = true
            state.fleet.observed(host, model: running.model, seconds: Double(now - running.since) / 1000, at: now)
        }
    }

    func failed(_ id: JobID, at host: String) {
        let now = now
        state.withLock { state in
            guard let running = state.running[id], running.host == host else { return }
            state.fleet.observed(host, model: running.model, seconds: nil, at: now)
            state.fleet.gave(host, model: running.model, -1)
            state.running[id] = nil
        }
    }

    /// A host has no more to do for a request; answers the model that has room there again, once.
    @discardableResult
    public func ended(_ id: JobID) -> String? {
        state.withLock { state in
            guard let running = state.running.removeValue(forKey: id) else { return nil }
            state.fleet.gave(running.host, model: running.model, -1)
            return running.model
        }
    }

    /// The store says that jobs with this requirement are still ready, which a restart or a cancel would have hidden.
    func stillWaits(_ requirement: Requirement) {
        guard requirement.model != nil else { return }
        let now = now
        state.withLock { state in
            if state.demand.count >= Self.mostDemands { state.demand = [:] }
            state.demand[Self.plain(requirement), default: Demand(waiting: 1, lately: now)].lately = now
        }
    }

    /// A model that requests wait for.
    public struct Wanted: Hashable, Sendable {
        public var model: String
        public var waiting: Int
        /// Whether another host has it.
        public var isServed: Bool
    }

    /// Models that a host could get while it is idle: it has none of them, and requests of those whom it serves wait.
    public func wanted(by host: String, _ seen: HostBoard.Seen) -> [Wanted] {
        guard seen.report?.activeJobs ?? 0 == 0, (seen.capabilities.models ?? []).allSatisfy({ $0.active == 0 }) else {
            return []
        }
        let now = now
        return state.withLock { state in
            // Thousands of hosts ask in a second.
            if now - state.swept >= 1000 {
                state.swept = now
                state.demand = state.demand.filter { now - $0.value.lately < Self.demandMilliseconds }
            }
            var waiting: [String: Int] = [:]
            for (requirement, demand) in state.demand
            where now - demand.lately < Self.demandMilliseconds && requirement.isVisible(to: seen.capabilities) {
                guard let model = requirement.model, !state.fleet.has(host, model: model) else { continue }
                waiting[model, default: 0] += demand.waiting
            }
            return waiting.map { Wanted(model: $0.key, waiting: $0.value, isServed: state.fleet.knows(model: $0.key)) }
                .filter { $0.waiting >= ($0.isServed ? Self.worthFetching : 1) }
                .sorted { ($0.waiting, $1.model) > ($1.waiting, $0.model) }.prefix(Self.mostHints).map(\.self)
        }
    }

    private static func plain(_ requirement: Requirement) -> Requirement {
        var plain = requirement
        plain.avoided = []
        return plain
    }
}

extension Requirement {
    /// The same in the scheduler's terms.
    var need: Need {
        var need = Need(kind: kind, model: model, tier: tier)
        need.region = region
        need.jurisdiction = jurisdiction
        need.circles = audience?.circles
        need.isExact = audience?.isExact ?? false
        need.image = image
        need.avoided = avoided
        need.room = room
        return need
    }
}
