internal import NIOCore
internal import NIOHTTP1

/// Ends a connection whose server is silent or talks too much.
///
/// It stands next to the socket for as many requests as the connection has and sees both what is asked of it (`read`) and what it gives (`channelRead`). So only the time
/// in which somebody waits for the server counts, never that in which a slow client holds up the reading.
final class Patience: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer

    /// What the server did not keep to.
    enum Overrun: Error {
        case noHead, idle, whole, tooMuch
    }

    private var bounds = ServerBounds()
    /// Raw bytes: a body in the smallest chunks that is not too large by itself has no more.
    private var mostBytes = 0
    private var bytes = 0
    private var context: ChannelHandlerContext?
    private var headIsHere = false
    /// Since when a read is wanted that has not been answered.
    private var waiting: NIODeadline?
    private var timers: [Scheduled<Void>] = []

    func headArrived() { headIsHere = true }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        rest()
        self.context = nil
    }

    /// A request is on its way.
    func begin(_ bounds: ServerBounds, _ channel: any Channel) {
        rest()
        self.bounds = bounds
        mostBytes = bounds.head + 8 * bounds.body
        (bytes, headIsHere, waiting) = (0, false, nil)
        let bound = NIOLoopBound(self, eventLoop: channel.eventLoop)
        let head = channel.eventLoop.scheduleTask(in: TimeAmount(bounds.firstByte)) {
            if !bound.value.headIsHere { bound.value.end(.noHead) }
        }
        let whole = channel.eventLoop.scheduleTask(in: TimeAmount(bounds.whole)) { bound.value.end(.whole) }
        timers = [head, whole]
    }

    /// Nothing is waited for.
    func rest() {
        for timer in timers { timer.cancel() }
        (timers, waiting) = ([], nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        rest()
        context.fireChannelInactive()
    }

    func read(context: ChannelHandlerContext) {
        if !timers.isEmpty {
            if waiting == nil { waiting = .now() }
            if headIsHere, timers.count < 3 { watch(context.eventLoop, for: TimeAmount(bounds.idle)) }
        }
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        waiting = nil
        bytes += unwrapInboundIn(data).readableBytes
        guard bytes <= mostBytes else { return end(.tooMuch) }
        context.fireChannelRead(data)
    }

    /// One timer at a time, which looks again when it fires too early.
    private func watch(_ loop: any EventLoop, for time: TimeAmount) {
        let bound = NIOLoopBound(self, eventLoop: loop)
        let idle = TimeAmount(bounds.idle)
        timers.append(
            loop.scheduleTask(in: time) {
                let patience = bound.value
                patience.timers.removeLast()
                guard let since = patience.waiting else { return }
                let silent = NIODeadline.now() - since
                if silent >= idle { patience.end(.idle) } else { patience.watch(loop, for: idle - silent) }
            })
    }

    private func end(_ overrun: Overrun) {
        rest()
        context?.fireErrorCaught(overrun)
        context?.close(promise: nil)
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
