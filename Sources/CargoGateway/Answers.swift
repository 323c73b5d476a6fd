import CargoArtifact
import CargoBlobs
import CargoFiles
import CargoQueue
import CargoRegistry
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import NIOHTTP1
import SystemPackage

/// A refusal on its way to the client, in the shape of RFC 9457.
struct GatewayError: Error, Hashable, Sendable {
    var status: Int
    var code: String
    var detail: String
    /// Seconds until it is worth another try, where that is known.
    var retryAfter: Double?
    /// The field of the request that is at fault; interfaces that name one say it.
    var param: String?

    init(_ status: Int, _ code: String, _ detail: String, retryAfter: Double? = nil, param: String? = nil) {
        self.status = status
        self.code = code
        self.detail = detail
        self.retryAfter = retryAfter
        self.param = param
    }

    static let noSuchJob = GatewayError(404, "not_found", "There is no such job for this key; `GET /jobs` lists yours.")

    /// What any error of the rooms below means to a client; nil for what is our own fault.
    init?(_ error: any Error) {
        switch error {
        case let error as GatewayError: self = error
        case let error as StoreError: self.init(error)
        case let error as Groups.Refused: self.init(error)
        case let error as Pairings.Refused: self.init(error)
        case let error as UsageMeter.Exceeded:
            self.init(
                429, "rate_limited", "This key has used up its \(error.limit); wait, or use a key with a wider policy.",
                retryAfter: error.retryAfter)
        case let error as JobQueue.CompletionError:
            switch error {
            case .logMissing(let offset):
                self.init(
                    409, "log_incomplete",
                    "Log bytes are missing: send them from offset \(offset) with a heartbeat, then complete again.")
            case .logDiffers:
                self.init(
                    422, "log_differs",
                    "The log that arrived is not the one that was counted; fail the job and let it be tried again.")
            }
        case let error as Refusal: self.init(422, error.rule.replacing("-", with: "_"), error.message)
        case let error as StrictJSONFailure: self.init(400, "invalid_json", "\(error)")
        case let error as BlobTransfer.TooLarge: self.init(413, "too_large", "This body has at most \(error.limit) bytes.")
        case let error as DecodingError: self.init(400, "invalid_body", GatewayError.sentence(error))
        case is NIOTooManyBytesError: self.init(413, "too_large", "This body is too large; send files with POST /uploads.")
        case is HTTPParserError: self.init(400, "invalid_request", "The body is not framed as HTTP/1.1 has it; nothing was done.")
        case let error as HTTPError:
            self.init(
                error.status.code, "http_\(error.status.code)",
                error.body ?? "There is nothing here that answers this method; see /openapi.json.")
        case let error as FileFailure where error.errno == .noSpace: self = .diskFull
        case is BlobsFailure:
            self.init(503, "unavailable", "The coordinator's object store did not take or give the bytes; send it again.")
        default: return nil
        }
    }

    /// No route of ours. A base URL with one `/v1` too few or too many is what a client's author meets first, so it is named.
    static func nothing(at request: Request) -> GatewayError {
        let path = request.uri.path
        let parts = path.split(separator: "/").map(String.init)
        var advice = "/openapi.json lists what there is"
        if parts.first.map(OpenAIError.unversioned.contains) == true {
            advice = "the interface for models stands under /v1: end the base URL of an OpenAI client with it"
        } else if path.contains("/v1/v1") {
            advice = "the base URL ends with /v1, and this client adds it by itself"
        }
        return GatewayError(404, "unknown_url", "There is nothing at \(request.method.rawValue) \(path.prefix(256)): \(advice).")
    }

    static let diskFull = GatewayError(
        507, "disk_full", "The coordinator's disk is full; nothing was kept. Free space, then send it again.")

    private init(_ error: StoreError) {
        switch error {
        case .notFound: self = .noSuchJob
        case .leaseLost:
            self.init(409, "lease_lost", "This lease is not, or no longer, the job's: stop the work and claim anew.")
        case .idTaken: self.init(409, "id_taken", "This id belongs to another job; make a new UUIDv7.")
        case .idempotencyConflict:
            self.init(
                409, "idempotency_conflict", "This Idempotency-Key was used with another body; use a new key for a new job.")
        case .wrongState(let status):
            self.init(409, "wrong_state", "The job is \(status.rawValue); only a job in error can be replayed.")
        case .outputsMissing(let paths):
            self.init(
                409, "outputs_missing",
                "Upload these outputs as they are listed, then complete again: \(paths.joined(separator: ", ")).")
        case .quotaExceeded(let most):
            self.init(
                403, "quota_exceeded", "This account has \(most) queued jobs, its quota; wait for some to end or cancel some.")
        case .byteQuotaExceeded(let most):
            self.init(
                403, "quota_exceeded",
                "This account keeps all of its \(most) bytes; acknowledge results that have arrived, or ask the operator for more."
            )
        case .unavailable(let reason):
            let full = reason.contains("disk is full") || reason.contains("No space left")
            self = full ? .diskFull : GatewayError(503, "unavailable", "The coordinator could not keep this; send it again.")
        }
    }

    private static func sentence(_ error: DecodingError) -> String {
        func path(_ context: DecodingError.Context) -> String {
            let path = context.codingPath.map(\.stringValue).joined(separator: ".")
            return path.isEmpty ? "the body" : "'\(path)'"
        }
        switch error {
        case .keyNotFound(let key, let context): return "The field '\(key.stringValue)' is missing in \(path(context))."
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            return "The value of \(path(context)) has another type than it should: \(context.debugDescription)"
        case .dataCorrupted(let context): return "The value of \(path(context)) is refused: \(context.debugDescription)"
        @unknown default: return "The body does not have the shape that this endpoint takes."
        }
    }

    /// Reason phrases (RFC 9110, section 15; RFC 4918 and 6585 for the last): the library gives none to a number.
    private static let titles = [
        400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
        409: "Conflict", 410: "Gone", 411: "Length Required", 413: "Content Too Large", 415: "Unsupported Media Type",
        416: "Range Not Satisfiable", 422: "Unprocessable Content", 500: "Internal Server Error", 501: "Not Implemented",
        502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout", 507: "Insufficient Storage",
        429: "Too Many Requests",
    ]

    /// The problem as JSON.
    var bytes: [UInt8] {
        let title = GatewayError.titles[status] ?? "Refused"
        let problem = Problem(status: status, title: title, detail: detail, code: code)
        return (try? Answer.encoder.encode(problem)).map { Array($0) } ?? []
    }

    var response: Response {
        let title = GatewayError.titles[status] ?? "Refused"
        let problem = Problem(status: status, title: title, detail: detail, code: code)
        var headers = HTTPFields()
        headers[.contentType] = "application/problem+json"
        if status == 401 { headers[.wwwAuthenticate] = "Bearer realm=\"longshore\"" }
        if status == 503 || status == 429 { headers[.retryAfter] = String(Int(max(1, retryAfter ?? 1).rounded(.up))) }
        let data = (try? Answer.encoder.encode(problem)) ?? Data()
        return Response(
            status: .init(integerLiteral: status), headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: data)))
    }
}

/// Answers in JSON.
enum Answer {
    /// Sorted keys: what stands under one id is the same bytes each time it is asked for.
    static var encoder: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }

    static func json(_ value: some Encodable, status: HTTPResponse.Status = .ok) throws -> Response {
        bytes(ByteBuffer(bytes: try encoder.encode(value)), status: status)
    }

    static func json(_ job: Job, status: HTTPResponse.Status = .ok) -> Response {
        var writer = JSONWriter()
        job.write(into: &writer)
        return bytes(ByteBuffer(bytes: writer.bytes), status: status)
    }

    static func bytes(_ buffer: ByteBuffer, status: HTTPResponse.Status = .ok, type: String = "application/json") -> Response {
        var headers = HTTPFields()
        headers[.contentType] = type
        headers[.cacheControl] = "no-store"
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: buffer))
    }
}

/// Turns what a handler throws into an answer; what is our own fault is logged and says no more than that.
struct ProblemMiddleware: RouterMiddleware {
    typealias Context = GatewayContext

    @concurrent
    func handle(
        _ request: Request, context: GatewayContext, next: @concurrent (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        let response = try await answer(request, context: context, next: next)
        // No body follows a HEAD (RFC 9110, section 9.3.2), whatever the answer: the client would take one for the
        // beginning of its next answer and close the connection under its next request.
        return request.method == .head ? Response(status: response.status, headers: response.headers) : response
    }

    @concurrent
    private func answer(
        _ request: Request, context: GatewayContext, next: @concurrent (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch is CancellationError {
            return ErrorShape.response(.goingDown, request)
        } catch is HTTPError where request.uri.path.hasPrefix("/v2/") {
            return RegistryError.unsupported.response()
        } catch let error as HTTPError where error.status == .notFound {
            guard let methods = OpenAPI.methods(of: request.uri.path) else {
                return ErrorShape.response(.nothing(at: request), request)
            }
            let allowed = (methods + (methods.contains("GET") ? ["HEAD"] : [])).joined(separator: ", ")
            // Asking what a path takes is no mistake (RFC 9110, section 9.3.7).
            guard request.method != .options else { return Response(status: .noContent, headers: [.allow: allowed]) }
            let problem = GatewayError(405, "method_not_allowed", "This path takes \(allowed).")
            var response = ErrorShape.response(problem, request)
            response.headers[.allow] = allowed
            return response
        } catch {
            if let known = GatewayError(error) { return ErrorShape.response(known, request) }
            context.logger.error(
                "request failed",
                metadata: [
                    "path": "\(request.uri.path)", "request": "\(context.requestName)", "error": "\(error)",
                ])
            let problem = GatewayError(500, "internal_error", "The coordinator failed at this; its log says why.")
            return ErrorShape.response(problem, request)
        }
    }
}

/// Request headers of our own and those that HTTPTypes does not name. Each is a valid token (RFC 9110, section 5.1),
/// so the initializer, which refuses only invalid ones, never gives nil.
// swift-format-ignore: NeverForceUnwrap
enum GatewayHeader {
    static let lease = HTTPField.Name("Longshore-Lease")!
    static let idempotencyKey = HTTPField.Name("Idempotency-Key")!
    static let lastEventID = HTTPField.Name("Last-Event-ID")!
    static let contentSecurityPolicy = HTTPField.Name("Content-Security-Policy")!
    static let contentTypeOptions = HTTPField.Name("X-Content-Type-Options")!
    static let peer = HTTPField.Name(Peers.header)!
    static let accelBuffering = HTTPField.Name("X-Accel-Buffering")!
}
