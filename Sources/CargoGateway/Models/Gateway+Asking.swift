import CargoArtifact
import CargoFiles
import CargoQueue
import CargoWire
import Crypto
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// How bytes of an answer become what a client of some dialect reads. OpenAI's clients read them as they are.
protocol AnswerShape: Sendable {
    /// What goes out for bytes that came in.
    mutating func translate(_ bytes: [UInt8]) throws -> [UInt8]
    /// What ends the answer.
    mutating func finish() throws -> [UInt8]
    /// How a stream says that it failed.
    func failure(_ error: GatewayError) -> [UInt8]
    /// A host's refusal, which is in OpenAI's shape, goes out as it came; else it is an error in the dialect's own.
    var passesRefusals: Bool { get }
}

extension AnswerShape {
    var passesRefusals: Bool { false }
}

/// The functions that every dialect calls: ask a model, answer with what it says.
extension Gateway {
    /// Bytes of an answer that does not stream, at most.
    static let largestAnswer = 64 << 20
    /// Seconds without bytes after which a comment keeps a stream alive.
    static let streamKeepAlive = 15.0

    /// A request that was taken and has not begun to be answered.
    struct Asked: Sendable {
        /// Where the answer comes from.
        enum Source: Sendable {
            /// A durable job.
            case job(AnswerFeed)
            /// Memory alone: `key` names no job.
            case direct(DirectAnswer)
        }

        var key: JobKey
        var source: Source
        /// The API key of who reads: an answer goes no further than its reader's rights.
        var reader: String
        /// When its client is told that it takes too long.
        var deadline: ContinuousClock.Instant
        /// The request is worth nothing past it; false for who only reads.
        var cancels = true
    }

    /// Takes a request: from here on it is a durable job, or, where the key's policy says so, lives as long as its answer.
    func ask(
        _ ask: ModelAsk, _ principal: Principal, _ request: Request, _ context: GatewayContext
    ) async throws -> Asked {
        var ask = ask
        ask.trace = Trace(request)
        if !principal.policy.isDurable { return try await askDirectly(ask, principal, context.channel) }
        var idempotency: NewJob.Idempotency?
        if let key = request.headers[GatewayHeader.idempotencyKey], !key.isEmpty, key.utf8.count <= 255 {
            idempotency = NewJob.Idempotency(
                operation: ask.operation.rawValue, key: key, bodyDigest: Data(SHA256.hash(data: Data(ask.body.utf8))))
        }
        return try await self.ask(ask, principal, idempotency: idempotency)
    }

    /// - Parameter priority: below 50 for what nobody waits for.
    func ask(
        _ ask: ModelAsk, _ principal: Principal, idempotency: NewJob.Idempotency?, priority: Int = 50
    ) async throws -> Asked {
        try await check(ask, principal)
        let hold = try await queue.usage.admit(principal, expecting: ask.expected)
        let submission: Submission
        do {
            var job = try ask.job(account: principal.account, idempotency: idempotency)
            job.priority = priority
            job.requirement.audience = queue.groups.audience(of: principal.account)
            submission = try await disk.submitting(ask.body.utf8.count) { [job] in try await queue.store.submit(job) }
        } catch {
            queue.usage.release(hold)
            throw error
        }
        let key = submission.job.key
        if submission.repeated {
            queue.usage.release(hold)
        } else {
            queue.charge(key.id, to: principal, model: ask.model, bytes: ask.body.utf8.count, hold: hold)
            // Taken it is already: what goes wrong here leaves it to whoever claims it.
            try? await give(ask.model, tier: ask.tier, for: principal)
        }
        return Asked(
            key: key, source: .job(AnswerFeed(queue, key, after: submission.repeated ? 0 : submission.job.sequence)),
            reader: principal.keyID, deadline: .now + .seconds(ask.patience))
    }

    private func askDirectly(_ ask: ModelAsk, _ principal: Principal, _ client: any Channel) async throws -> Asked {
        let hold = try await queue.usage.admit(principal, expecting: ask.expected)
        do {
            try direct.begin(account: principal.account, bytes: ask.body.utf8.count)
        } catch {
            queue.usage.release(hold)
            throw error
        }
        let answer = DirectAnswer(
            ask, principal, hold: hold, queue: queue, tunnels: tunnels, requests: direct, client: client)
        return Asked(
            key: JobKey(account: principal.account, id: answer.id), source: .direct(answer), reader: principal.keyID,
            deadline: .now + .seconds(ask.patience), cancels: false)
    }

    /// Refuses what no host could answer: a model that nobody serves, something that it cannot do.
    private func check(_ ask: ModelAsk, _ principal: Principal) async throws {
        var (isKnown, isAble) = (false, false)
        _ = queue.servers(of: ask.model) { host, model in
            guard queue.groups.mayUse(host, principal.account) else { return false }
            (isKnown, isAble) = (true, model.operations.contains(ask.operation))
            return isAble
        }
        guard isKnown else { throw GatewayError.unknownModel(ask.model) }
        guard isAble else { throw GatewayError.unsupported(ask.operation, ask.model) }
    }

    /// What the hosts that the caller may use do with a model now.
    func operations(of model: String, for principal: Principal) -> Set<ModelRequest.Operation> {
        let servers = queue.servers(of: model).filter { queue.groups.mayUse($0.host, principal.account) }
        return Set(servers.flatMap(\.model.operations))
    }

    /// What the hosts that the caller may use serve now.
    func served(to principal: Principal) -> [ServedModel] {
        queue.servedModels().filter { queue.groups.mayUse($0.host, principal.account) }.flatMap(\.models)
    }

    /// Waits for the head of the answer, then answers with it.
    func answer(_ asked: Asked, _ context: GatewayContext, as shape: any AnswerShape = Verbatim()) async throws -> Response {
        var asked = asked
        let head = try await head(&asked)
        var headers = HTTPFields()
        headers[.contentType] = head.contentType
        headers[.cacheControl] = "no-store"
        if case .job = asked.source { headers[ModelHeader.job] = asked.key.id.description }
        headers[ModelHeader.requestID] = asked.key.id.description
        headers[GatewayHeader.contentTypeOptions] = "nosniff"
        let status = HTTPResponse.Status(integerLiteral: head.status)
        guard head.contentType.hasPrefix("text/event-stream") else {
            var shape = shape
            let said = try await whole(&asked)
            if head.status >= 400, !shape.passesRefusals { throw GatewayError(refused: said, status: head.status) }
            var body = try shape.translate(said)
            body += try shape.finish()
            return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
        }
        headers[GatewayHeader.accelBuffering] = "no"
        return Response(status: status, headers: headers, body: stream(asked, shape))
    }

    /// How the answer begins. Whatever fails before is thrown, and nothing of it has reached the client.
    func head(_ asked: inout Asked) async throws -> AnswerHead {
        while true {
            switch try await next(&asked) {
            case .head(let head): return head
            case .ended(let status, let error, _): throw GatewayError(status, error)
            case .closing: throw GatewayError.goingDown
            case .body, .idle: continue
            }
        }
    }

    /// The whole of an answer that does not stream.
    func whole(_ asked: inout Asked) async throws -> [UInt8] {
        var body: [UInt8] = []
        while true {
            switch try await next(&asked) {
            case .body(let bytes):
                body += bytes
                guard body.count <= Gateway.largestAnswer else {
                    throw GatewayError(502, "answer_too_large", "The answer has more than \(Gateway.largestAnswer) bytes.")
                }
            case .ended(.complete, _, _): return body
            case .ended(let status, let error, _): throw GatewayError(status, error)
            case .closing: throw GatewayError.goingDown
            case .head, .idle: continue
            }
        }
    }

    /// The next event; past the deadline the job is cancelled and nobody waits any longer.
    private func next(_ asked: inout Asked) async throws -> AnswerEvent {
        try Task.checkCancellation()
        let left = asked.deadline - .now
        guard left > .zero else {
            if asked.cancels { await cancel(asked.key) }
            throw GatewayError(504, "timed_out", "The model did not answer in the time that this request has.")
        }
        let patience = min(Gateway.streamKeepAlive, left / .seconds(1))
        let event: AnswerEvent
        switch asked.source {
        case .direct(let answer): event = try await answer.next(patience: patience)
        case .job(var feed):
            event = try await feed.next(patience: patience)
            asked.source = .job(feed)
        }
        guard queue.directory.lives(asked.reader) else {
            if asked.cancels { _ = try? await queue.store.cancel(asked.key, actor: "coordinator") }
            throw GatewayError.keyEnded
        }
        return event
    }

    /// Apart, so that a wait has no room for it.
    @inline(never)
    private func cancel(_ key: JobKey) async { _ = try? await queue.store.cancel(key, actor: "coordinator") }

    private func stream(_ asked: Asked, _ shape: any AnswerShape) -> ResponseBody {
        ResponseBody { writer in
            var (asked, shape) = (asked, shape)
            // A comment is allowed only between two events.
            var isBetween = true
            reading: while true {
                do {
                    switch try await next(&asked) {
                    case .body(let bytes):
                        isBetween = bytes.suffix(2) == [10, 10] || bytes.suffix(4) == [13, 10, 13, 10]
                        let out = try shape.translate(bytes)
                        if !out.isEmpty { try await writer.write(ByteBuffer(bytes: out)) }
                    case .idle where isBetween: try await writer.write(ByteBuffer(string: ": still here\n\n"))
                    case .head, .idle: continue
                    case .ended(.complete, _, _):
                        let out = try shape.finish()
                        if !out.isEmpty { try await writer.write(ByteBuffer(bytes: out)) }
                        break reading
                    case .ended(let status, let error, _): throw GatewayError(status, error)
                    case .closing: throw GatewayError.goingDown
                    }
                } catch let error as GatewayError {
                    try await writer.write(ByteBuffer(bytes: (isBetween ? [] : [10, 10]) + shape.failure(error)))
                    break reading
                }
            }
            try await writer.finish(nil)
        }
    }
}

extension GatewayError {
    static let keyEnded = GatewayError(401, "unauthorized", "The API key of this request was revoked, or its time is over.")
    static let goingDown = GatewayError(503, "closing", "The coordinator is going down; send it again.")

    /// What a host says of a request that it refused.
    init(refused said: [UInt8], status: Int) {
        let told = (try? StrictJSON.parse(said, limit: Gateway.largestAnswer))?.members["error"]?.members ?? [:]
        self.init(
            (400..<600).contains(status) ? status : 502, String((told["code"]?.text ?? "bad_request").prefix(64)),
            String((told["message"]?.text ?? "The model's host refused the request.").prefix(2000)),
            param: told["param"]?.text.map { String($0.prefix(64)) })
    }

    /// Why a request has no answer, or no whole one.
    init(_ status: JobStatus, _ error: JobError?) {
        let code = error?.code ?? status.rawValue
        let message = error?.message ?? "The request ended as \(status.rawValue)."
        switch code {
        case "overloaded": self.init(503, code, message)
        case "timed_out", "model_timed_out": self.init(504, code, message)
        case "cancelled": self.init(409, code, message)
        case "internal_error": self.init(500, code, message)
        default: self.init(502, code, message)
        }
    }
}
