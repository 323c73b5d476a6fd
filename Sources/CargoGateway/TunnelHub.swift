import CargoQueue
import CargoTunnel
public import CargoWire
import FoundationEssentials
import Synchronization

/// The tunnels of this coordinator: which hosts can be reached at once, and calls to them.
public final class TunnelHub: Sendable {
    /// A host that connects again while its old connection is not known to be dead has two for a while: the newest counts.
    private static let mostOfAHost = 4
    private let links = Mutex<[String: [TunnelLink]]>([:])

    public init() {}

    /// The newest connection to a host.
    func link(to host: String) -> TunnelLink? { links.withLock { $0[host]?.last } }

    /// Hosts that can be reached at once.
    public var connected: Set<String> { links.withLock { Set($0.keys) } }

    func add(_ link: TunnelLink, of host: String) -> TunnelLink? {
        links.withLock { links in
            links[host, default: []].append(link)
            guard let count = links[host]?.count, count > Self.mostOfAHost else { return nil }
            return links[host]?.removeFirst()
        }
    }

    func remove(_ link: TunnelLink, of host: String) {
        links.withLock { links in
            links[host]?.removeAll { $0 === link }
            if links[host]?.isEmpty == true { links[host] = nil }
        }
    }

    /// A host's credentials ended: its connections end too.
    func drop(_ host: String) async {
        for link in links.withLock({ $0.removeValue(forKey: host) }) ?? [] { await link.close() }
    }

    /// Every host is told to come back, here or to another coordinator.
    public func goAway() async {
        for link in links.withLock({ $0.values.flatMap(\.self) }) { await link.goAway() }
    }

    public func close() async {
        for link in links.withLock({ $0.values.flatMap(\.self) }) { await link.close() }
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

    /// Lets a host answer a request to a model that no store is to see. The shape of `ModelService.answer`: `head` once, then
    /// `body` for each piece; awaiting them is the back-pressure, cancelling the task ends the host's work.
    public func forward(
        _ request: ModelRequest, to host: String, account: String,
        head: (AnswerHead) async throws -> Void, body: ([UInt8]) async throws -> Void
    ) async throws -> ModelUsage? {
        guard let link = link(to: host) else { throw TunnelFault.lost }
        let stream = try await link.open(TunnelOpening(.answer))
        return try await stream.whole {
            try await stream.write(Array(try JSONEncoder().encode(ForwardedRequest(request: request, account: account))))
            await stream.end()
            guard let word = try await stream.head() else {
                throw TunnelFault(code: "bad_answer", message: "The host's answer has no beginning.")
            }
            try await head(try JSONDecoder().decode(AnswerHead.self, from: Data(word)))
            var usage: ModelUsage?
            while let bytes = try await stream.next({ usage = try? JSONDecoder().decode(ModelUsage.self, from: Data($0)) }) {
                try await body(bytes)
            }
            return usage
        }
    }
}
