internal import CargoFiles
internal import Crypto
internal import FoundationEssentials
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
public import SystemPackage

/// Serves the status page on the loopback.
///
/// Where it is and with which token stands in `agent/status.json` of the agent's home, readable by its owner alone: there
/// `cargo-run top` finds it.
public struct StatusServer: Sendable {
    /// What `status.json` holds.
    public struct Place: Hashable, Sendable, Codable {
        /// `http://127.0.0.1:PORT`
        public var url: String
        public var token: String

        /// What a browser is pointed at.
        public var page: String { url + "/?token=" + token }

        /// Nil where no agent ever served; it may be gone since.
        public static func read(home: FilePath) -> Place? {
            guard let bytes = try? File.contents(of: home.appending("agent").appending(StatusServer.fileName), limit: 4096) else {
                return nil
            }
            return try? JSONDecoder().decode(Place.self, from: Data(bytes))
        }
    }

    static let fileName = "status.json"
    /// Connections at once; more wait in the kernel.
    static let mostConnections = 32
    /// Bytes of a request's head.
    static let mostHead = 16 << 10
    /// Seconds that a connection may take altogether.
    static let patience = TimeAmount.seconds(10)

    private let home: FilePath
    private let port: Int
    private let status: @Sendable () async -> HostStatus

    /// - Parameters:
    ///   - home: the agent's.
    ///   - port: 0 takes a free one.
    public init(home: FilePath, port: Int = 0, status: @escaping @Sendable () async -> HostStatus) {
        self.home = home
        self.port = port
        self.status = status
    }

    /// Serves until the task is cancelled. `ready` hears where. Throws when the port is taken or the file cannot be written.
    public func run(ready: @Sendable (Place) -> Void = { _ in }) async throws {
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .bind(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    var limits = NIOHTTPDecoderLimitConfiguration()
                    (limits.maxHeaderFieldSize, limits.maxHeaderListSize) = (StatusServer.mostHead, StatusServer.mostHead)
                    let decoder = HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes, limitConfiguration: limits)
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(HTTPResponseEncoder())
                    try pipeline.addHandler(ByteToMessageHandler(decoder, maximumBufferSize: 4 * StatusServer.mostHead))
                    return try NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>(
                        wrappingChannelSynchronously: channel)
                }
            }
        let token = SymmetricKey(size: .bits256).withUnsafeBytes { bytes in
            bytes.map { (($0 < 16) ? "0" : "") + String($0, radix: 16) }.joined()
        }
        let gate = StatusGuard(port: server.channel.localAddress?.port ?? 0, token: token)
        let place = Place(url: "http://127.0.0.1:\(gate.port)", token: token)
        let folder = home.appending("agent")
        try await blocking {
            let folder = try Folder.open(folder, create: 0o700)
            try folder.writeAtomically(StatusServer.fileName, [UInt8](try JSONEncoder().encode(place)), permissions: 0o600)
        }
        ready(place)
        try await server.executeThenClose { connections in
            try await withThrowingDiscardingTaskGroup { group in
                let free = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingOldest(StatusServer.mostConnections))
                for _ in 0..<StatusServer.mostConnections { free.continuation.yield() }
                var turns = free.stream.makeAsyncIterator()
                for try await connection in connections {
                    guard await turns.next() != nil else { break }
                    group.addTask {
                        try? await serve(connection, gate)
                        free.continuation.yield()
                    }
                }
            }
        }
    }

    private func serve(
        _ connection: NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>, _ gate: StatusGuard
    ) async throws {
        let channel = connection.channel
        let end = channel.eventLoop.scheduleTask(in: StatusServer.patience) { channel.close(promise: nil) }
        defer { end.cancel() }
        try await connection.executeThenClose { inbound, outbound in
            // The head is all that counts: nothing here takes a body.
            for try await part in inbound {
                guard case .head(let head) = part else { continue }
                let answer = await answer(head, gate)
                var response = HTTPResponseHead(version: .http1_1, status: answer.status)
                response.headers = HTTPHeaders(
                    answer.headers + [
                        ("Content-Length", String(answer.body.count)), ("Connection", "close"), ("Cache-Control", "no-store"),
                        ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"),
                        ("Cross-Origin-Resource-Policy", "same-origin"),
                    ])
                try await outbound.write(.head(response))
                if head.method != .HEAD { try await outbound.write(.body(.byteBuffer(ByteBuffer(bytes: answer.body)))) }
                try await outbound.write(.end(nil))
                break
            }
        }
    }

    private struct Answer {
        var status: HTTPResponseStatus
        var headers: [(String, String)] = [("Content-Type", "text/plain; charset=utf-8")]
        var body: [UInt8] = []
    }

    private func answer(_ head: HTTPRequestHead, _ gate: StatusGuard) async -> Answer {
        let parts = head.uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let hosts = head.headers["Host"]
        let verdict = gate.verdict(
            host: hosts.count == 1 ? hosts[0] : nil, cookie: head.headers.first(name: "Cookie"),
            authorization: head.headers.first(name: "Authorization"), query: parts.count > 1 ? String(parts[1]) : nil)
        switch verdict {
        case .wrongHost:
            return Answer(status: .misdirectedRequest, body: Array("This page is not served under that name.\n".utf8))
        case .noToken:
            return Answer(status: .forbidden, body: Array("Open the address that 'cargo-run top --page' prints.\n".utf8))
        case .welcome: return Answer(status: .seeOther, headers: [("Location", "/"), ("Set-Cookie", gate.cookie)])
        case .allowed: break
        }
        guard head.method == .GET || head.method == .HEAD else { return Answer(status: .methodNotAllowed) }
        switch parts[0] {
        case "/":
            let digest = Data(SHA256.hash(data: Data(StatusPage.style.utf8))).base64EncodedString()
            return Answer(
                status: .ok,
                headers: [
                    ("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", StatusPage.policy(style: digest)),
                    ("X-Frame-Options", "DENY"),
                ], body: Array(StatusPage.html(await status()).utf8))
        case "/status.json":
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            guard let body = try? encoder.encode(await status()) else { return Answer(status: .internalServerError) }
            return Answer(status: .ok, headers: [("Content-Type", "application/json")], body: [UInt8](body))
        default: return Answer(status: .notFound, body: Array("There is nothing here.\n".utf8))
        }
    }
}
