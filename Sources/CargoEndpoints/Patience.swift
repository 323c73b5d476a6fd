internal import NIOCore
internal import NIOHTTP1

/// Ends a connection whose server is silent or talks too much.
///
/// It stands next to the socket and sees both what is asked of it (`read`) and what it gives (`channelRead`). So only the time
/// in which somebody waits for the server counts, never that in which a slow client holds up the reading.
final class Patience: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer

    /// What the server did not keep to.
    enum Overrun: Error {
        case noHead, idle, whole, tooMuch
    }

    private let bounds: ServerBounds
    /// Raw bytes: a body in the smallest chunks that is not too large by itself has no more.
    private let mostBytes: Int
    private var bytes = 0
    private var headIsHere = false
    /// Since when a read is wanted that has not been answered.
    private var waiting: NIODeadline?
    private var timers: [Scheduled<Void>] = []

    init(bounds: ServerBounds) {
        self.bounds = bounds
        mostBytes = bounds.head + 8 * bounds.body
    }

    func headArrived() { headIsHere = true }

    func handlerAdded(context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let head = context.eventLoop.scheduleTask(in: TimeAmount(bounds.firstByte)) {
            let (patience, context) = bound.value
            if !patience.headIsHere { patience.end(.noHead, context) }
        }
        let whole = context.eventLoop.scheduleTask(in: TimeAmount(bounds.whole)) {
            let (patience, context) = bound.value
            patience.end(.whole, context)
        }
        timers = [head, whole]
    }

    func handlerRemoved(context: ChannelHandlerContext) { cancel() }

    func channelInactive(context: ChannelHandlerContext) {
        cancel()
        context.fireChannelInactive()
    }

    func read(context: ChannelHandlerContext) {
        if waiting == nil { waiting = .now() }
        if headIsHere, timers.count < 3 { watch(context, for: TimeAmount(bounds.idle)) }
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        waiting = nil
        bytes += unwrapInboundIn(data).readableBytes
        guard bytes <= mostBytes else { return end(.tooMuch, context) }
        context.fireChannelRead(data)
    }

    /// One timer at a time, which looks again when it fires too early.
    private func watch(_ context: ChannelHandlerContext, for time: TimeAmount) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let idle = TimeAmount(bounds.idle)
        timers.append(
            context.eventLoop.scheduleTask(in: time) {
                let (patience, context) = bound.value
                patience.timers.removeLast()
                guard let since = patience.waiting else { return }
                let silent = NIODeadline.now() - since
                if silent >= idle { patience.end(.idle, context) } else { patience.watch(context, for: idle - silent) }
            })
    }

    private func end(_ overrun: Overrun, _ context: ChannelHandlerContext) {
        cancel()
        context.fireErrorCaught(overrun)
        context.close(promise: nil)
    }

    private func cancel() {
        for timer in timers { timer.cancel() }
        timers = []
    }
}

/// Tells `Patience` that the head was read; it stands behind the decoder.
final class HeadMark: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias InboundOut = HTTPClientResponsePart

    private let patience: Patience

    init(_ patience: Patience) { self.patience = patience }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head = unwrapInboundIn(data) { patience.headArrived() }
        context.fireChannelRead(data)
    }
}
