internal import CargoArtifact
internal import CargoEndpoints
internal import CargoWire
internal import FoundationEssentials
internal import Glibc
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import Synchronization

/// The way by which a confined chain asks models of its host: HTTP in OpenAI's shape on a unix socket of the job's own.
///
/// Whoever connects must be a process of that very job, and reaches the models that its signed manifest names and no others, for
/// the account that asked the chain. The chain itself has no network.
struct ModelDoor: Sendable {
    /// Connections that are answered at once; more wait in the kernel.
    static let mostConnections = 32
    /// Bytes of a request's head, and of its body.
    static let mostHead = 16 << 10
    static let mostBody = 32 << 20
    /// How long a request may take to arrive.
    static let patience = TimeAmount.seconds(60)

    /// What may be asked, in the manifest's order.
    let models: [String]
    let service: any ModelService
    let account: String
    /// Whether a process of this host is one of the job's.
    let admits: @Sendable (pid_t) -> Bool

    typealias Connection = NIOAsyncChannel<HTTPServerRequestPart, HTTPServerResponsePart>

    /// Answers on a listening socket, which it closes at the end, until the task is cancelled.
    func run(on socket: CInt) async throws {
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(socket) { channel in
                channel.eventLoop.makeCompletedFuture {
                    var limits = NIOHTTPDecoderLimitConfiguration()
                    (limits.maxHeaderFieldSize, limits.maxHeaderListSize) = (ModelDoor.mostHead, ModelDoor.mostHead)
                    let decoder = HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes, limitConfiguration: limits)
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(HTTPResponseEncoder())
                    try pipeline.addHandler(ByteToMessageHandler(decoder, maximumBufferSize: ModelDoor.mostHead + (1 << 20)))
                    return try Connection(wrappingChannelSynchronously: channel)
                }
            }
        try await server.executeThenClose { connections in
            try await withThrowingDiscardingTaskGroup { group in
                let free = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingOldest(ModelDoor.mostConnections))
                for _ in 0..<ModelDoor.mostConnections { free.continuation.yield() }
                var turns = free.stream.makeAsyncIterator()
                for try await connection in connections {
                    guard await turns.next() != nil else { break }
                    group.addTask {
                        try? await serve(connection)
                        free.continuation.yield()
                    }
                }
            }
        }
    }

    private func serve(_ connection: Connection) async throws {
        let isOurs = await peer(of: connection.channel).map(admits) ?? false
        try await connection.executeThenClose { inbound, outbound in
            guard isOurs else { return }
            var parts = inbound.makeAsyncIterator()
            let late = connection.channel.eventLoop.scheduleTask(in: ModelDoor.patience) {
                connection.channel.close(promise: nil)
            }
            let asked = try await ModelDoor.read(&parts)
            late.cancel()
            guard let asked else { return }
            let answer = DoorAnswer(outbound)
            do {
                let call = try DoorCall(asked.head, asked.body, models: models)
                guard let request = call.request else {
                    return try await answer.whole(200, call.body)
                }
                try await relay(request, answer, until: parts)
            } catch let failure as ModelFailure {
                try await answer.fail(failure)
            }
        }
    }

    /// Answers while the other end stays; when it hangs up, the model's work ends.
    private func relay(
        _ request: ModelRequest, _ answer: DoorAnswer,
        until parts: NIOAsyncChannelInboundStream<HTTPServerRequestPart>.AsyncIterator
    ) async throws {
        let rest = Unchecked(parts)
        try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                _ = try await service.answer(
                    request, account: account, head: { try await answer.begin($0) }, body: { try await answer.piece($0) })
                try await answer.end()
                return true
            }
            group.addTask {
                var parts = rest.value
                while try await parts.next(isolation: #isolation) != nil {}
                return false
            }
            defer { group.cancelAll() }
            _ = try await group.next()
        }
    }

    /// The kernel's word for who connected.
    private func peer(of channel: any Channel) async -> pid_t? {
        guard let options = channel as? any SocketOptionProvider else { return nil }
        let level = NIOBSDSocket.OptionLevel(rawValue: SOL_SOCKET)
        let name = NIOBSDSocket.Option(rawValue: SO_PEERCRED)
        let credentials: PeerCredentials? = try? await options.unsafeGetSocketOption(level: level, name: name).get()
        return credentials?.process
    }

    /// `struct ucred` of the kernel (unix(7)), which Glibc's module does not show.
    private struct PeerCredentials {
        var process: pid_t
        var user: uid_t
        var group: gid_t
    }

    /// One request; nil where the connection ended or the body is too large.
    private static func read(
        _ parts: inout NIOAsyncChannelInboundStream<HTTPServerRequestPart>.AsyncIterator
    ) async throws -> (head: HTTPRequestHead, body: [UInt8])? {
        var head: HTTPRequestHead?
        var body: [UInt8] = []
        while let part = try await parts.next(isolation: #isolation) {
            switch part {
            case .head(let first): head = first
            case .body(let bytes):
                guard body.count + bytes.readableBytes <= ModelDoor.mostBody else { return nil }
                body += bytes.readableBytesView
            case .end: return head.map { ($0, body) }
            }
        }
        return nil
    }

    /// An iterator that one task hands to another and does not touch again.
    private struct Unchecked<Value>: @unchecked Sendable {
        let value: Value
        init(_ value: Value) { self.value = value }
    }
}

/// What a chain asks: checked against what its manifest names.
struct DoorCall {
    /// Nil: the answer is `body` already.
    let request: ModelRequest?
    let body: [UInt8]

    init(_ head: HTTPRequestHead, _ bytes: [UInt8], models: [String]) throws {
        let path = head.uri.split(separator: "?", maxSplits: 1).first.map(String.init) ?? "/"
        if head.method == .GET, path == "/v1/models" {
            let listed = models.map { JSONValue.object(["id": .string($0), "object": .string("model")]) }
            request = nil
            body = try DoorCall.encode(.object(["object": .string("list"), "data": .array(listed)]))
            return
        }
        guard head.method == .POST, let (operation, named) = DoorCall.operation(path, models: models) else {
            throw ModelFailure(.badRequest, status: 404, message: "There is nothing at \(head.method) \(path.prefix(100)).")
        }
        let fields: [String: JSONValue]
        do {
            guard case .object(let object) = try StrictJSON.parse(bytes, limit: ModelDoor.mostBody) else {
                throw ModelFailure(.badRequest, message: "The body is not a JSON object.")
            }
            fields = object
        } catch let failure as StrictJSONFailure {
            throw ModelFailure(.badRequest, message: "The body is not JSON: \(failure.reason).")
        }
        var model = named
        if model == nil, case .string(let name)? = fields["model"] { model = name }
        guard let model else { throw ModelFailure(.badRequest, message: "'model' is missing.") }
        guard models.contains(model) else {
            throw ModelFailure(
                .modelNotFound, message: "This cargo's manifest does not name the model '\(model.prefix(200))' under 'models'.")
        }
        body = []
        request = ModelRequest(
            operation: operation, model: model, body: String(decoding: bytes, as: UTF8.self),
            stream: fields["stream"] == .bool(true))
    }

    /// By the path; the Open Inference Protocol has the model's name in it.
    private static func operation(_ path: String, models: [String]) -> (ModelRequest.Operation, model: String?)? {
        if let model = models.first(where: { name in
            [name, ModelServer.escaped(name)].contains { path == "/v2/models/\($0)/infer" }
        }) {
            return (.infer, model)
        }
        guard path.hasPrefix("/v1/"), let operation = ModelRequest.Operation(rawValue: String(path.dropFirst(4))) else {
            return nil
        }
        return operation == .infer ? nil : (operation, nil)
    }

    static func encode(_ value: JSONValue) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return [UInt8](try encoder.encode(value))
    }
}

/// One answer on its way to a chain; awaiting each piece is the back-pressure.
final class DoorAnswer: Sendable {
    private let outbound: NIOAsyncChannelOutboundWriter<HTTPServerResponsePart>
    private let kind = Mutex<String?>(nil)

    init(_ outbound: NIOAsyncChannelOutboundWriter<HTTPServerResponsePart>) { self.outbound = outbound }

    func begin(_ head: AnswerHead) async throws {
        kind.withLock { $0 = head.contentType }
        var response = HTTPResponseHead(version: .http1_1, status: HTTPResponseStatus(statusCode: head.status))
        response.headers = ["Content-Type": head.contentType, "Connection": "close", "Transfer-Encoding": "chunked"]
        try await outbound.write(.head(response))
    }

    func piece(_ bytes: [UInt8]) async throws {
        try await outbound.write(.body(.byteBuffer(ByteBuffer(bytes: bytes))))
    }

    func end() async throws { try await outbound.write(.end(nil)) }

    func whole(_ status: Int, _ bytes: [UInt8]) async throws {
        try await begin(AnswerHead(status: status, contentType: "application/json"))
        try await piece(bytes)
        try await end()
    }

    /// As an answer of its own, or as the last event of one that has begun.
    func fail(_ failure: ModelFailure) async throws {
        let told = try DoorCall.encode(
            .object(["error": .object(["message": .string(failure.message), "code": .string(failure.code.rawValue)])]))
        switch kind.withLock({ $0 }) {
        case nil: try await whole(failure.status, told)
        case "text/event-stream":
            try await piece(Array("data: ".utf8) + told + [10, 10])
            try await end()
        default: break
        }
    }
}
