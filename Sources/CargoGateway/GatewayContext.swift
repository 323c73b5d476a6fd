public import Hummingbird
public import NIOCore

/// What a request carries besides itself: its connection, so that a wait ends when the caller has gone.
public struct GatewayContext: RequestContext {
    public var coreContext: CoreRequestContextStorage
    public let channel: any Channel

    public init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
    }

    /// Runs a wait that is cancelled when the connection closes.
    func untilClosed<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
        // Not a child task: the close has to reach it from the event loop. It is awaited below, so it does not outlive
        // the request.
        let task = Task { try await body() }
        channel.closeFuture.whenComplete { _ in task.cancel() }
        return try await withTaskCancellationHandler {
            try await task.value
        } onCancel: {
            task.cancel()
        }
    }
}

/// Closes a connection whose client has closed its side: no one reads the answer that a long wait would give.
public final class CloseWhenPeerCloses: ChannelInboundHandler, RemovableChannelHandler {
    public typealias InboundIn = Any

    public init() {}

    public func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? ChannelEvent, event == .inputClosed {
            context.close(promise: nil)
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }
}
