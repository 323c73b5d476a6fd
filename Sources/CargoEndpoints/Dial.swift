internal import NIOCore
internal import NIOPosix
public import SystemPackage

/// How one model server is reached.
public enum Dial: Sendable {
    /// Resolved like any host name, once for each request.
    case tcp(host: String, port: Int)
    case unix(FilePath)
    /// Hands over a connected stream socket, which is the caller's no more: for sockets that must be opened and whose peer must be
    /// checked in a way of their own (docs/rules.md 19).
    case connect(@Sendable () async throws -> CInt)

    /// What the request's `Host` says.
    var hostHeader: String {
        switch self {
        case .tcp(let host, let port): (host.contains(":") ? "[\(host)]" : host) + ":\(port)"
        case .unix, .connect: "localhost"
        }
    }

    /// For messages.
    public var description: String {
        switch self {
        case .tcp: hostHeader
        case .unix(let path): path.string
        case .connect: "the engine's socket"
        }
    }

    func open<Output: Sendable>(
        within limit: Duration, initializer: @escaping @Sendable (any Channel) -> EventLoopFuture<Output>
    ) async throws -> Output {
        // Whoever asks from a loop is answered on it: no word of an answer changes threads.
        let group: any EventLoopGroup = MultiThreadedEventLoopGroup.currentEventLoop ?? MultiThreadedEventLoopGroup.singleton
        let bootstrap = ClientBootstrap(group: group)
            .connectTimeout(TimeAmount(limit))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
        switch self {
        case .tcp(let host, let port):
            // An address needs no resolver, which would ask on a thread of its own.
            if let address = try? SocketAddress(ipAddress: host, port: port) {
                return try await bootstrap.connect(to: address, channelInitializer: initializer)
            }
            return try await bootstrap.connect(host: host, port: port, channelInitializer: initializer)
        case .unix(let path):
            return try await ClientBootstrap(group: group)
                .connectTimeout(TimeAmount(limit))
                .connect(unixDomainSocketPath: path.string, channelInitializer: initializer)
        case .connect(let socket):
            return try await ClientBootstrap(group: group)
                .withConnectedSocket(try await socket(), channelInitializer: initializer)
        }
    }
}
