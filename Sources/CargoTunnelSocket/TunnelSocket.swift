public import CargoTunnel
public import NIOCore
import NIOWebSocket
import Synchronization

/// Carries a link over an open WebSocket: frames both ways, pings, and the end when the peer is dead.
///
/// Frames are read and written by the connection's own handler, on its event loop: a word of an answer crosses no task and no queue
/// on its way between the socket and whoever waits for it.
public final class TunnelSocket: Sendable {
    /// Bytes of a WebSocket frame at most.
    public static let largestFrame = TunnelFrame.largest
    /// How often each side shows that it lives, and after how much silence of the other the connection counts as dead.
    public static let pingEvery = Duration.seconds(5)
    public static let deadAfter = Duration.seconds(15)

    /// The peer said nothing for too long, or what no peer says.
    public enum Broken: Error, Hashable, Sendable { case silent, notBinary }

    public let link: TunnelLink
    public let channel: any Channel
    private let ended: EventLoopFuture<Void>
    private let courier: Courier

    /// Joins a channel behind its WebSocket handlers; called on the channel's event loop.
    /// - Parameter masked: as a client's frames are (RFC 6455, section 5.3).
    public init(_ channel: any Channel, as side: TunnelStreams.Side, masked: Bool) throws {
        let link = TunnelLink(side)
        let promise = channel.eventLoop.makePromise(of: Void.self)
        let handler = TunnelHandler(link, masked: masked, ended: promise)
        courier = Courier(NIOLoopBound(handler, eventLoop: channel.eventLoop), on: channel.eventLoop)
        ended = promise.futureResult
        self.link = link
        self.channel = channel
        try channel.pipeline.syncOperations.addHandler(handler)
        link.carry(by: courier)
    }

    /// Answers what the peer opens until either side closes; throws when the peer broke the rules or fell silent. The link is closed
    /// afterwards.
    @concurrent
    public func run(_ handler: @escaping TunnelLink.Handler) async throws {
        defer {
            link.close()
            courier.finish()
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { [link] in await link.serve(handler) }
            group.addTask { [channel, ended] in
                try await withTaskCancellationHandler {
                    try await ended.get()
                } onCancel: {
                    channel.close(promise: nil)
                }
            }
            // Whichever ends first ends the connection.
            let first = await group.nextResult()
            link.close()
            courier.finish()
            group.cancelAll()
            try first?.get()
        }
    }
}

/// Brings the link's frames to its handler: from other threads through the event loop, once for all that wait.
private final class Courier: TunnelCarrier {
    private let handler: NIOLoopBound<TunnelHandler>
    private let loop: any EventLoop
    private let isUnderWay = Atomic(false)

    init(_ handler: NIOLoopBound<TunnelHandler>, on loop: any EventLoop) {
        self.handler = handler
        self.loop = loop
    }

    func framesWait() {
        // What is said while frames are read goes out when all of them are.
        if loop.inEventLoop, handler.value.isReading { return }
        guard !isUnderWay.exchange(true, ordering: .acquiringAndReleasing) else { return }
        loop.execute { [self] in
            isUnderWay.store(false, ordering: .releasing)
            handler.value.flush()
        }
    }

    /// What waits is sent, and the connection closed.
    func finish() { loop.execute { [self] in handler.value.finish() } }
}

/// Between the WebSocket's frames and the link.
private final class TunnelHandler: ChannelDuplexHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    /// Answers to pings and refusals that wait for a peer who does not read, before nothing more is read of it.
    private static let mostOwed = 64

    private let link: TunnelLink
    private let masked: Bool
    private let ended: EventLoopPromise<Void>
    private var context: ChannelHandlerContext?
    private var pings: RepeatedTask?
    private(set) var isReading = false
    private var isOver = false
    private var owed = 0
    private var isReadHeld = false

    init(_ link: TunnelLink, masked: Bool, ended: EventLoopPromise<Void>) {
        self.link = link
        self.masked = masked
        self.ended = ended
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        let pause = TimeAmount(TunnelSocket.pingEvery)
        pings = context.eventLoop.scheduleRepeatedTask(initialDelay: pause, delay: pause) { _ in bound.value.ping() }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        end(.success(()))
        self.context = nil
    }

    // MARK: In

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isOver else { return }
        isReading = true
        let message = unwrapInboundIn(data)
        do {
            switch message.opcode {
            case .binary:
                if try link.received(Array(buffer: message.unmaskedData)) == .refused { owe() }
            case .ping:
                link.heard()
                write(.pong, message.unmaskedData)
                owe()
            case .pong: link.heard()
            case .connectionClose: end(.success(()))
            default: throw TunnelSocket.Broken.notBinary
            }
        } catch {
            end(.failure(error))
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        flush()
        context.flush()
        context.fireChannelReadComplete()
    }

    func read(context: ChannelHandlerContext) {
        if owed > Self.mostOwed, !context.channel.isWritable {
            isReadHeld = true
        } else {
            context.read()
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        end(.success(()))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { end(.failure(error)) }

    private func owe() {
        if let context, !context.channel.isWritable { owed += 1 }
    }

    // MARK: Out

    /// Sends what waits, as much as the socket takes.
    func flush() {
        guard let context, !isReading else { return }
        var isMore = false
        while context.channel.isWritable, let batch = link.takePending() {
            for bytes in batch { write(.binary, ByteBuffer(bytes: bytes)) }
            isMore = true
        }
        if isMore { context.flush() }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            owed = 0
            flush()
            if isReadHeld {
                isReadHeld = false
                context.read()
            }
        }
        context.fireChannelWritabilityChanged()
    }

    private func write(_ opcode: WebSocketOpcode, _ data: ByteBuffer) {
        let frame = WebSocketFrame(fin: true, opcode: opcode, maskKey: masked ? .random() : nil, data: data)
        context?.write(wrapOutboundOut(frame), promise: nil)
    }

    private func ping() {
        guard link.silence < TunnelSocket.deadAfter else { return end(.failure(TunnelSocket.Broken.silent)) }
        write(.ping, ByteBuffer())
        context?.flush()
    }

    // MARK: The end

    /// Sends what waits and the word that ends a WebSocket, and closes.
    func finish() {
        isReading = false
        flush()
        if let context {
            write(.connectionClose, ByteBuffer(bytes: [0x03, 0xE8]))
            context.flush()
            context.close(promise: nil)
        }
        end(.success(()))
    }

    private func end(_ result: Result<Void, any Error>) {
        guard !isOver else { return }
        isOver = true
        pings?.cancel()
        ended.completeWith(result)
    }
}
