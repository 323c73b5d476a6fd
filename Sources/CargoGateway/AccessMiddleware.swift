import CargoQueue
import CargoWire
import HTTPTypes
import Hummingbird
import NIOCore

/// Notes every request in the access log, whatever answers it; goes first.
struct AccessMiddleware: RouterMiddleware {
    typealias Context = GatewayContext

    let log: AccessLog
    let directory: Directory

    @concurrent
    func handle(
        _ request: Request, context: GatewayContext, next: @concurrent (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        let start = ContinuousClock.now
        var response = try await next(request, context)
        var entry = AccessLog.Entry(
            at: .now(), method: request.method.rawValue, route: AccessMiddleware.route(context), status: response.status.code,
            milliseconds: 0, bytes: 0, request: context.requestName)
        entry.key = Credentials.token(of: request).flatMap(directory.authenticate)?.keyID
        entry.job = response.headers[ModelHeader.job]
        entry.trace = Trace(request)?.id
        if response.headers[ModelHeader.requestID] == nil { response.headers[ModelHeader.requestID] = entry.request }
        guard response.body.contentLength == nil else {
            (entry.bytes, entry.milliseconds) = (
                response.body.contentLength ?? 0, (ContinuousClock.now - start) / .milliseconds(1)
            )
            log.note(entry)
            return response
        }
        let (log, body, head) = (log, response.body, entry)
        response.body = ResponseBody { writer in
            let counter = ByteCounter()
            var entry = head
            entry.isCut = true
            defer {
                (entry.bytes, entry.milliseconds) = (counter.bytes, (ContinuousClock.now - start) / .milliseconds(1))
                log.note(entry)
            }
            try await body.write(CountingWriter(parent: writer, counter: counter))
            entry.isCut = false
        }
        return response
    }

    /// The router calls what no route answers by a word.
    private static func route(_ context: GatewayContext) -> String? {
        context.endpointPath.flatMap { $0.hasPrefix("/") ? $0 : nil }
    }
}

/// Bytes of one answer; its writer alone changes them, one write after the other.
private final class ByteCounter {
    var bytes = 0
}

private struct CountingWriter: ResponseBodyWriter {
    var parent: any ResponseBodyWriter
    let counter: ByteCounter

    @concurrent mutating func write(_ buffer: ByteBuffer) async throws {
        try await parent.write(buffer)
        counter.bytes += buffer.readableBytes
    }

    @concurrent consuming func finish(_ trailingHeaders: HTTPFields?) async throws { try await parent.finish(trailingHeaders) }
}

extension Trace {
    /// The one that a request came with.
    init?(_ request: Request) {
        guard let parent = request.headers[ModelHeader.traceParent] else { return nil }
        self.init(parent: parent, state: request.headers[ModelHeader.traceState])
    }
}
