public import Hummingbird
public import NIOCore

/// What a request carries besides itself: its connection, so that a wait can see that the caller has gone.
public struct GatewayContext: RequestContext {
    public var coreContext: CoreRequestContextStorage
    public let channel: any Channel
    /// What this request is called in answers and logs.
    var requestName = ""

    public init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
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
