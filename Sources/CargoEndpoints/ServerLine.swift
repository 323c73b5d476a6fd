internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import Synchronization

/// One connection to a model server, for one request after the other: parts of an answer come as they are asked for.
final class ServerLine: Sendable {
    private struct State {
        /// What one read brought: no other is made before they are taken.
        var parts: [HTTPClientResponsePart] = []
        var waiter: CheckedContinuation<HTTPClientResponsePart?, any Error>?
        var end: Result<Void, any Error>?
    }

    let channel: any Channel
    private let patience: NIOLoopBound<Patience>
    private let state = Mutex(State())

    /// Joins a channel that is not active yet, on its event loop.
    init(_ channel: any Channel, bounds: ServerBounds) throws {
        self.channel = channel
        let patience = Patience()
        self.patience = NIOLoopBound(patience, eventLoop: channel.eventLoop)
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = bounds.head
        limits.maxHeaderListSize = bounds.head
        let decoder = HTTPResponseDecoder(
            leftOverBytesStrategy: .dropBytes, informationalResponseStrategy: .drop, limitConfiguration: limits)
        try channel.syncOptions?.setOption(.autoRead, value: false)
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(patience)
        // Before the decoder, which watches the requests on their way.
        try pipeline.addHandler(HTTPRequestEncoder())
        try pipeline.addHandler(ByteToMessageHandler(decoder, maximumBufferSize: bounds.head + (1 << 20)))
        try pipeline.addHandler(HeadMark(patience))
        try pipeline.addHandler(LineHandler(self))
    }

    /// Sends a request, whose answer `next` reads within these bounds.
    func send(_ request: [HTTPClientRequestPart], within bounds: ServerBounds) {
        let (channel, patience) = (channel, patience)
        @Sendable func send() {
            patience.value.begin(bounds, channel)
            for part in request { channel.write(part, promise: nil) }
            channel.flush()
        }
        if channel.eventLoop.inEventLoop { send() } else { channel.eventLoop.execute(send) }
    }

    /// Nobody waits for anything of it now.
    func rest() {
        let patience = patience
        if channel.eventLoop.inEventLoop {
            patience.value.rest()
        } else {
            channel.eventLoop.execute { patience.value.rest() }
        }
    }

    func close() { channel.close(promise: nil) }

    /// Stands, and has given all that it brought.
    var isIdle: Bool { channel.isActive && state.withLock { $0.parts.isEmpty && $0.end == nil && $0.waiter == nil } }

    /// The next part; nil when the connection has ended. One task waits at a time; its cancellation ends the connection.
    func next() async throws -> HTTPClientResponsePart? {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let now: Result<HTTPClientResponsePart?, any Error>? = state.withLock { state in
                    if !state.parts.isEmpty { return .success(state.parts.removeFirst()) }
                    if let end = state.end { return end.map { nil } }
                    if Task.isCancelled { return .failure(CancellationError()) }
                    state.waiter = continuation
                    return nil
                }
                if let now { continuation.resume(with: now) } else { channel.read() }
            }
        } onCancel: {
            let waiter = state.withLock { state in
                defer { state.waiter = nil }
                return state.waiter
            }
            waiter?.resume(throwing: CancellationError())
            channel.close(promise: nil)
        }
    }

    fileprivate func took(_ part: HTTPClientResponsePart) {
        let waiter = state.withLock { state in
            guard state.parts.isEmpty, let waiter = state.waiter else {
                state.parts.append(part)
                return nil as CheckedContinuation<HTTPClientResponsePart?, any Error>?
            }
            state.waiter = nil
            return waiter
        }
        waiter?.resume(returning: part)
    }

    fileprivate var isWaitedFor: Bool { state.withLock { $0.waiter != nil } }

    fileprivate func finish(_ end: Result<Void, any Error>) {
        let waiter = state.withLock { state in
            if state.end == nil { state.end = end }
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume(with: end.map { nil })
    }
}

/// Hands what comes to the line.
private final class LineHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    private let line: ServerLine

    init(_ line: ServerLine) { self.line = line }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { line.took(unwrapInboundIn(data)) }

    func channelReadComplete(context: ChannelHandlerContext) {
        // Half a part is none.
        if line.isWaitedFor { context.read() }
        context.fireChannelReadComplete()
    }

    func channelInactive(context: ChannelHandlerContext) {
        line.finish(.success(()))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        line.finish(.failure(error))
        context.close(promise: nil)
    }
}

/// Connections that stand open between two requests of one account to one server: no answer that came too late or twice can be
/// another account's.
final class ServerLines: Sendable {
    struct Place: Hashable, Sendable {
        var host: String
        var port: Int
        var account: String
    }

    static let shared = ServerLines()
    private static let most = 64
    private static let mostOfOne = 8
    /// Below what servers wait for a next request.
    private static let longest = TimeAmount.seconds(2)

    private let idle = Mutex<[Place: [ServerLine]]>([:])

    /// The one that was used last, of those on the caller's own event loop.
    func take(_ place: Place) -> ServerLine? {
        let loop = MultiThreadedEventLoopGroup.currentEventLoop
        while true {
            let line = idle.withLock { idle -> ServerLine? in
                guard let index = idle[place]?.lastIndex(where: { loop == nil || $0.channel.eventLoop === loop }) else {
                    return nil
                }
                defer { if idle[place]?.isEmpty == true { idle[place] = nil } }
                return idle[place]?.remove(at: index)
            }
            guard let line else { return nil }
            if line.isIdle { return line }
            line.close()
        }
    }

    /// Keeps one for the next request, for a while.
    func keep(_ line: ServerLine, for place: Place) {
        line.rest()
        let isKept = idle.withLock { idle in
            guard line.isIdle, idle[place]?.count ?? 0 < Self.mostOfOne, idle.values.reduce(0, { $0 + $1.count }) < Self.most
            else { return false }
            idle[place, default: []].append(line)
            return true
        }
        guard isKept else { return line.close() }
        line.channel.eventLoop.scheduleTask(in: Self.longest) { [self] in drop(line, place) }
    }

    /// Whether it was used in between: then it is kept anew later.
    private func drop(_ line: ServerLine, _ place: Place) {
        let isDue = idle.withLock { idle in
            guard let index = idle[place]?.firstIndex(where: { $0 === line }) else { return false }
            idle[place]?.remove(at: index)
            if idle[place]?.isEmpty == true { idle[place] = nil }
            return true
        }
        if isDue { line.close() }
    }
}
