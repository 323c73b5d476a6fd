import AsyncHTTPClient
import CargoWire
import FoundationEssentials
import NIOCore
import NIOHTTP1

/// One server, one credential, one pool of connections: what every typed call is made through.
///
/// Redirects are not followed, so a credential never reaches another origin.
struct Transport: Sendable {
    /// One request in the terms of HTTP.
    struct Call: Sendable {
        var method: HTTPMethod = .GET
        /// Escaped, beginning with `/`.
        var path: String
        var query: [(String, String)] = []
        var headers: [(String, String)] = []
        var body: HTTPClientRequest.Body?
        /// Until the head of the answer.
        var timeout: TimeAmount = .seconds(30)
    }

    /// The most that an answer held in memory may have.
    static let maximumAnswer = 64 << 20

    /// The pool, closed when nobody speaks through it any more.
    private final class Connections: Sendable {
        let client: HTTPClient

        init(_ client: HTTPClient) { self.client = client }

        deinit { client.shutdown { _ in } }
    }

    private let connections: Connections
    /// Without a slash at the end.
    let base: String
    let token: String?

    /// `connections`: how many requests may be under way at once.
    init(base: String, token: String?, connections: Int = 8) throws {
        var base = Substring(base)
        while base.hasSuffix("/") { base = base.dropLast() }
        guard let url = URL(string: String(base)), let scheme = url.scheme, scheme == "http" || scheme == "https",
            let host = url.host, !host.isEmpty, url.query == nil, url.user == nil
        else {
            throw ClientError(
                status: 0, code: "bad_url", message: "'\(base)' is not the URL of a coordinator; write it as https://HOST[:PORT]")
        }
        self.base = String(base)
        self.token = token
        var configuration = HTTPClient.Configuration()
        configuration.redirectConfiguration = .disallow
        // An event stream sends a comment every few seconds and a long poll ends within 60: longer silence is a dead peer.
        configuration.timeout = .init(connect: .seconds(10), read: .seconds(90), write: .seconds(90))
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = connections
        // A refused connection is the caller's to retry: it knows how long to be patient.
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.httpVersion = .http1Only
        if scheme == "https" { configuration.tlsConfiguration = ServerTrust.configuration() }
        self.connections = Connections(HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration))
    }

    private init(connections: Connections, base: String, token: String?) {
        self.connections = connections
        self.base = base
        self.token = token
    }

    /// The same connections under another credential.
    func with(token: String?) -> Transport { Transport(connections: connections, base: base, token: token) }

    var http: HTTPClient { connections.client }

    /// The answer with its body still to be read. Throws `ClientError` unless the status is one of `accepting` or 2xx.
    func response(to call: Call, accepting: Set<Int> = []) async throws -> HTTPClientResponse {
        var url = base + call.path
        if !call.query.isEmpty { url += "?" + PercentEncoding.query(call.query) }
        var request = HTTPClientRequest(url: url)
        request.method = call.method
        request.headers.add(name: "User-Agent", value: "longshore")
        if let token { request.headers.add(name: "Authorization", value: "Bearer " + token) }
        for (name, value) in call.headers { request.headers.add(name: name, value: value) }
        request.body = call.body
        let response = try await answering { try await http.execute(request, timeout: call.timeout) }
        let status = Int(response.status.code)
        if (200..<300).contains(status) || accepting.contains(status) { return response }
        throw await problem(of: response)
    }

    /// The answer's whole body.
    func bytes(of response: HTTPClientResponse, limit: Int = maximumAnswer) async throws -> [UInt8] {
        try await answering {
            do {
                return Array(buffer: try await response.body.collect(upTo: limit))
            } catch is NIOTooManyBytesError {
                throw ClientError(
                    status: Int(response.status.code), code: "too_large", message: "the answer has more than \(limit) bytes")
            }
        }
    }

    /// The answer, decoded.
    func json<Answer: Decodable>(_ call: Call, as type: Answer.Type = Answer.self) async throws -> Answer {
        let response = try await response(to: call)
        return try decode(type, from: try await bytes(of: response), path: call.path)
    }

    func decode<Answer: Decodable>(_ type: Answer.Type, from bytes: [UInt8], path: String) throws -> Answer {
        do {
            return try JSONDecoder().decode(type, from: Data(bytes))
        } catch {
            throw ClientError.badAnswer("\(base)\(path) did not answer with \(type)")
        }
    }

    /// Sends JSON and forgets the answer's body.
    func send(_ call: Call) async throws {
        let response = try await response(to: call)
        _ = try await bytes(of: response)
    }

    /// Turns every way in which a connection fails into one error; cancellation stays cancellation.
    func answering<Value>(_ operation: () async throws -> Value) async throws -> Value {
        do { return try await operation() } catch { throw mapped(error) }
    }

    /// What a failed operation is to the caller.
    func mapped(_ error: any Error) -> any Error {
        switch error {
        case is ClientError, is CancellationError: return error
        case let error as CallbackError: return error.cause
        case _ where Task.isCancelled: return CancellationError()
        case let error as HTTPClientError:
            return error == .cancelled ? CancellationError() : ClientError.unreachable(base, error.shortDescription)
        default: return ClientError.unreachable(base, "\(error)")
        }
    }

    /// What the server says went wrong: RFC 9457 on the native API, `errors` of OCI under `/v2`.
    private func problem(of response: HTTPClientResponse) async -> ClientError {
        let status = Int(response.status.code)
        let body = (try? await bytes(of: response, limit: 1 << 20)) ?? []
        if let problem = try? JSONDecoder().decode(Problem.self, from: Data(body)) {
            return ClientError(status: status, code: problem.code, message: problem.detail)
        }
        if let list = try? JSONDecoder().decode(RegistryErrors.self, from: Data(body)), let first = list.errors.first {
            return ClientError(status: status, code: first.code.lowercased(), message: first.message ?? first.code)
        }
        return ClientError(
            status: status, code: "http_\(status)", message: "\(base) answered \(status) \(response.status.reasonPhrase)")
    }

    /// A JSON body.
    static func body(_ value: some Encodable) throws -> HTTPClientRequest.Body {
        .bytes(ByteBuffer(bytes: try wireEncoder().encode(value)))
    }

    static let jsonContent = [("Content-Type", "application/json")]
}

/// An error of the caller's own code, thrown inside a transfer, that must not be taken for the network's.
struct CallbackError: Error {
    let cause: any Error
}

/// OCI distribution specification 1.1, "Error codes".
private struct RegistryErrors: Decodable {
    struct Entry: Decodable {
        var code: String
        var message: String?
    }
    var errors: [Entry]
}

/// One spelling of JSON for all that is sent.
func wireEncoder() -> JSONEncoder {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return encoder
}
