import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A webhook receiver on loopback: answers as told and keeps what it got.
final class Receiver: Sendable {
    struct Delivery: Sendable {
        var uri: String
        var headers: HTTPHeaders
        var body: String
    }

    enum Answer: Sendable {
        case status(Int, [(String, String)])
        /// A status line, then bytes without end.
        case endless
        /// Nothing, ever.
        case silence
    }

    let port: Int
    private let channel: any Channel
    private let log: Deliveries

    var deliveries: [Delivery] { log.all }
    var connections: Int { log.connectionCount }

    init(address: String = "127.0.0.1", port: Int = 0, _ answer: @escaping @Sendable (Int) -> Answer) async throws {
        let log = Deliveries()
        self.log = log
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                log.connected()
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Handler(log: log, answer: answer))
                }
            }
            .bind(host: address, port: port).get()
        self.port = channel.localAddress?.port ?? 0
    }

    func stop() async throws { try await channel.close() }

    /// Returns once so many deliveries have come.
    func waitFor(_ count: Int) async { await log.waitFor(count) }

    final class Deliveries: Sendable {
        private struct State {
            var all: [Delivery] = []
            var connections = 0
            var waiters: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []
        }
        private let state = Mutex(State())

        var all: [Delivery] { state.withLock { $0.all } }
        var connectionCount: Int { state.withLock { $0.connections } }

        func connected() { state.withLock { $0.connections += 1 } }

        func add(_ delivery: Delivery) -> Int {
            let (number, ready) = state.withLock { state in
                state.all.append(delivery)
                let count = state.all.count
                let ready = state.waiters.filter { $0.count <= count }
                state.waiters.removeAll { $0.count <= count }
                return (count, ready)
            }
            for waiter in ready { waiter.continuation.resume() }
            return number
        }

        func waitFor(_ count: Int) async {
            await withCheckedContinuation { continuation in
                let already = state.withLock { state in
                    if state.all.count >= count { return true }
                    state.waiters.append((count, continuation))
                    return false
                }
                if already { continuation.resume() }
            }
        }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let log: Deliveries
        private let answer: @Sendable (Int) -> Answer
        private var head: HTTPRequestHead?
        private var body = ""

        init(log: Deliveries, answer: @escaping @Sendable (Int) -> Answer) {
            self.log = log
            self.answer = answer
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .head(let head): self.head = head
            case .body(let bytes): body += String(buffer: bytes)
            case .end:
                guard let head else { return }
                let number = log.add(Delivery(uri: head.uri, headers: head.headers, body: body))
                reply(context, answer(number))
            }
        }

        private func reply(_ context: ChannelHandlerContext, _ answer: Answer) {
            switch answer {
            case .status(let code, let headers):
                var fields = HTTPHeaders(headers)
                fields.add(name: "Content-Length", value: "0")
                let head = HTTPResponseHead(version: .http1_1, status: HTTPResponseStatus(statusCode: code), headers: fields)
                context.write(wrapOutboundOut(.head(head)), promise: nil)
                context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
            case .endless:
                context.writeAndFlush(wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .ok))), promise: nil)
                more(context)
            case .silence: break
            }
        }

        private func more(_ context: ChannelHandlerContext) {
            let bytes = ByteBuffer(repeating: 0x2E, count: 1 << 16)
            let context = NIOLoopBound(context, eventLoop: context.eventLoop)
            let handler = NIOLoopBound(self, eventLoop: context.value.eventLoop)
            context.value.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(bytes)))).whenSuccess {
                handler.value.more(context.value)
            }
        }
    }
}
