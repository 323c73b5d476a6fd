/// How much a model server may send and how long it may be silent, so that none can hold memory or a request for ever.
public struct ServerBounds: Hashable, Sendable {
    /// Bytes of a response's head.
    public var head = 64 << 10
    /// Bytes of a body, streamed or whole.
    public var body = 64 << 20
    /// Bytes of one event or line of a stream.
    public var event = 1 << 20
    public var connect = Duration.seconds(3)
    /// Until the whole head is here. A server that streams sends it at once, another when the answer is ready.
    public var firstByte = Duration.seconds(300)
    /// Between two reads, while somebody waits for one.
    public var idle = Duration.seconds(60)
    public var whole = Duration.seconds(3600)

    public init() {}
}
