import CargoScheduler
public import CargoWire
import Synchronization

/// What this coordinator has seen lately of hosts and claims: enough to say why a job waits and about how long.
final class Pace: Sendable {
    private struct State {
        /// `isOwn`: it asked this coordinator.
        var hosts: [String: (capabilities: HostCapabilities, at: Uptime, servedAt: Uptime, isOwn: Bool)] = [:]
        /// By model, the hosts that serve it: a request looks at these alone.
        var servers: [String: Set<String>] = [:]
        /// Per account, when it was given its last jobs: at most 64 each.
        var grants: [Int64: [Uptime]] = [:]
    }

    private let state = Mutex(State())
    /// A host that has not asked for so long counts as gone. A busy one asks again when its job ends.
    private let memorySeconds = 600.0
    /// A host that serves models asks at least each ten seconds, however busy it is.
    private let servingSeconds = 45.0

    func saw(_ host: String, _ capabilities: HostCapabilities, at now: Uptime) {
        state.withLock { note(host, capabilities, at: now, isOwn: true, in: &$0) }
    }

    /// What another coordinator has seen.
    /// - Returns: whether it is news.
    func told(_ host: String, _ capabilities: HostCapabilities, at time: Uptime) -> Bool {
        state.withLock { state in
            if let known = state.hosts[host], known.at >= time { return false }
            note(host, capabilities, at: time, isOwn: false, in: &state)
            return true
        }
    }

    private func note(
        _ host: String, _ capabilities: HostCapabilities, at time: Uptime, isOwn: Bool, in state: inout State
    ) {
        let known = state.hosts[host]
        let servedAt = capabilities.models == nil ? known?.servedAt ?? time : time
        let now = capabilities.keeping(known?.capabilities)
        state.hosts[host] = (now, time, servedAt, isOwn)
        serves(host, now.models, not: known?.capabilities.models, in: &state)
        if state.hosts.count > 100_000 {
            for (host, seen) in state.hosts where seen.at.advanced(bySeconds: memorySeconds) <= time { remove(host, in: &state) }
        }
    }

    private func serves(_ host: String, _ models: [ServedModel]?, not before: [ServedModel]?, in state: inout State) {
        // Mostly it is what it was; then both are the same array.
        guard models != before else { return }
        for model in before ?? [] {
            state.servers[model.id]?.remove(host)
            if state.servers[model.id]?.isEmpty == true { state.servers[model.id] = nil }
        }
        for model in models ?? [] { state.servers[model.id, default: []].insert(host) }
    }

    private func remove(_ host: String, in state: inout State) {
        guard let gone = state.hosts.removeValue(forKey: host) else { return }
        serves(host, nil, not: gone.capabilities.models, in: &state)
    }

    /// Hosts that asked this coordinator since a time, with what they serve still.
    func heard(since: Uptime?, at now: Uptime) -> [(host: String, capabilities: HostCapabilities, at: Uptime)] {
        state.withLock { state in
            state.hosts.compactMap { host, seen in
                guard seen.isOwn, seen.at.milliseconds >= since?.milliseconds ?? 0 else { return nil }
                var capabilities = seen.capabilities
                if seen.servedAt.advanced(bySeconds: servingSeconds) <= now { capabilities.models = nil }
                return (host, capabilities, seen.at)
            }
        }
    }

    /// A host's connection is dead: it serves nothing until it asks again.
    func forget(_ host: String) { state.withLock { remove(host, in: &$0) } }

    /// Hosts that asked for work in the last `seconds`.
    func hosts(since seconds: Double, at now: Uptime) -> Int {
        state.withLock { state in state.hosts.values.count { $0.at.advanced(bySeconds: seconds) > now } }
    }

    func granted(_ account: Int64, at now: Uptime) {
        state.withLock { state in
            state.grants[account, default: []].append(now)
            if let count = state.grants[account]?.count, count > 64 { state.grants[account]?.removeFirst(count - 64) }
            if state.grants.count > 10_000 { state.grants = [:] }
        }
    }

    /// What the hosts that asked for work lately serve, by host.
    func models(at now: Uptime) -> [(host: String, models: [ServedModel])] {
        state.withLock { state in
            state.hosts.compactMap { host, seen in
                guard let models = seen.capabilities.models, !models.isEmpty,
                    seen.servedAt.advanced(bySeconds: servingSeconds) > now
                else { return nil }
                return (host, models)
            }
        }
    }

    /// The hosts that serve a model, as far as `isEnough` lets it go on.
    func servers(
        of model: String, at now: Uptime, until isEnough: (String, ServedModel) -> Bool
    ) -> [(host: String, model: ServedModel)] {
        state.withLock { state in
            var found: [(host: String, model: ServedModel)] = []
            for host in state.servers[model] ?? [] {
                guard let seen = state.hosts[host], seen.servedAt.advanced(bySeconds: servingSeconds) > now,
                    let served = seen.capabilities.models?.first(where: { $0.id == model })
                else { continue }
                found.append((host, served))
                if isEnough(host, served) { break }
            }
            return found
        }
    }

    /// Seconds until a job with so many of its account before it starts, when things go on as lately; nil when unknown.
    func estimate(position: Int, account: Int64, at now: Uptime) -> Double? {
        state.withLock { state in
            guard let grants = state.grants[account], grants.count > 1, let first = grants.first else { return nil }
            let span = Double(now.milliseconds - first.milliseconds) / 1000
            return span / Double(grants.count) * Double(position + 1)
        }
    }

    /// Why a queued job with this requirement will not start; nil when a known host fits.
    func obstacle(_ requirement: Requirement, at now: Uptime) -> String? {
        state.withLock { state -> String? in
            // Nearly always one of the first.
            let isAnyoneFit = state.hosts.values.contains { host in
                host.at.advanced(bySeconds: memorySeconds) > now && requirement.isVisible(to: host.capabilities)
                    && requirement.fits(host.capabilities)
            }
            if isAnyoneFit { return nil }
            // Hosts that the job's account may not know of are not even counted (docs/rules.md 17).
            let hosts = state.hosts.values.filter {
                $0.at.advanced(bySeconds: memorySeconds) > now && requirement.isVisible(to: $0.capabilities)
            }
            if hosts.isEmpty { return "No host has asked for work in the last ten minutes." }
            if let model = requirement.model {
                let serves = hosts.contains { $0.capabilities.models?.contains { $0.id == model } == true }
                return serves ? "Every host that serves '\(model)' is busy." : "No host serves '\(model)' now."
            }
            if requirement.kind == Requirement.image { return "No known host runs container images." }
            if let jurisdiction = requirement.jurisdiction,
                !hosts.contains(where: { $0.capabilities.jurisdiction == jurisdiction })
            {
                return "No known host stands in the jurisdiction '\(jurisdiction)'."
            }
            if let room = requirement.room {
                var without = requirement
                without.room = nil
                if hosts.contains(where: { without.fits($0.capabilities) }) { return Pace.sentence(room) }
            }
            let region = requirement.region.map { " in the region '\($0)'" } ?? ""
            return "No known host runs cargos of kind '\(requirement.kind)' with context tier \(requirement.tier)\(region)."
        }
    }

    /// What no host has of what a job needs.
    private static func sentence(_ room: Room) -> String {
        var parts: [String] = []
        if let memory = room.memory { parts.append("\(memory >> 20) MiB of free memory") }
        if let gpus = room.gpus {
            let each = room.vram.map { " with \($0 >> 20) MiB of free memory\(gpus > 1 ? " each" : "")" } ?? ""
            parts.append("\(gpus > 1 ? "\(gpus) GPUs" : "a GPU")\(each)")
        }
        if let price = room.price { parts.append("a price of at most \(price) credits") }
        return "No known host that could run it has \(parts.joined(separator: ", and ")) now."
    }
}

extension HostCapabilities {
    /// A host asks for requests to its models apart from jobs: it names no kinds then, and no models otherwise. What the one
    /// leaves out is known from the other.
    func keeping(_ known: HostCapabilities?) -> HostCapabilities {
        guard let known else { return self }
        var both = kinds?.isEmpty == true ? known : self
        both.models = models ?? known.models
        both.circles = circles
        both.report = report ?? known.report
        return both
    }
}

extension JobQueue {
    /// What is served now, by host; as this coordinator was told.
    public func servedModels() -> [(host: String, models: [ServedModel])] { pace.models(at: settings.clocks.uptime()) }

    /// The hosts that serve a model now, as this coordinator was told: all of them, or up to the first that is enough.
    public func servers(
        of model: String, until isEnough: (String, ServedModel) -> Bool = { _, _ in false }
    ) -> [(host: String, model: ServedModel)] {
        pace.servers(of: model, at: settings.clocks.uptime(), until: isEnough)
    }

    /// Hosts that asked for work in the last ten minutes; a busy one asks again when its job ends.
    public var activeHosts: Int { pace.hosts(since: 600, at: settings.clocks.uptime()) }

    /// Why a job does not start, in one sentence; nil when there is nothing in its way but its turn.
    public func obstacle(of job: JobRecord) -> String? {
        guard job.state.status == .queued else { return nil }
        return pace.obstacle(job.requirement, at: settings.clocks.uptime())
    }

    /// Seconds until a job of this account at a position starts, by the pace of lately.
    public func estimatedStart(position: Int, account: Int64) -> Double? {
        pace.estimate(position: position, account: account, at: settings.clocks.uptime())
    }
}
