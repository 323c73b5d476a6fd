import CargoTunnel
import CargoWire
import Synchronization

/// The tunnels of this coordinator: which hosts can be reached at once, and calls to them.
public final class TunnelHub: Sendable {
    private struct State {
        var links: [String: [TunnelLink]] = [:]
        var isGoingAway = false
        /// Connections whose hosts know no requests that they have not asked for.
        var claimants: Set<ObjectIdentifier> = []
    }

    /// A host that connects again while its old connection is not known to be dead has two for a while: the newest counts.
    private static let mostOfAHost = 4
    private let state = Mutex(State())

    public init() {}

    /// The newest connection to a host.
    func link(to host: String) -> TunnelLink? { state.withLock { $0.links[host]?.last } }

    /// Whether a request could be given to the host now.
    func takes(_ host: String) -> Bool { link(to: host)?.takesNew == true }

    /// Hosts that can be reached at once.
    public var connected: Set<String> { state.withLock { Set($0.links.keys) } }

    /// The coordinator is going down.
    var isGoingAway: Bool { state.withLock { $0.isGoingAway } }

    func add(_ link: TunnelLink, of host: String) -> TunnelLink? {
        state.withLock { state in
            state.links[host, default: []].append(link)
            guard let count = state.links[host]?.count, count > Self.mostOfAHost else { return nil }
            return state.links[host]?.removeFirst()
        }
    }

    func remove(_ link: TunnelLink, of host: String) {
        state.withLock { state in
            state.links[host]?.removeAll { $0 === link }
            state.claimants.remove(ObjectIdentifier(link))
            if state.links[host]?.isEmpty == true { state.links[host] = nil }
        }
    }

    /// A host's credentials ended: its connections end too.
    func drop(_ host: String) {
        for link in state.withLock({ $0.links.removeValue(forKey: host) }) ?? [] { link.close() }
    }

    /// Every host is told to come back, here or to another coordinator.
    public func goAway() {
        let links = state.withLock { state in
            state.isGoingAway = true
            return state.links.values.flatMap(\.self)
        }
        for link in links { link.goAway() }
    }

    public func close() {
        for link in state.withLock({ $0.links.values.flatMap(\.self) }) { link.close() }
    }

    /// Tells a host at once that a job was cancelled; one that does not hear it within a second hears it with its next
    /// heartbeat.
    func cancelled(_ job: String, on host: String) async {
        guard let link = link(to: host) else { return }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { _ = try? await link.exchange(TunnelOpening(.cancel, job: job), [], limit: 1024) }
            group.addTask { try? await Task.sleep(for: .seconds(1)) }
            await group.next()
            group.cancelAll()
        }
    }

    /// A host that does not take what it is given within this time gets it another way, or another does.
    private static let takenWithin = Duration.seconds(2)

    /// Whether a request could be given to the host now without its asking.
    func takesRequests(_ host: String) -> Bool {
        state.withLock { state in
            guard let link = state.links[host]?.last else { return false }
            return link.takesNew && !state.claimants.contains(ObjectIdentifier(link))
        }
    }

    /// Gives a host a request that it has not asked for. Throws where it does not take it.
    func give(_ claim: [UInt8], job: String, to host: String) async throws {
        guard let link = link(to: host) else { throw TunnelFault.lost }
        do {
            try await give(claim, job: job, over: link)
        } catch let fault as TunnelFault where fault.status == 404 || fault.code == "bad_answer" {
            // It does not know what this is: it is left to its claims.
            state.withLock { _ = $0.claimants.insert(ObjectIdentifier(link)) }
            throw fault
        }
    }

    private func give(_ claim: [UInt8], job: String, over link: TunnelLink) async throws {
        let status = try await withThrowingTaskGroup(of: Int.self) { group in
            group.addTask { try await link.exchange(TunnelOpening(.request, job: job), claim, limit: 1024).status }
            group.addTask {
                try await Task.sleep(for: TunnelHub.takenWithin)
                return 504
            }
            defer { group.cancelAll() }
            return try await group.next() ?? 504
        }
        guard status == 200 else { throw TunnelFault.cancelled }
    }

    /// Asks a host for the answer to a request that no store is to see. Giving the stream up ends the host's work.
    func ask(_ question: TunnelOpening.Question, _ body: [UInt8], of host: String) async throws -> TunnelStream {
        guard let link = link(to: host) else { throw TunnelFault.lost }
        let stream = try link.open(TunnelOpening(.answer, question: question))
        do {
            try await stream.write(body)
            stream.end()
        } catch {
            stream.forget()
            throw error
        }
        return stream
    }
}
