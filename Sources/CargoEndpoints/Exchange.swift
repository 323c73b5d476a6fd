internal import CargoWire
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// One request to a model server and its answer, on a connection of its own or on one that stood open since the last request of the
/// same account: a server takes half a millisecond for a new one.
struct Exchange: Sendable {
    let dial: Dial
    let bounds: ServerBounds
    /// Whose request it is, where its connection may serve that one's next.
    var account: String?

    struct Call: Sendable {
        var method = HTTPMethod.GET
        /// Escaped, beginning with `/`.
        var path: String
        var body: [UInt8]?
        var accept = "application/json"
        var bearer: String?
        var trace: Trace?
    }

    /// Calls `answer` with the head and then reads what it asks for. Throws `ModelFailure` or what `answer` throws; cancellation
    /// closes the connection, which ends the server's work.
    func run<Value: Sendable>(
        _ call: Call, _ answer: (HTTPResponseHead, inout Body) async throws -> Value
    ) async throws -> Value {
        let (line, head) = try await begin(call)
        var parts = Body(line: line, limit: bounds.body)
        let outcome: Result<Value, any Error>
        // What `answer` throws is the caller's own and must not be taken for the connection's.
        do { outcome = .success(try await answer(head, &parts)) } catch { outcome = .failure(error) }
        if parts.isComplete, head.isKeepAlive, let place, case .success = outcome {
            ServerLines.shared.keep(line, for: place)
        } else {
            line.close()
        }
        do { return try outcome.get() } catch { throw mapped(error) }
    }

    /// Whose connections this one's may join: to addresses alone, because each name and each socket is looked at anew.
    private var place: ServerLines.Place? {
        guard let account, case .tcp(let host, let port) = dial, (try? SocketAddress(ipAddress: host, port: port)) != nil else {
            return nil
        }
        return ServerLines.Place(host: host, port: port, account: account)
    }

    /// Sends the request and waits for the head of its answer.
    private func begin(_ call: Call) async throws -> (ServerLine, HTTPResponseHead) {
        let request = request(call)
        if let place, let line = ServerLines.shared.take(place) {
            // A server may end a connection just as the next request is on its way: then a new one carries it.
            do { return (line, try await ask(request, line)) } catch {
                line.close()
                if Task.isCancelled || error is Patience.Overrun { throw mapped(error) }
            }
        }
        let line: ServerLine
        do {
            line = try await open()
        } catch let failure as ModelFailure {
            throw failure
        } catch {
            if Task.isCancelled { throw CancellationError() }
            throw ModelFailure(.unavailable, message: "Nothing answers at \(dial.description); is the model server running?")
        }
        do { return (line, try await ask(request, line)) } catch {
            line.close()
            throw mapped(error)
        }
    }

    private func request(_ call: Call) -> [HTTPClientRequestPart] {
        var head = HTTPRequestHead(version: .http1_1, method: call.method, uri: call.path)
        head.headers = ["Host": dial.hostHeader, "User-Agent": "longshore", "Accept": call.accept]
        if place == nil { head.headers.add(name: "Connection", value: "close") }
        if let bearer = call.bearer { head.headers.add(name: "Authorization", value: "Bearer " + bearer) }
        if let trace = call.trace {
            head.headers.add(name: "traceparent", value: trace.parent)
            if let state = trace.state { head.headers.add(name: "tracestate", value: state) }
        }
        if let body = call.body {
            head.headers.add(name: "Content-Type", value: "application/json")
            head.headers.add(name: "Content-Length", value: String(body.count))
        }
        var request: [HTTPClientRequestPart] = [.head(head)]
        if let body = call.body { request.append(.body(.byteBuffer(ByteBuffer(bytes: body)))) }
        request.append(.end(nil))
        return request
    }

    /// A server may answer and close before it has read everything; what it said counts, not that nobody listens any more.
    private func ask(_ request: [HTTPClientRequestPart], _ line: ServerLine) async throws -> HTTPResponseHead {
        line.send(request, within: bounds)
        guard case .head(let answer)? = try await line.next() else {
            try Task.checkCancellation()
            throw ModelFailure(
                .unavailable, message: "The model server at \(dial.description) closed the connection without an answer.")
        }
        return answer
    }

    private func open() async throws -> ServerLine {
        let bounds = bounds
        return try await dial.open(within: bounds.connect) { channel in
            channel.eventLoop.makeCompletedFuture { try ServerLine(channel, bounds: bounds) }
        }
    }

    /// What a broken exchange is to the caller.
    private func mapped(_ error: any Error) -> any Error {
        let place = "The model server at \(dial.description)"
        switch error {
        case is ModelFailure, is CancellationError: return error
        case _ where Task.isCancelled: return CancellationError()
        case Patience.Overrun.noHead:
            return ModelFailure(.timedOut, message: "\(place) did not begin to answer within \(bounds.firstByte).")
        case Patience.Overrun.idle:
            return ModelFailure(.timedOut, message: "\(place) was silent for \(bounds.idle) in the middle of its answer.")
        case Patience.Overrun.whole:
            return ModelFailure(.timedOut, message: "\(place) did not finish its answer within \(bounds.whole).")
        case Patience.Overrun.tooMuch:
            return ModelFailure(.badAnswer, message: "\(place) sent more than this host takes; its answer was dropped.")
        case HTTPParserError.headerOverflow, is ByteToMessageDecoderError:
            return ModelFailure(.badAnswer, message: "\(place) sent a head of more than \(bounds.head) bytes.")
        case let error as HTTPParserError where error != .invalidEOFState:
            return ModelFailure(.badAnswer, message: "\(place) does not speak HTTP (\(error)).")
        case is HTTPParserError, is IOError, is ChannelError:
            return ModelFailure(.unavailable, message: "\(place) ended the connection in the middle.")
        default: return error
        }
    }

    /// The parts of an answer as they are asked for, no more than `limit` bytes.
    struct Body {
        fileprivate let line: ServerLine
        let limit: Int
        private(set) var bytes = 0
        private(set) var isComplete = false

        fileprivate init(line: ServerLine, limit: Int) {
            self.line = line
            self.limit = limit
        }

        fileprivate mutating func next() async throws -> HTTPClientResponsePart? {
            let part = try await line.next()
            if part == nil { try Task.checkCancellation() }
            return part
        }

        /// The next piece of the body; nil at its end.
        mutating func piece() async throws -> ByteBuffer? {
            guard !isComplete else { return nil }
            switch try await next() {
            case .body(let buffer):
                bytes += buffer.readableBytes
                guard bytes <= limit else {
                    throw ModelFailure(
                        .badAnswer, message: "The model server sent more than \(limit) bytes; its answer was dropped.")
                }
                return buffer
            case .end:
                isComplete = true
                return nil
            case .head, nil:
                throw ModelFailure(.unavailable, message: "The model server ended the connection in the middle of its answer.")
            }
        }

        /// The whole body; nil when it has more than `limit` bytes.
        mutating func collect(_ limit: Int) async throws -> [UInt8]? {
            var all: [UInt8] = []
            while let buffer = try await piece() {
                guard all.count + buffer.readableBytes <= limit else { return nil }
                all += buffer.readableBytesView
            }
            return all
        }
    }
}
