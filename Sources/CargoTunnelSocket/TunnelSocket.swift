public import CargoTunnel
public import NIOCore
public import NIOWebSocket

/// Carries a link over an open WebSocket: frames both ways, pings, and the end when the peer is dead.
public enum TunnelSocket {
    public typealias Channel = NIOAsyncChannel<WebSocketFrame, WebSocketFrame>

    /// Bytes of a WebSocket frame at most.
    public static let largestFrame = TunnelFrame.largest
    /// How often each side shows that it lives, and after how much silence of the other the connection counts as dead.
    public static let pingEvery = Duration.seconds(5)
    public static let deadAfter = Duration.seconds(15)

    /// The peer said nothing for too long, or what no peer says.
    public enum Broken: Error, Hashable, Sendable { case silent, notBinary }

    /// Runs until either side closes; throws when the peer broke the rules or fell silent. The link is closed afterwards.
    /// - Parameter masked: as a client's frames are (RFC 6455, section 5.3).
    @concurrent
    public static func run(
        _ channel: Channel, as link: TunnelLink, masked: Bool, handler: @escaping TunnelLink.Handler
    ) async throws {
        @Sendable func frame(_ opcode: WebSocketOpcode, _ data: ByteBuffer) -> WebSocketFrame {
            WebSocketFrame(fin: true, opcode: opcode, maskKey: masked ? .random() : nil, data: data)
        }
        let outcome: Result<Void, any Error>
        do {
            try await channel.executeThenClose { inbound, outbound in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        try await link.pump { batch in
                            try await outbound.write(contentsOf: batch.map { frame(.binary, ByteBuffer(bytes: $0)) })
                        }
                    }
                    group.addTask { await link.serve(handler) }
                    group.addTask {
                        while true {
                            try await Task.sleep(for: pingEvery)
                            guard link.silence < deadAfter else { throw Broken.silent }
                            try await outbound.write(frame(.ping, ByteBuffer()))
                        }
                    }
                    group.addTask {
                        for try await message in inbound {
                            switch message.opcode {
                            case .binary: try await link.received(Array(buffer: message.unmaskedData))
                            case .ping:
                                link.heard()
                                try await outbound.write(frame(.pong, message.unmaskedData))
                            case .pong: link.heard()
                            case .connectionClose: return
                            default: throw Broken.notBinary
                            }
                        }
                    }
                    defer { group.cancelAll() }
                    // Whichever ends first ends the connection.
                    do {
                        try await group.next()
                    } catch {
                        link.close()
                        throw error
                    }
                    link.close()
                    _ = try? await outbound.write(frame(.connectionClose, ByteBuffer(bytes: [0x03, 0xE8])))
                }
            }
            outcome = .success(())
        } catch {
            outcome = .failure(error)
        }
        link.close()
        try outcome.get()
    }
}
