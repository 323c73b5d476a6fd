import CargoGateway
import CargoQueue
import CargoTunnel
import CargoTunnelSocket
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOWebSocket
import ServiceLifecycle

#if canImport(Glibc)
    import Glibc
#endif

/// A connection that may become a tunnel: what begins with `GET /hosts/tunnel` is upgraded to a WebSocket, everything else
/// is HTTP as the server speaks it. The first bytes decide, so that ordinary requests pass no handler more.
struct TunnelChannel: ServerChildChannel, HTTPChannelHandler {
    /// What a connection turned out to be, once it has said so.
    struct Value: ServerChildChannelValue, LoopBound {
        let channel: any Channel
        let kind: EventLoopFuture<Kind>
        var loop: any EventLoop { channel.eventLoop }
    }

    enum Kind: Sendable {
        case http(HTTP1Channel.Value)
        case tunnel(TunnelSocket, Principal)
        /// An upgrade that was refused: the answer is sent already.
        case refused
    }

    let http: HTTP1Channel
    let gateway: Gateway
    /// Nil: without TLS.
    let certificate: ServerCertificate?
    /// What says nothing is closed after so long.
    let patience: TimeAmount

    /// Bytes that the kernel takes for a connection before they can be sent: without this bound, the 4 MiB of its send buffer for
    /// each client that reads nothing (tcp(7)).
    private static let unsent = ChannelOptions.Types.SocketOption(
        level: .tcp, name: NIOBSDSocket.Option(rawValue: TCP_NOTSENT_LOWAT))
    private static let mostUnsent = 256 << 10

    var responder: HTTPChannelHandler.Responder { http.responder }

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        channel.eventLoop.makeCompletedFuture {
            let promise = channel.eventLoop.makePromise(of: Kind.self)
            let sniffer = FirstBytes(patience: patience) { isTunnel in
                (isTunnel ? upgraded(channel) : http.setup(channel: channel, logger: logger).map { .http($0) })
                    .cascade(to: promise)
            } onClosed: {
                promise.fail(ChannelError.eof)
            }
            try channel.syncOptions?.setOption(Self.unsent, value: Self.mostUnsent)
            try certificate?.secure(channel)
            try channel.pipeline.syncOperations.addHandler(ExpressLane(gateway, patience: patience))
            try channel.pipeline.syncOperations.addHandler(sniffer)
            return Value(channel: channel, kind: promise.futureResult)
        }
    }

    private func upgraded(_ channel: any Channel) -> EventLoopFuture<Kind> {
        let upgrader = NIOTypedWebSocketServerUpgrader<Kind>(
            maxFrameSize: TunnelSocket.largestFrame,
            shouldUpgrade: { channel, head in
                let isAllowed =
                    head.uri == "/hosts/tunnel"
                    && gateway.tunnelHost(authorization: head.headers.first(name: "Authorization")) != nil
                return channel.eventLoop.makeSucceededFuture(isAllowed ? [:] : nil)
            },
            upgradePipelineHandler: { channel, head in
                channel.eventLoop.makeCompletedFuture {
                    guard let principal = gateway.tunnelHost(authorization: head.headers.first(name: "Authorization")) else {
                        throw ChannelError.ioOnClosedChannel
                    }
                    // A host's reports would make each connection keep buffers of their size.
                    try channel.syncOptions?.setOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 4096))
                    return .tunnel(try TunnelSocket(channel, as: .coordinator, masked: false), principal)
                }
            })
        let configuration = NIOTypedHTTPServerUpgradeConfiguration(
            upgraders: [upgrader],
            notUpgradingCompletionHandler: { channel in
                // Without an upgrade there is nothing here; with one, the token was not a host's.
                let body =
                    #"{"code":"unauthorized","detail":"A tunnel is a WebSocket that a host opens with its own token.","status":401,"title":"Unauthorized","type":"about:blank"}"#
                let headers: HTTPHeaders = [
                    "Content-Type": "application/problem+json", "Content-Length": String(body.utf8.count), "Connection": "close",
                    "WWW-Authenticate": "Bearer realm=\"longshore\"",
                ]
                channel.write(
                    HTTPServerResponsePart.head(.init(version: .http1_1, status: .unauthorized, headers: headers)), promise: nil)
                channel.write(HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(string: body))), promise: nil)
                return channel.writeAndFlush(HTTPServerResponsePart.end(nil)).flatMap { channel.close() }.map { .refused }
            })
        // Anyone may begin this; who does not come to the end of it is not waited for.
        let due = channel.eventLoop.assumeIsolated().scheduleTask(in: patience) { channel.close(promise: nil) }
        do {
            var pipeline = NIOUpgradableHTTPServerPipelineConfiguration(upgradeConfiguration: configuration)
            pipeline.enablePipelining = false
            let kind = try channel.pipeline.syncOperations.configureUpgradableHTTPServerPipeline(configuration: pipeline)
            kind.assumeIsolated().whenComplete { _ in due.cancel() }
            return kind
        } catch {
            due.cancel()
            return channel.eventLoop.makeFailedFuture(error)
        }
    }

    func handle(value: Value, logger: Logger) async {
        // Who has said nothing yet is not waited for when the coordinator stops.
        let kind = await withTaskCancellationOrGracefulShutdownHandler {
            try? await value.kind.get()
        } onCancelOrGracefulShutdown: {
            value.channel.close(promise: nil)
        }
        guard let kind else {
            try? await value.channel.close()
            return
        }
        switch kind {
        case .http(let channel): await http.handle(value: channel, logger: logger)
        case .tunnel(let socket, let principal): await carry(socket, of: principal, logger)
        case .refused: return
        }
    }

    /// Apart, so that what a tunnel needs is not room in the task of every connection.
    @inline(never)
    private func carry(_ socket: TunnelSocket, of principal: Principal, _ logger: Logger) async {
        let host = principal.host ?? ""
        logger.notice("a host's tunnel is open", metadata: ["host": "\(host)"])
        do {
            try await gateway.serveTunnel(socket.link, of: principal) { outcome in
                if case .failure(TunnelSocket.Broken.silent) = outcome { true } else { false }
            } over: { handler in
                try await socket.run(handler)
            }
            logger.info("a host's tunnel is closed", metadata: ["host": "\(host)"])
        } catch {
            logger.info("a host's tunnel broke", metadata: ["host": "\(host)", "error": "\(error)"])
        }
    }
}

/// Looks at how a connection begins, decides, and goes.
private final class FirstBytes: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private static let start = Array("GET /hosts/tunnel ".utf8)
    private let patience: TimeAmount
    private let decide: (Bool) -> Void
    private let onClosed: () -> Void
    private var held = ByteBuffer()
    private var isDecided = false
    private var timeout: Scheduled<Void>?

    init(patience: TimeAmount, decide: @escaping (Bool) -> Void, onClosed: @escaping () -> Void) {
        self.patience = patience
        self.decide = decide
        self.onClosed = onClosed
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        timeout?.cancel()
        if !isDecided { onClosed() }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        if isDecided { return context.fireChannelRead(wrapInboundOut(bytes)) }
        held.writeBuffer(&bytes)
        if timeout == nil {
            timeout = context.eventLoop.assumeIsolated().scheduleTask(in: patience) { context.close(promise: nil) }
        }
        let seen = held.readableBytesView.prefix(FirstBytes.start.count)
        let isLike = FirstBytes.start.starts(with: seen)
        guard !isLike || seen.count == FirstBytes.start.count else { return }
        isDecided = true
        decide(isLike)
        context.fireChannelRead(wrapInboundOut(held))
        context.fireChannelReadComplete()
        held = ByteBuffer()
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        if !isDecided {
            isDecided = true
            onClosed()
        }
        context.fireChannelInactive()
    }
}
