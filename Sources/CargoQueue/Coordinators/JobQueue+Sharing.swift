import CargoFiles
public import CargoWire
import FoundationEssentials
import Synchronization

/// Whose disk the logs of running attempts are on, as this coordinator knows it: of those that hosts report to it, or that
/// somebody reads here.
final class LogHomes: Sendable {
    private static let most = 100_000
    private let known = Mutex<[JobID: (attempt: Int, parts: [LogPart])]>([:])

    func parts(_ id: JobID, attempt: Int) -> [LogPart]? {
        known.withLock { known in known[id].flatMap { $0.attempt == attempt ? $0.parts : nil } }
    }

    func set(_ id: JobID, attempt: Int, _ parts: [LogPart]) {
        known.withLock { known in
            if known.count >= LogHomes.most { known = [:] }
            known[id] = (attempt, parts)
        }
    }

    func forget(_ id: JobID) { known.withLock { _ = $0.removeValue(forKey: id) } }
    func forgetAll() { known.withLock { $0 = [:] } }
}

/// Who takes what a host reports of an attempt.
public enum ReportPlace: Hashable, Sendable {
    /// This coordinator, into a part of the log that begins there.
    case here(base: Int64)
    /// The coordinator that keeps the log, at this address.
    case at(String)
    /// Nobody now: the host keeps its bytes and sends them again.
    case nowhere
}

/// Several coordinators on one store: each keeps the logs of the attempts that it gave out, whoever the host or the reader talks to.
extension JobQueue {
    /// Between two rounds of `share`.
    public static let sharingSeconds = 1.0
    /// Jobs that one statement asks for.
    private static let mostWatched = 5000
    /// Changes of hosts that one round tells.
    private static let mostNews = 2000

    var shared: (any SharedStore)? { store as? any SharedStore }

    /// Whether a part lies on this coordinator's disk.
    func keeps(_ part: LogPart) -> Bool { part.home.isEmpty || part.home == peers?.id ?? "" }

    /// The parts of an attempt's log, for a reader.
    func logParts(_ id: JobID, attempt: Int) async throws -> [LogPart] {
        guard let peers, let shared else { return [LogPart(home: "", base: 0)] }
        if let known = homes.parts(id, attempt: attempt), peers.isFresh, known.allSatisfy(keeps) { return known }
        return try await shared.logParts(id, attempt: attempt)
    }

    /// Who takes a report, and if need be this coordinator from now on: when the one that kept the log is silent.
    /// - Parameter from: the first byte that the host still has; nil when it does not say.
    public func place(of id: JobID, _ lease: Lease, from offset: Int64?) async throws -> ReportPlace {
        guard let peers, let shared else { return .here(base: 0) }
        if !peers.isFresh {
            // Silent for so long, it may have lost what it kept; from here on nobody takes it.
            try await peers.pulse()
            homes.forgetAll()
        }
        var known = homes.parts(id, attempt: lease.epoch)
        if known == nil {
            known = try await shared.logParts(id, attempt: lease.epoch)
            if let known { homes.set(id, attempt: lease.epoch, known) }
        }
        guard let parts = known, let last = parts.last else { throw StoreError.leaseLost }
        if keeps(last) { return .here(base: last.base) }
        if case .there(let url) = peers.presence(of: last.home) { return .at(url) }
        guard let offset, parts.count < LogPart.most, peers.isFresh else { return .nowhere }
        let now = try await shared.takeLog(
            id, lease, known: parts, next: LogPart(home: peers.id, base: max(offset, last.base)))
        homes.set(id, attempt: lease.epoch, now)
        guard let mine = now.last, keeps(mine) else { return .nowhere }
        signals.ring(id, .rows)
        return .here(base: mine.base)
    }

    /// Jobs whose logs one sweep looks at.
    private static let mostSwept = 5000

    /// Deletes logs here of jobs that expired, whichever coordinator let them: one of 256 folders a call.
    public func sweepLogs() async throws {
        guard let shared else { return }
        let shard = sharing.withLock { sharing in
            sharing.swept &+= 1
            return sharing.swept
        }
        let logs = logs
        let here = try await blocking { try logs.jobs(inFolder: shard, most: Self.mostSwept) }
        guard !here.isEmpty else { return }
        // A log is made after its attempt's row, so one without a row has none any more.
        let gone = here.subtracting(try await shared.kept(here))
        try await blocking { try logs.remove(gone, fromFolder: shard) }
    }

    // MARK: Rounds

    /// One round of what coordinators do for each other: pulse, news of hosts, and what a lost hint would have told.
    public func share() async throws {
        guard let peers, let shared else { return }
        if !peers.isFresh { homes.forgetAll() }
        try await peers.pulse()
        try await shared.tell(changedHosts(), from: peers.id)
        try await hear(shared, besides: peers.id)
        try await watch(shared)
    }

    private func changedHosts() -> [HostNews] {
        let now = settings.clocks.uptime()
        return sharing.withLock { sharing in
            var news: [HostNews] = []
            for (host, capabilities, at) in pace.heard(since: sharing.told, at: now) where news.count < Self.mostNews {
                news.append(
                    HostNews(
                        host: host, capabilities: capabilities, report: board.seen(host)?.report,
                        ageMilliseconds: now.milliseconds - at.milliseconds))
            }
            sharing.told = now
            return news
        }
    }

    private func hear(_ shared: any SharedStore, besides own: String) async throws {
        let now = settings.clocks.uptime()
        // Once all of it, then what is new, with an overlap for rounds that took long.
        let since = sharing.withLock { sharing in
            defer { sharing.heard = now }
            return sharing.heard.map { now.milliseconds - $0.milliseconds + 2000 } ?? 60_000
        }
        for news in try await shared.news(besides: own, heardWithin: since) {
            var capabilities = news.capabilities
            capabilities.circles = groups.circles(ofHost: news.host)
            let at = Uptime(milliseconds: now.milliseconds - news.ageMilliseconds)
            guard pace.told(news.host, capabilities, at: at) else { continue }
            scheduler.heard(news.host, board.saw(news.host, capabilities: capabilities, report: news.report))
        }
    }

    /// Rings whoever reads a job that has moved, and charges keys for requests that ended elsewhere.
    private func watch(_ shared: any SharedStore) async throws {
        let open = openRequests.keys
        let keys = Array(Set(signals.keys).union(open))
        for start in stride(from: 0, to: keys.count, by: Self.mostWatched) {
            let part = Array(keys[start..<min(start + Self.mostWatched, keys.count)])
            for movement in try await shared.movements(of: part) {
                let isNew = sharing.withLock { sharing in
                    sharing.seen.updateValue(movement, forKey: movement.key.id) != movement
                }
                guard isNew else { continue }
                homes.forget(movement.key.id)
                signals.ring(movement.key.id, .rows)
                if movement.status.isFinal, open.contains(movement.key) { try await settleElsewhere(movement) }
            }
        }
        let current = Set(keys.map(\.id))
        sharing.withLock { sharing in sharing.seen = sharing.seen.filter { current.contains($0.key) } }
    }

    private func settleElsewhere(_ movement: JobMovement) async throws {
        let last = try await store.transitions(of: movement.key, after: movement.sequence - 1, limit: 1).first
        let detail = try last.map { try JSONDecoder().decode(TransitionDetail.self, from: $0.detail) }
        settle(movement.key.id, detail?.usage, bytes: detail?.logBytes ?? 0, failed: movement.status != .complete)
    }

    /// What the rounds remember.
    struct Sharing {
        var told: Uptime?
        var heard: Uptime?
        /// The folder of logs that was looked through last.
        var swept: UInt8 = 0
        /// Of jobs that somebody reads here.
        var seen: [JobID: JobMovement] = [:]
    }
}
