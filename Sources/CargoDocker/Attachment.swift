internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import SystemPackage

/// A container's standard streams, over a connection that left HTTP (Engine API, ContainerAttach).
///
/// AsyncHTTPClient cannot give a connection away after an upgrade, so this is a connection of its own.
struct Attachment: Sendable {
    private let channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>

    private init(channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>) { self.channel = channel }

    /// Attaches to a container that is not started yet, so that nothing of its output is missed.
    static func open(_ engine: Engine, container: String, stdin: Bool) async throws -> Attachment {
        let operation = "attach to the container \(container.prefix(12))"
        let query = Engine.query([("stream", "1"), ("stdout", "1"), ("stderr", "1"), ("stdin", stdin ? "1" : "0")])
        let path = "/v\(engine.version)/containers/\(container)/attach" + query
        let upgraded = try await engine.reaching(operation) {
            let upgrading = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .channelOption(.allowRemoteHalfClosure, value: true)
                .connectTimeout(.seconds(10))
                .connect(unixDomainSocketPath: engine.socket.string) { channel in
                    channel.eventLoop.makeCompletedFuture { try upgrade(channel, path: path) }
                }
            return try await upgrading.get()
        }
        switch upgraded {
        case .streams(let channel): return Attachment(channel: channel)
        case .refused(let answer):
            let said = try await engine.reaching(operation) { try await answer.get() }
            throw EngineError(.failed, operation, said.isEmpty ? "the engine does not hand over the container's streams" : said)
        }
    }

    /// What the engine made of the request.
    fileprivate enum Answer: Sendable {
        case streams(NIOAsyncChannel<ByteBuffer, ByteBuffer>)
        /// It answered without switching protocols, and said why.
        case refused(EventLoopFuture<String>)
    }

    private static func upgrade(
        _ channel: any Channel, path: String
    ) throws -> EventLoopFuture<Answer> {
        var head = HTTPRequestHead(version: .http1_1, method: .POST, uri: path)
        head.headers.add(name: "Host", value: "engine")
        head.headers.add(name: "Content-Length", value: "0")
        var configuration = NIOUpgradableHTTPClientPipelineConfiguration<Answer>(
            upgradeConfiguration: NIOTypedHTTPClientUpgradeConfiguration(
                upgradeRequestHead: head, upgraders: [StreamUpgrader()],
                notUpgradingCompletionHandler: { channel in
                    // The answer's body is passed on only after this future: it cannot wait for the body.
                    let promise = channel.eventLoop.makePromise(of: String.self)
                    return channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(RefusalReader(promise: promise))
                    }.map { .refused(promise.futureResult) }
                }))
        configuration.leftOverBytesStrategy = .forwardBytes
        return try channel.pipeline.syncOperations.configureUpgradableHTTPClientPipeline(configuration: configuration)
    }

    /// Writes `input`, ends standard input, and passes what comes to `body` until the container closes its streams.
    func run(input: [UInt8]?, _ body: ([UInt8]) async throws -> Void) async throws {
        try await channel.executeThenClose { inbound, outbound in
            if let input {
                // A command that does not read closes its end: its business, not a failure.
                try? await outbound.write(ByteBuffer(bytes: input))
                outbound.finish()
            }
            for try await piece in inbound { try await body(Array(buffer: piece)) }
        }
    }
}

/// Docker's raw stream: after `101 UPGRADED` the connection carries the container's bytes.
private struct StreamUpgrader: NIOTypedHTTPClientProtocolUpgrader {
    let supportedProtocol = "tcp"
    let requiredUpgradeHeaders: [String] = []

    func addCustom(upgradeRequestHeaders: inout HTTPHeaders) {}
    func shouldAllowUpgrade(upgradeResponse: HTTPResponseHead) -> Bool { true }

    func upgrade(channel: any Channel, upgradeResponse: HTTPResponseHead) -> EventLoopFuture<Attachment.Answer> {
        channel.eventLoop.makeCompletedFuture {
            .streams(
                try NIOAsyncChannel(
                    wrappingChannelSynchronously: channel,
                    configuration: .init(
                        isOutboundHalfClosureEnabled: true, inboundType: ByteBuffer.self, outboundType: ByteBuffer.self)))
        }
    }
}

/// Reads the body of an answer that did not switch protocols, at most 64 KiB, and closes the connection.
private final class RefusalReader: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    private var promise: EventLoopPromise<String>?
    private var body: [UInt8] = []

    init(promise: EventLoopPromise<String>) { self.promise = promise }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head: break
        case .body(let piece): if body.count < 1 << 16 { body += piece.readableBytesView }
        case .end: finish(context)
        }
    }

    func channelInactive(context: ChannelHandlerContext) { finish(context) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { finish(context) }

    private func finish(_ context: ChannelHandlerContext) {
        let message = (try? EngineJSON.decode(EngineMessage.self, from: body))?.message
        promise?.succeed(message ?? String(decoding: body.prefix(500), as: UTF8.self))
        promise = nil
        context.close(promise: nil)
    }
}
