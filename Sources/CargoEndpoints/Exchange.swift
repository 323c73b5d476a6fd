internal import CargoWire
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// One request to a model server and its answer, on a connection of its own.
///
/// A connection on the machine itself costs less than a tenth of a millisecond, and nobody has to find out whether one that was kept
/// open still is: llama-server closes it after 100 requests.
struct Exchange: Sendable {
    let dial: Dial
    let bounds: ServerBounds

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
        let channel: NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>
        do {
            channel = try await open()
        } catch let failure as ModelFailure {
            throw failure
        } catch {
            if Task.isCancelled { throw CancellationError() }
            throw ModelFailure(.unavailable, message: "Nothing answers at \(dial.description); is the model server running?")
        }
        // What `answer` throws is the caller's own and must not be taken for the connection's.
        let outcome: Result<Value, any Error> = try await failures {
            try await channel.executeThenClose { inbound, outbound in
                var parts = Body(parts: inbound.makeAsyncIterator(), limit: bounds.body)
                let head = try await send(call, outbound, &parts)
                do { return .success(try await answer(head, &parts)) } catch { return .failure(error) }
            }
        }
        do { return try outcome.get() } catch { throw mapped(error) }
    }

    private func send(
        _ call: Call, _ outbound: NIOAsyncChannelOutboundWriter<HTTPClientRequestPart>, _ parts: inout Body
    ) async throws -> HTTPResponseHead {
        var head = HTTPRequestHead(version: .http1_1, method: call.method, uri: call.path)
        head.headers = [
            "Host": dial.hostHeader, "User-Agent": "longshore", "Accept": call.accept, "Connection": "close",
        ]
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
        // A server may answer and close before it has read everything; what it said counts, not that nobody listens any more.
        try? await outbound.write(contentsOf: request)
        guard case .head(let answer)? = try await parts.next() else {
            throw ModelFailure(
                .unavailable, message: "The model server at \(dial.description) closed the connection without an answer.")
        }
        return answer
    }

    private func open() async throws -> NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart> {
        let bounds = bounds
        return try await dial.open(within: bounds.connect) { channel in
            channel.eventLoop.makeCompletedFuture {
                let patience = Patience(bounds: bounds)
                var limits = NIOHTTPDecoderLimitConfiguration()
                limits.maxHeaderFieldSize = bounds.head
                limits.maxHeaderListSize = bounds.head
                let decoder = HTTPResponseDecoder(
                    leftOverBytesStrategy: .dropBytes, informationalResponseStrategy: .drop, limitConfiguration: limits)
                let pipeline = channel.pipeline.syncOperations
                try pipeline.addHandler(patience)
                // Before the decoder, which watches the requests on their way.
                try pipeline.addHandler(HTTPRequestEncoder())
                try pipeline.addHandler(ByteToMessageHandler(decoder, maximumBufferSize: bounds.head + (1 << 20)))
                try pipeline.addHandler(HeadMark(patience))
                return try NIOAsyncChannel(wrappingChannelSynchronously: channel)
            }
        }
    }

    private func failures<Value>(_ operation: () async throws -> Value) async throws -> Value {
        do { return try await operation() } catch { throw mapped(error) }
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
        fileprivate var parts: NIOAsyncChannelInboundStream<HTTPClientResponsePart>.AsyncIterator
        let limit: Int
        private(set) var bytes = 0
        private(set) var isComplete = false

        fileprivate init(parts: NIOAsyncChannelInboundStream<HTTPClientResponsePart>.AsyncIterator, limit: Int) {
            self.parts = parts
            self.limit = limit
        }

        fileprivate mutating func next() async throws -> HTTPClientResponsePart? {
            let part = try await parts.next(isolation: #isolation)
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
