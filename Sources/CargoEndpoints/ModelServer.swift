public import CargoWire
internal import NIOCore
internal import NIOHTTP1

/// One model server: an engine that the host started, or a server that it found.
public struct ModelServer: Sendable {
    public let dial: Dial
    public let dialect: Dialect
    /// What stands before OpenAI's paths: `/v1` nearly everywhere.
    public let basePath: String
    public let bounds: ServerBounds
    /// The server is used by one account alone, so what it keeps of prompts crosses nothing.
    public let isOneAccounts: Bool
    /// Fields of a request that it takes beyond those of `RequestFields`.
    public let fields: [String]

    public init(
        _ dial: Dial, dialect: Dialect = .openAI, basePath: String = "/v1", bounds: ServerBounds = ServerBounds(),
        isOneAccounts: Bool = false, fields: [String] = []
    ) {
        self.dial = dial
        self.dialect = dialect
        self.basePath = basePath
        self.bounds = bounds
        self.isOneAccounts = isOneAccounts
        self.fields = fields
    }

    /// The server at an address that a person wrote.
    public init(_ address: EndpointAddress, dialect: Dialect = .openAI, bounds: ServerBounds = ServerBounds()) {
        self.init(address.dial, dialect: dialect, basePath: address.basePath ?? "/v1", bounds: bounds)
    }

    /// For a request of an account.
    func exchange(of account: String) -> Exchange { Exchange(dial: dial, bounds: bounds, account: account) }

    /// A plain GET with at most `limit` bytes of answer, all of it within `time`. Throws `ModelFailure`.
    ///
    /// - Parameter bearer: for our own status page; no request to a model carries a credential.
    @concurrent public func get(
        _ path: String, limit: Int, within time: Duration, bearer: String? = nil
    ) async throws -> (status: Int, body: [UInt8]) {
        try await small(Exchange.Call(path: path, bearer: bearer), limit: limit, within: time)
    }

    /// A plain POST of JSON, likewise.
    @concurrent public func post(
        _ path: String, body: [UInt8], limit: Int, within time: Duration
    ) async throws -> (status: Int, body: [UInt8]) {
        try await small(Exchange.Call(method: .POST, path: path, body: body), limit: limit, within: time)
    }

    private func small(_ call: Exchange.Call, limit: Int, within time: Duration) async throws -> (status: Int, body: [UInt8]) {
        var bounds = bounds
        (bounds.connect, bounds.firstByte, bounds.idle, bounds.whole) = (min(bounds.connect, time), time, time, time)
        bounds.body = limit
        return try await Exchange(dial: dial, bounds: bounds).run(call) { head, parts in
            guard let body = try await parts.collect(limit) else {
                throw ModelFailure(.badAnswer, message: "\(call.path) of the model server has more than \(limit) bytes.")
            }
            return (Int(head.status.code), body)
        }
    }

    /// Answers in OpenAI's shape as `ModelService` says; `backendModel` is the server's own name of the model.
    @concurrent public func answer(
        _ request: ModelRequest, as backendModel: String, account: String,
        head: @Sendable (AnswerHead) async throws -> Void, body: @Sendable ([UInt8]) async throws -> Void
    ) async throws -> ModelUsage? {
        let asked = try RequestBody(request, extra: fields)
        if dialect == .ollama { return try await answerByOllama(request, asked, as: backendModel, head: head, body: body) }
        let names = OpenAIAnswer.Names(own: backendModel, asked: request.model)
        let call = Exchange.Call(
            method: .POST, path: path(of: request.operation, model: backendModel),
            body: try asked.openAI(
                request.operation, model: backendModel, dialect: isOneAccounts ? .openAI : dialect, account: account),
            accept: asked.stream ? "text/event-stream" : "application/json", trace: request.trace)
        return try await exchange(of: account).run(call) { answer, parts in
            guard (200..<300).contains(answer.status.code) else {
                throw ModelServer.failure(
                    status: Int(answer.status.code), said: try await parts.collect(1 << 16) ?? [], model: request.model)
            }
            let type = answer.headers.first(name: "Content-Type")?.lowercased() ?? ""
            guard type.hasPrefix(asked.stream ? "text/event-stream" : "application/json") else {
                throw ModelFailure(
                    .badAnswer, message: "The model server answered with '\(type.prefix(64))' instead of \(call.accept).")
            }
            if asked.stream {
                return try await stream(
                    &parts, wantsUsage: asked.wantsUsage, names: names, head: head, body: body)
            }
            guard let bytes = try await parts.collect(bounds.body) else {
                throw ModelFailure(.badAnswer, message: "The model server's answer has more than \(bounds.body) bytes.")
            }
            let whole = try OpenAIAnswer(whole: bytes, names: names)
            try await head(AnswerHead(status: 200, contentType: "application/json"))
            try await body(whole.bytes)
            return whole.usage
        }
    }

    /// Passes events on; several that came together go together.
    private func stream(
        _ parts: inout Exchange.Body, wantsUsage: Bool, names: OpenAIAnswer.Names,
        head: @Sendable (AnswerHead) async throws -> Void, body: @Sendable ([UInt8]) async throws -> Void
    ) async throws -> ModelUsage? {
        var events = ServerSentEvents(limit: bounds.event)
        var usage: ModelUsage?
        var isDone = false
        // Until the first event is seen to be one, a failure can still be the client's answer.
        var began = false
        while let piece = try await parts.piece() {
            var out: [UInt8] = []
            let data: [[UInt8]]
            do { data = try events.take(piece.readableBytesView) } catch {
                throw ModelFailure(.badAnswer, message: "The model server sent an event of more than \(bounds.event) bytes.")
            }
            for event in data where !isDone {
                if event.elementsEqual("[DONE]".utf8) {
                    isDone = true
                    out += ServerSentEvents.done
                    break
                }
                let read = try OpenAIAnswer(event: event, wantsUsage: wantsUsage, names: names)
                if let found = read.usage { usage = found }
                if !read.bytes.isEmpty { out += ServerSentEvents.event(read.bytes) }
            }
            guard !out.isEmpty else { continue }
            if !began {
                began = true
                try await head(AnswerHead(status: 200, contentType: "text/event-stream"))
            }
            try await body(out)
        }
        guard isDone else {
            throw ModelFailure(
                .failed, message: "The model server ended its stream before the answer was whole.", retryable: true)
        }
        return usage
    }

    func path(of operation: ModelRequest.Operation, model: String) -> String {
        switch operation {
        case .infer: "/v2/models/\(ModelServer.escaped(model))/infer"
        default: basePath + "/" + operation.rawValue
        }
    }

    /// RFC 3986 percent-encoding of everything but unreserved characters.
    public static func escaped(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        let plain = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~".utf8)
        var out: [UInt8] = []
        for byte in text.utf8 {
            if plain.contains(byte) {
                out.append(byte)
            } else {
                out += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}
