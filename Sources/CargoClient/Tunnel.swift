public import CargoTunnel
import CargoTunnelSocket
public import CargoWire
import FoundationEssentials
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import NIOWebSocket
import Synchronization

/// The way through which a host's calls go while its tunnel is open; without one they go over REST.
public final class TunnelDoor: Sendable {
    private let link = Mutex<TunnelLink?>(nil)
    /// Where the tunnel's bytes come and go.
    fileprivate let loop = MultiThreadedEventLoopGroup.singleton.next()

    public init() {}

    /// Runs work where the tunnel's bytes come and go, so that none of its awaits crosses to another thread and back. What blocks does
    /// so on threads of its own.
    public func beside<Value: Sendable>(_ work: @Sendable () async -> Value) async -> Value {
        await withTaskExecutorPreference(LoopExecutor(loop: loop)) { await work() }
    }

    /// The open tunnel.
    public var current: TunnelLink? { link.withLock { $0 } }

    fileprivate func open(_ new: TunnelLink) { link.withLock { $0 = new } }

    fileprivate func close(_ old: TunnelLink) {
        link.withLock { if $0 === old { $0 = nil } }
    }
}

extension CoordinatorClient {
    private enum Upgrade: Sendable {
        case tunnel(TunnelSocket)
        case refused
    }

    /// `GET /hosts/tunnel`: dials, and lets calls through `door` until the connection ends. Throws when it cannot be made, was
    /// refused, or broke. `handler` answers what the coordinator opens.
    @concurrent
    public func runTunnel(through door: TunnelDoor, handler: @escaping TunnelLink.Handler) async throws {
        guard let token = transport.token, let url = URL(string: transport.base), let host = url.host else {
            throw ClientError(status: 0, code: "no_key", message: "a tunnel needs a host's own token")
        }
        let isSecure = url.scheme == "https"
        let port = url.port ?? (isSecure ? 443 : 80)
        let context = isSecure ? try NIOSSLContext(configuration: ServerTrust.configuration()) : nil
        let authority = url.port.map { "\(host):\($0)" } ?? host
        let upgrade = try await transport.answering {
            let future: EventLoopFuture<Upgrade> = try await ClientBootstrap(group: door.loop)
                .connectTimeout(.seconds(10))
                .connect(host: host, port: port) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        if let context {
                            // A server name is a name: an address has none (RFC 6066, section 3).
                            let isAddress = host.allSatisfy { $0.isNumber || $0 == "." } || host.contains(":")
                            try channel.pipeline.syncOperations.addHandler(
                                try NIOSSLClientHandler(context: context, serverHostname: isAddress ? nil : host))
                        }
                        let upgrader = NIOTypedWebSocketClientUpgrader<Upgrade>(
                            maxFrameSize: TunnelSocket.largestFrame,
                            upgradePipelineHandler: { channel, _ in
                                channel.eventLoop.makeCompletedFuture {
                                    .tunnel(try TunnelSocket(channel, as: .host, masked: true))
                                }
                            })
                        let head = HTTPRequestHead(
                            version: .http1_1, method: .GET, uri: "/hosts/tunnel",
                            headers: ["Host": authority, "Authorization": "Bearer \(token)", "User-Agent": "longshore"])
                        let configuration = NIOTypedHTTPClientUpgradeConfiguration(
                            upgradeRequestHead: head, upgraders: [upgrader],
                            notUpgradingCompletionHandler: { channel in channel.close().map { .refused } })
                        return try channel.pipeline.syncOperations.configureUpgradableHTTPClientPipeline(
                            configuration: .init(upgradeConfiguration: configuration))
                    }
                }
            return try await future.get()
        }
        guard case .tunnel(let socket) = upgrade else {
            throw ClientError(status: 404, code: "no_tunnel", message: "\(transport.base) lets no tunnel in for this token")
        }
        door.open(socket.link)
        defer { door.close(socket.link) }
        // Whatever comes through is answered on the connection's own loop.
        try await withTaskExecutorPreference(LoopExecutor(loop: socket.channel.eventLoop)) { try await socket.run(handler) }
    }

    /// A stream for the answer to a model request, begun with a heartbeat that says how it begins; nil when there is no tunnel
    /// that takes it.
    public func answering(_ job: String, _ heartbeat: Heartbeat) async throws -> TunnelStream? {
        guard let link = door?.current, link.takesNew else { return nil }
        let stream = try link.open(TunnelOpening(.answering, job: job))
        do {
            try await stream.write(message: Array(try wireEncoder().encode(heartbeat)))
        } catch {
            stream.forget()
            throw error
        }
        return stream
    }

    /// One call through the tunnel, when there is one that takes it; nil when it has to go over REST.
    func throughTunnel(
        _ operation: TunnelOpening.Operation, job: String? = nil, _ value: some Encodable, timeout: TimeAmount
    ) async throws -> (status: Int, bytes: [UInt8])? {
        guard let link = door?.current, link.takesNew else { return nil }
        let body = Array(try wireEncoder().encode(value))
        let answer: (status: Int, body: [UInt8])
        do {
            answer = try await withThrowingTaskGroup(of: (status: Int, body: [UInt8])?.self) { group in
                group.addTask {
                    try await link.exchange(TunnelOpening(operation, job: job), body, limit: Transport.maximumAnswer)
                }
                group.addTask {
                    try await Task.sleep(for: .nanoseconds(timeout.nanoseconds))
                    return nil
                }
                defer { group.cancelAll() }
                guard let first = try await group.next(), let first else {
                    throw ClientError.unreachable(transport.base, "no answer through the tunnel in time")
                }
                return first
            }
        } catch let fault as TunnelFault {
            throw ClientError.unreachable(transport.base, fault.message)
        }
        guard (200..<300).contains(answer.status) else {
            if let problem = try? JSONDecoder().decode(Problem.self, from: Data(answer.body)) {
                throw ClientError(status: answer.status, code: problem.code, message: problem.detail)
            }
            throw ClientError(
                status: answer.status, code: "http_\(answer.status)", message: "the tunnel answered \(answer.status)")
        }
        return (answer.status, answer.body)
    }
}
