import NIOCore
import NIOPosix

/// A server on the loopback that says exactly the bytes that a test tells it to, however they are cut.
struct ScriptedServer {
    /// One request as it came, and the way to answer it.
    struct Exchange {
        let method: String
        let path: String
        let head: String
        let body: String
        /// Which connection it came on, counted from 1.
        let connection: Int
        let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>

        func write(_ text: String) async throws { try await write(Array(text.utf8)) }
        func write(_ bytes: [UInt8]) async throws { try await outbound.write(ByteBuffer(bytes: bytes)) }

        /// A whole answer with its length.
        func answer(_ body: String, status: String = "200 OK", type: String = "application/json") async throws {
            try await write(
                "HTTP/1.1 \(status)\r\nContent-Type: \(type)\r\nContent-Length: \(body.utf8.count)\r\n\r\n" + body)
        }

        /// Begins a chunked answer.
        func begin(type: String) async throws {
            try await write("HTTP/1.1 200 OK\r\nContent-Type: \(type)\r\nTransfer-Encoding: chunked\r\n\r\n")
        }

        func chunk(_ bytes: some Collection<UInt8>) async throws {
            try await write(Array((String(bytes.count, radix: 16) + "\r\n").utf8) + bytes + [13, 10])
        }

        func end() async throws { try await write("0\r\n\r\n") }
    }

    /// Listens while `body` runs; ends each connection after its answer, or leaves it open for the next request.
    static func run<Value: Sendable>(
        port: Int = 0, keepsOpen: Bool = false, _ answer: @escaping @Sendable (Exchange) async throws -> Void,
        body: (Int) async throws -> Value
    ) async throws -> Value {
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .bind(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        let port = server.channel.localAddress?.port ?? 0
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try? await server.executeThenClose { connections in
                    try await withThrowingDiscardingTaskGroup { each in
                        var count = 0
                        for try await connection in connections {
                            count += 1
                            each.addTask { [count] in try? await serve(connection, count, keepsOpen, answer) }
                        }
                    }
                }
            }
            let value = try await body(port)
            group.cancelAll()
            return value
        }
    }

    private static func serve(
        _ connection: NIOAsyncChannel<ByteBuffer, ByteBuffer>, _ number: Int, _ keepsOpen: Bool,
        _ answer: @Sendable (Exchange) async throws -> Void
    ) async throws {
        try await connection.executeThenClose { inbound, outbound in
            var bytes: [UInt8] = []
            for try await buffer in inbound {
                bytes += buffer.readableBytesView
                let text = String(decoding: bytes, as: UTF8.self)
                guard let split = text.firstRange(of: "\r\n\r\n") else { continue }
                let head = String(text[..<split.lowerBound])
                let length = head.split(separator: "\r\n").compactMap { line -> Int? in
                    let parts = line.split(separator: ":")
                    return parts.count == 2 && parts[0].lowercased() == "content-length"
                        ? Int(parts[1].drop { $0 == " " }) : nil
                }.first
                let body = String(text[split.upperBound...])
                guard body.utf8.count >= length ?? 0 else { continue }
                let words = head.split(separator: " ", maxSplits: 2)
                try await answer(
                    Exchange(
                        method: String(words[0]), path: String(words[1]), head: head, body: body, connection: number,
                        outbound: outbound))
                guard keepsOpen else { break }
                bytes = []
            }
        }
    }
}
