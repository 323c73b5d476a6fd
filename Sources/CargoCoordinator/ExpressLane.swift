import CargoGateway
import NIOCore
import NIOHTTPTypes

/// Answers the calls of `Gateway.express` from their bytes, without a task and without the server behind it; every other
/// request passes on to that server as it came.
///
/// One request at a time: until the server has answered one, what comes behind it waits here, so answers go out in the order
/// of their requests. Where a request ends is read only from a plain head (`ExpressHead`); with the first one that is not
/// plain, this connection is the server's for good.
final class ExpressLane: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        case idle
        /// A call's head was read, its body is on its way.
        case gathering(ExpressHead)
        /// The gateway has a call; its bytes are kept, so that the server can be asked after all.
        case answering(ByteBuffer)
        /// The server has a request, of which so many bytes are still to come.
        case routing(bytesLeft: Int, isAnswered: Bool)
        /// The server has the connection.
        case given
    }

    private let gateway: Gateway
    /// Who asks nothing, or sends nothing of an unfinished request, for so long is disconnected.
    private let patience: TimeAmount
    private var state = State.idle
    private var context: ChannelHandlerContext?
    /// What is not handed on yet: less than a call, or what came behind the request that is being answered. Then nothing
    /// more is read, so it is a call and one read at most.
    private var held = ByteBuffer()
    private var isReadHeld = false
    private var isClosing = false
    private var lastActive = NIODeadline.now()
    /// Since when a request's head is on its way to the server: one that comes byte by byte keeps nobody waiting for ever.
    private var headSince: NIODeadline?
    private var timer: Scheduled<Void>?
    /// What the server does with this connection, once it has one of its requests.
    private var server: ServerWatch?

    init(_ gateway: Gateway, patience: TimeAmount) {
        self.gateway = gateway
        self.patience = patience
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        wait(patience, context)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        timer?.cancel()
    }

    // MARK: Bytes

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        lastActive = .now()
        var bytes = unwrapInboundIn(data)
        if case .given = state {
            if headSince == nil, server?.isIdle ?? false { headSince = .now() }
            return context.fireChannelRead(data)
        }
        if held.readableBytes == 0 { held = bytes } else { held.writeBuffer(&bytes) }
        advance(context)
    }

    func channelReadComplete(context: ChannelHandlerContext) { context.fireChannelReadComplete() }

    /// Hands on what is held, as far as it goes.
    private func advance(_ context: ChannelHandlerContext) {
        while held.readableBytes > 0 {
            switch state {
            case .idle:
                guard let head = held.withUnsafeReadableBytes({ ExpressHead($0.bindMemory(to: UInt8.self)) }) else {
                    state = .given
                    pass(held.readableBytes, context)
                    return
                }
                let isCall = head.isWhole && head.bodyLength <= Gateway.largestExpress && call(head) != nil
                state = isCall ? .gathering(head) : .routing(bytesLeft: head.length, isAnswered: false)
            case .gathering(let head):
                guard held.readableBytes >= head.length else { return }
                if !ask(head, context) { state = .routing(bytesLeft: head.length, isAnswered: false) }
            case .answering, .routing(bytesLeft: 0, _): return
            case .routing(let left, let isAnswered):
                let count = min(left, held.readableBytes)
                state = left == count && isAnswered ? .idle : .routing(bytesLeft: left - count, isAnswered: isAnswered)
                pass(count, context)
            case .given:
                return pass(held.readableBytes, context)
            }
        }
    }

    private func pass(_ count: Int, _ context: ChannelHandlerContext) {
        guard let bytes = held.readSlice(length: count) else { return }
        if held.readableBytes == 0 { held = ByteBuffer() }
        context.fireChannelRead(wrapInboundOut(bytes))
        context.fireChannelReadComplete()
    }

    // MARK: Calls

    private func call(_ head: ExpressHead) -> Gateway.ExpressCall? {
        held.withUnsafeReadableBytes { bytes in
            guard head.namesLength, ExpressHead.matches(bytes.bindMemory(to: UInt8.self), at: 0, "POST ") else { return nil }
            return Gateway.expressCall(String(decoding: bytes[head.target], as: UTF8.self))
        }
    }

    private func ask(_ head: ExpressHead, _ context: ChannelHandlerContext) -> Bool {
        guard let call = call(head) else { return false }
        let request = held.withUnsafeReadableBytes { bytes in
            func text(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }
            return ExpressRequest(
                call: call, token: head.token.map(text), idempotencyKey: head.idempotencyKey.map(text),
                body: Array(bytes[head.headLength..<head.length]))
        }
        let channel = context.channel
        let lane = NIOLoopBound(self, eventLoop: context.eventLoop)
        let isTaken = gateway.express(request, isGone: { !channel.isActive }) { answer in
            channel.eventLoop.execute { lane.value.answered(answer) }
        }
        guard isTaken, let bytes = held.readSlice(length: head.length) else { return false }
        if held.readableBytes == 0 { held = ByteBuffer() }
        state = .answering(bytes)
        return true
    }

    private func answered(_ answer: ExpressAnswer?) {
        guard case .answering(let bytes) = state, let context, context.channel.isActive else { return }
        if let answer {
            lastActive = .now()
            state = .idle
            context.writeAndFlush(wrapOutboundOut(answer.written(context.channel.allocator)), promise: nil)
            if isClosing { return context.close(promise: nil) }
        } else {
            var rest = held
            held = bytes
            held.writeBuffer(&rest)
            state = .routing(bytesLeft: bytes.readableBytes, isAnswered: false)
        }
        goOn(context)
    }

    fileprivate func isServed(by server: ServerWatch) {
        self.server = server
        if timer == nil, let context { wait(patience, context) }
    }

    /// The server has a request's head.
    fileprivate func headCame() { headSince = nil }

    /// The server's answer to a request went out.
    fileprivate func serverAnswered() {
        lastActive = .now()
        guard case .routing(let left, _) = state, let context else { return }
        state = left == 0 ? .idle : .routing(bytesLeft: left, isAnswered: true)
        goOn(context)
    }

    private func goOn(_ context: ChannelHandlerContext) {
        advance(context)
        if isReadHeld {
            isReadHeld = false
            read(context: context)
        }
    }

    func read(context: ChannelHandlerContext) {
        switch state {
        // With nothing behind the request, reading goes on: so a client that leaves is noticed.
        case .answering where held.readableBytes > 0, .routing where held.readableBytes > 0: isReadHeld = true
        default: context.read()
        }
    }

    // MARK: The end

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch state {
        case .routing, .given: break
        case .answering where event is ChannelShouldQuiesceEvent:
            isClosing = true
            return
        case .idle, .gathering, .answering:
            let isInputClosed = event as? ChannelEvent == .inputClosed
            if isInputClosed || event is ChannelShouldQuiesceEvent { return context.close(promise: nil) }
        }
        context.fireUserInboundEventTriggered(event)
    }

    private func wait(_ time: TimeAmount, _ context: ChannelHandlerContext) {
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: time) { [self] in
            let isWorking =
                switch state {
                case .answering: true
                case .idle, .gathering: false
                case .routing, .given: server?.isWorking ?? false
                }
            let left = isWorking ? patience : min(lastActive, headSince ?? lastActive) + patience - .now()
            // A tunnel looks after itself.
            if case .given = state, server == nil {
                timer = nil
            } else if left <= .zero {
                context.close(promise: nil)
            } else {
                wait(left, context)
            }
        }
    }
}

/// Sees for the lane what the server reads and answers.
final class ServerWatch: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private var lane: ExpressLane?
    private var unanswered = 0
    private var isReading = false

    /// Whether it has whole requests and owes their answers.
    var isWorking: Bool { unanswered > 0 && !isReading }
    /// Whether the next bytes are the beginning of a request.
    var isIdle: Bool { unanswered == 0 && !isReading }

    func handlerAdded(context: ChannelHandlerContext) {
        lane = try? context.pipeline.syncOperations.handler(type: ExpressLane.self)
        lane?.isServed(by: self)
    }

    func handlerRemoved(context: ChannelHandlerContext) { lane = nil }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head:
            (unanswered, isReading) = (unanswered + 1, true)
            lane?.headCame()
        case .body: break
        case .end: isReading = false
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let part = unwrapOutboundIn(data)
        context.write(data, promise: promise)
        guard case .end = part else { return }
        unanswered = max(0, unanswered - 1)
        lane?.serverAnswered()
    }
}

extension ExpressAnswer {
    /// As it goes over the wire, with the fields that the server's answers have.
    fileprivate func written(_ allocator: ByteBufferAllocator) -> ByteBuffer {
        let body = body()
        var buffer = allocator.buffer(capacity: body.count + 320)
        buffer.writeStaticString(isAccepted ? "HTTP/1.1 202 Accepted\r\n" : "HTTP/1.1 200 OK\r\n")
        buffer.writeStaticString("Content-Type: application/json\r\nCache-Control: no-store\r\n")
        if let location {
            buffer.writeStaticString("Location: ")
            buffer.writeString(location)
            buffer.writeStaticString("\r\n")
        }
        buffer.writeStaticString("Content-Length: ")
        buffer.writeString(String(body.count))
        buffer.writeStaticString("\r\nDate: ")
        buffer.writeString(HTTPDate.now())
        buffer.writeStaticString("\r\nServer: ")
        buffer.writeString(Gateway.serverName)
        buffer.writeStaticString("\r\n\r\n")
        buffer.writeBytes(body)
        return buffer
    }
}
