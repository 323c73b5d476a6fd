import CargoTunnel
import CargoWire
import NIOHTTP1
import Synchronization
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// Clients that ask for much and read nothing.
@Suite struct SlowReaderTests {
    /// A connection that sends a request and never reads.
    private final class Mute {
        private let descriptor: Int32

        init(_ port: Port, _ request: String) throws {
            descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var (room, address) = (Int32(4096), sockaddr_in())
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &room, socklen_t(MemoryLayout<Int32>.size))
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = in_port_t(UInt16(port.url.split(separator: ":").last ?? "") ?? 0).bigEndian
            address.sin_addr.s_addr = inet_addr("127.0.0.1")
            let connected = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            let bytes = Array(request.utf8)
            guard connected == 0, send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
                throw TestFailure("no connection")
            }
        }

        deinit { close(descriptor) }
    }

    /// What a stream that nobody reads may take: the tunnel's window, the pieces on their way through the connection, and what the
    /// kernel takes for the client's socket, 256 KiB each at most, as much again for what they count of themselves.
    private static let bound = 4 * TunnelStreams.window
    private static let clients = 4

    @Test(.timeLimit(.minutes(3))) func `clients that read nothing of a fast answer cost a bounded room and hold up nobody`()
        async throws
    {
        try await withCoordinator { port in
            // By stream: bytes that the host could get rid of.
            let sent = Mutex<[Int]>([])
            let head = AnswerHead(status: 200, contentType: "text/event-stream")
            try await port.withTunnelHost(slots: 2 * Self.clients) { _, stream in
                let asked = String(decoding: try await stream.collect(limit: 1 << 20), as: UTF8.self)
                try stream.acknowledge()
                try stream.writeHead(head)
                let number = sent.withLock { sent in
                    sent.append(0)
                    return sent.count - 1
                }
                let event = Array("data: \(String(repeating: "x", count: 8000))\n\n".utf8)
                for _ in 0..<(asked.contains("much") ? 4 * Self.bound / event.count : 1) {
                    try await stream.write(event)
                    sent.withLock { $0[number] += event.count }
                }
                stream.end(ModelUsage(promptTokens: 1, completionTokens: 1))
            } _: {
                let client = try await port.memoryOnly()
                let body = #"{"model":"acme/tiny","stream":true,"messages":[{"role":"user","content":"much"}]}"#
                let mutes = try (0..<Self.clients).map { _ in
                    try Mute(
                        client,
                        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \(client.key)\r\n"
                            + "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
                }
                while sent.withLock({ $0.count { $0 >= TunnelStreams.window / 2 } }) < Self.clients {
                    try await Task.sleep(for: .milliseconds(5))
                }
                // Meanwhile others are answered, whole, over the same tunnel, until the flood stands still.
                var before: Int
                repeat {
                    before = sent.withLock { $0.prefix(Self.clients).reduce(0, +) }
                    for _ in 0..<20 {
                        let reply = try await client.send(.POST, "/v1/chat/completions", ModelRequestTests.question)
                        #expect(reply.status == 200 && reply.text.utf8.count == 8008)
                    }
                } while sent.withLock { $0.prefix(Self.clients).reduce(0, +) } > before
                #expect(sent.withLock { $0.max() ?? 0 } <= Self.bound)
                withExtendedLifetime(mutes) {}
            }
        }
    }
}
