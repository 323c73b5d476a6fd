import CargoWire
import FoundationEssentials
import Synchronization

/// How one coordinator calls another; the rooms above know how to speak HTTP.
public protocol PeerCalls: Sendable {
    /// Reads the body of a GET to its end, piece by piece; awaiting `receive` is the back-pressure. Throws when the other
    /// cannot be reached, answers anything but 200 or says nothing for a while.
    func read(
        _ url: String, header: String, receive: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws
    /// Posts a body; status and body of the answer.
    func post(_ url: String, header: String, body: [UInt8]) async throws -> (status: Int, body: [UInt8])
}

/// The coordinators that share this one's store.
public final class Peers: Sendable {
    /// The header that proves who calls.
    public static let header = "Longshore-Peer"
    /// A coordinator whose pulse is older than this has lost the logs that it keeps to whoever gets their hosts' calls.
    static let silentMilliseconds: Int64 = 6000
    /// It keeps logs only while its own pulse, by its own clock, is younger than this.
    static let freshMilliseconds: Int64 = 3000
    /// What is on the disk of one that was silent for so long is given up: readers go on without it.
    static let lostMilliseconds: Int64 = 86_400_000

    private struct Known {
        var url: String
        var silent: Int64
        var at: Uptime
    }

    private struct State {
        var url: String?
        var pulsed: Uptime?
        var known: [String: Known] = [:]
    }

    /// This coordinator's own, the same at each start.
    public let id: String
    let calls: any PeerCalls
    private let store: any SharedStore
    private let proof: PeerProof
    private let clocks: Clocks
    private let state = Mutex(State())

    init(_ id: String, store: any SharedStore, secret: String, calls: any PeerCalls, clocks: Clocks) {
        self.id = id
        self.store = store
        self.calls = calls
        self.clocks = clocks
        proof = PeerProof(secret: secret)
    }

    /// Where the others reach this one; known once it listens.
    public func advertise(_ url: String) { state.withLock { $0.url = url.hasSuffix("/") ? String(url.dropLast()) : url } }

    /// Moves the own pulse and learns the others'.
    func pulse() async throws {
        guard let url = state.withLock({ $0.url }) else { return }
        // Before the store is asked: an answer that comes late must not make the pulse look younger than it is.
        let now = clocks.uptime()
        let rows = try await store.pulse(id, url: url)
        state.withLock { state in
            state.pulsed = now
            state.known = Dictionary(
                rows.map { ($0.id, Known(url: $0.url, silent: $0.silentMilliseconds, at: now)) }, uniquingKeysWith: { $1 })
        }
    }

    /// Whether this one may still take log bytes for what it keeps, without asking the store who does.
    var isFresh: Bool {
        let now = clocks.uptime()
        return state.withLock { state in
            state.url == nil || state.pulsed.map { now.milliseconds - $0.milliseconds < Peers.freshMilliseconds } == true
        }
    }

    enum Presence: Equatable {
        /// At this address.
        case there(String)
        /// It said nothing for a while, and may come back; this was its address.
        case silent(String)
        /// Nobody waits for it any more.
        case lost
    }

    func presence(of coordinator: String) -> Presence {
        let now = clocks.uptime()
        return state.withLock { state in
            guard let known = state.known[coordinator] else { return state.pulsed == nil ? .silent("") : .lost }
            let silent = known.silent + now.milliseconds - known.at.milliseconds
            if silent > Peers.lostMilliseconds { return .lost }
            return silent > Peers.silentMilliseconds ? .silent(known.url) : .there(known.url)
        }
    }

    /// The header for a request of this coordinator to another.
    func proof(_ method: String, _ target: String, body: [UInt8] = []) -> String {
        proof.header(from: id, method: method, target: target, body: body, at: clocks.wall())
    }

    /// Posts a body to another coordinator; nil when it cannot be reached.
    public func post(_ url: String, _ target: String, _ body: [UInt8]) async -> (status: Int, body: [UInt8])? {
        try? await calls.post(url + target, header: proof("POST", target, body: body), body: body)
    }

    /// Reads what another coordinator answers; throws when it cannot be reached, or answers anything but 200.
    public func read(
        _ url: String, _ target: String, receive: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws {
        try await calls.read(url + target, header: proof("GET", target), receive: receive)
    }

    /// Where another coordinator is; nil for one that has said nothing for a while.
    public func url(of coordinator: String) -> String? {
        if case .there(let url) = presence(of: coordinator) { url } else { nil }
    }

    /// The coordinator that sent a request with this header; nil when none did.
    public func sender(_ header: String?, method: String, target: String, body: [UInt8] = []) -> String? {
        header.flatMap { proof.sender($0, method: method, target: target, body: body, at: clocks.wall()) }
    }
}
