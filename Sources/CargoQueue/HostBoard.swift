public import CargoWire
import Synchronization

/// What hosts last said of themselves, kept in memory: a restart learns it anew within ten seconds.
public final class HostBoard: Sendable {
    /// One host as it was last heard of.
    public struct Seen: Hashable, Sendable {
        public var capabilities = HostCapabilities()
        public var report: HostReport?
        public var at: Uptime
        public var wall: Timestamp
    }

    /// A host that has said nothing for so long is silent. It claims or reports each ten to thirty seconds.
    public static let silentSeconds = 60.0
    private static let mostHosts = 100_000
    private let hosts = Mutex<[String: Seen]>([:])
    private let clocks: Clocks

    public init(clocks: Clocks) { self.clocks = clocks }

    @discardableResult
    public func saw(_ host: String, capabilities: HostCapabilities? = nil, report: HostReport? = nil) -> Seen {
        let (now, wall) = (clocks.uptime(), clocks.wall())
        return hosts.withLock { hosts in
            var seen = hosts[host] ?? Seen(at: now, wall: wall)
            (seen.at, seen.wall) = (now, wall)
            if var capabilities {
                capabilities.models = capabilities.models.shared(with: seen.capabilities.models, or: seen.report?.models)
                seen.capabilities = capabilities.keeping(seen.capabilities)
            }
            if var report {
                report.models = report.models.shared(with: seen.capabilities.models, or: seen.report?.models)
                seen.report = report
            }
            hosts[host] = seen
            if hosts.count > Self.mostHosts {
                hosts = hosts.filter { $0.value.at.advanced(bySeconds: Self.silentSeconds) > now }
            }
            return seen
        }
    }

    public func forget(_ host: String) { hosts.withLock { $0[host] = nil } }

    public func seen(_ host: String) -> Seen? { hosts.withLock { $0[host] } }

    public func isActive(_ seen: Seen) -> Bool { seen.at.advanced(bySeconds: Self.silentSeconds) > clocks.uptime() }

    /// Everyone who was heard of lately.
    public var active: [(host: String, seen: Seen)] {
        let now = clocks.uptime()
        return hosts.withLock { hosts in
            hosts.filter { $0.value.at.advanced(bySeconds: Self.silentSeconds) > now }.map { ($0.key, $0.value) }
        }
    }
}

extension [ServedModel]? {
    /// The same list, kept once: a host says it with each claim and each report, and mostly it is what it said before.
    func shared(with known: Self, or other: Self = nil) -> Self { self == known ? known : self == other ? other : self }
}
