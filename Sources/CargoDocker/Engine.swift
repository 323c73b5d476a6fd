internal import AsyncHTTPClient
internal import FoundationEssentials
internal import NIOCore
internal import NIOHTTP1
public import SystemPackage

/// A container engine that answers on a unix socket: Docker, or Podman's compatible service.
///
/// The Docker Engine API at the highest version that both sides know; never the `docker` command line.
public struct Engine: Sendable {
    /// Whose implementation answers; a few fields mean different things to each.
    public enum Kind: String, Sendable { case docker, podman }

    /// A version of the Engine API, `1.41`.
    public struct APIVersion: Hashable, Sendable, Comparable, CustomStringConvertible {
        public let major: Int
        public let minor: Int

        public init(_ major: Int, _ minor: Int) {
            self.major = major
            self.minor = minor
        }

        public init?(_ text: some StringProtocol) {
            let parts = text.split(separator: ".", omittingEmptySubsequences: false)
            guard parts.count >= 2, let major = Int(parts[0]), let minor = Int(parts[1]), major >= 0, minor >= 0 else {
                return nil
            }
            self.init(major, minor)
        }

        public var description: String { "\(major).\(minor)" }
        public static func < (left: APIVersion, right: APIVersion) -> Bool {
            (left.major, left.minor) < (right.major, right.minor)
        }

        /// What is spoken with an engine that offers `offered`; nil when it is older than all that we need.
        public static func negotiated(_ offered: APIVersion) -> APIVersion? {
            offered < least ? nil : min(offered, newest)
        }

        /// Docker 20.10 and Podman 4: `wait?condition=next-exit`, cgroup namespaces.
        static let least = APIVersion(1, 40)
        static let newest = APIVersion(1, 47)
    }

    /// Connections stay open between calls. Long waits hold one each, so there may be many; it lives as long as the process.
    private static let http: HTTPClient = {
        var configuration = HTTPClient.Configuration()
        configuration.redirectConfiguration = .disallow
        configuration.timeout = .init(connect: .seconds(5))
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 1024
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.httpVersion = .http1Only
        return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }()

    /// The most bytes of an answer that is held in memory.
    static let maximumAnswer = 16 << 20

    public let socket: FilePath
    public let kind: Kind
    public let version: APIVersion

    /// Finds out who listens on `socket` and what it speaks.
    public static func connect(_ socket: FilePath) async throws -> Engine {
        let operation = "reach the container engine at \(socket)"
        var request = HTTPClientRequest(url: url(socket, "/_ping"))
        request.headers.add(name: "Host", value: "engine")
        let response: HTTPClientResponse
        do {
            response = try await http.execute(request, timeout: .seconds(10))
            _ = try await response.body.collect(upTo: 1 << 16)
        } catch {
            throw EngineError(
                .unreachable, operation, "nothing answers there; start Docker or Podman, or set DOCKER_HOST=unix://PATH")
        }
        guard response.status == .ok, let offered = response.headers.first(name: "Api-Version").flatMap({ APIVersion($0) }),
            let version = APIVersion.negotiated(offered)
        else {
            throw EngineError(
                .unsupported, operation, "it does not speak Engine API \(APIVersion.least); update Docker or Podman")
        }
        let isPodman = response.headers.contains(name: "Libpod-API-Version")
        return Engine(socket: socket, kind: isPodman ? .podman : .docker, version: version)
    }

    /// One request; throws `EngineError` unless the status is 2xx, 304 or one of `accepting`.
    func answer(
        _ method: HTTPMethod, _ path: String, query: [(String, String)] = [], headers: [(String, String)] = [],
        body: HTTPClientRequest.Body? = nil, timeout: TimeAmount = .seconds(60), operation: String,
        notFound: EngineError.Code = .containerNotFound, accepting: Set<UInt> = []
    ) async throws -> HTTPClientResponse {
        var request = HTTPClientRequest(url: Engine.url(socket, "/v\(version)" + path + Engine.query(query)))
        request.method = method
        request.headers.add(name: "Host", value: "engine")
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if let body { request.body = body }
        let response = try await reaching(operation) { try await Engine.http.execute(request, timeout: timeout) }
        let status = response.status.code
        if (200..<300).contains(status) || status == 304 || accepting.contains(UInt(status)) { return response }
        let said = (try? await bytes(of: response, operation: operation)) ?? []
        let message =
            (try? EngineJSON.decode(EngineMessage.self, from: said))?.message ?? String(decoding: said.prefix(500), as: UTF8.self)
        throw Engine.error(status: Int(status), message: message, operation: operation, notFound: notFound)
    }

    func bytes(of response: HTTPClientResponse, operation: String) async throws -> [UInt8] {
        try await reaching(operation) { Array(buffer: try await response.body.collect(upTo: Engine.maximumAnswer)) }
    }

    /// A request whose answer is JSON.
    func json<Value: Decodable>(
        _ type: Value.Type, _ method: HTTPMethod, _ path: String, query: [(String, String)] = [],
        body: HTTPClientRequest.Body? = nil,
        timeout: TimeAmount = .seconds(60), operation: String, notFound: EngineError.Code = .containerNotFound
    ) async throws -> Value {
        let headers = body == nil ? [] : [("Content-Type", "application/json")]
        let response = try await answer(
            method, path, query: query, headers: headers, body: body, timeout: timeout, operation: operation, notFound: notFound)
        let bytes = try await bytes(of: response, operation: operation)
        do {
            return try EngineJSON.decode(type, from: bytes)
        } catch {
            throw EngineError(.unsupported, operation, "the engine's answer is not the \(type) of Engine API \(version)")
        }
    }

    /// A request whose answer does not matter.
    func send(
        _ method: HTTPMethod, _ path: String, query: [(String, String)] = [], timeout: TimeAmount = .seconds(60),
        operation: String,
        accepting: Set<UInt> = []
    ) async throws {
        let response = try await answer(method, path, query: query, timeout: timeout, operation: operation, accepting: accepting)
        _ = try await bytes(of: response, operation: operation)
    }

    /// Turns a broken connection into `unreachable`; cancellation stays what it is.
    func reaching<Value>(_ operation: String, _ body: () async throws -> Value) async throws -> Value {
        do { return try await body() } catch {
            if Task.isCancelled { throw CancellationError() }
            if error is EngineError || error is CancellationError { throw error }
            throw EngineError(
                .unreachable, operation, "the container engine at \(socket) does not answer (\(error)); is it running?")
        }
    }

    private static func error(status: Int, message: String, operation: String, notFound: EngineError.Code) -> EngineError {
        let code: EngineError.Code =
            switch status {
            case 400: .badRequest
            case 404: notFound
            case 409: .conflict
            default: .failed
            }
        return EngineError(code, operation, message.isEmpty ? "the engine answered \(status)" : message)
    }

    /// AsyncHTTPClient's form for unix sockets: the socket's path, percent-encoded, stands where a host does.
    private static func url(_ socket: FilePath, _ path: String) -> String { "http+unix://" + escaped(socket.string) + path }

    static func query(_ items: [(String, String)]) -> String {
        items.isEmpty ? "" : "?" + items.map { escaped($0.0) + "=" + escaped($0.1) }.joined(separator: "&")
    }

    /// RFC 3986 percent-encoding of everything but unreserved characters.
    static func escaped(_ text: String) -> String {
        var out: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"):
                out.append(byte)
            default:
                let digits = Array("0123456789ABCDEF".utf8)
                out += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}

/// The body of every error of the Engine API.
struct EngineMessage: Decodable {
    var message: String
}
