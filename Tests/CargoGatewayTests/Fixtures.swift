import AsyncHTTPClient
import CargoArtifact
import CargoCoordinator
import CargoQueue
import CargoWire
import FoundationEssentials
import Logging
import NIOCore
import NIOHTTP1
import Synchronization
import SystemPackage

#if canImport(Glibc)
    import Glibc
#endif

/// A coordinator of its own folder that serves on a free port while `body` runs.
func withCoordinator(
    leaseSeconds: Double = 30, _ body: (Port) async throws -> Void
) async throws {
    try await withFolder { try await withServer(on: $0, leaseSeconds: leaseSeconds, body) }
}

/// A data folder that goes with `body`.
func withFolder(_ body: (FilePath) async throws -> Void) async throws {
    var template = Array("/tmp/longshore-gateway-XXXXXX".utf8CString)
    guard let made = mkdtemp(&template) else { throw Errno(rawValue: errno) }
    let path = FilePath(String(cString: made))
    defer { try? FileManager.default.removeItem(atPath: path.string) }
    try await body(path)
}

/// The same on a folder that outlives it: called twice, the second is a restart.
func withServer(
    on path: FilePath, leaseSeconds: Double = 30, change: (inout CoordinatorSettings) -> Void = { _ in },
    _ body: (Port) async throws -> Void
) async throws {
    var settings = CoordinatorSettings(data: path)
    settings.port = 0
    settings.store.leaseSeconds = leaseSeconds
    change(&settings)
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    let coordinator = try await Coordinator(settings, logger: logger)
    let (addresses, continuation) = AsyncStream<String>.makeStream(bufferingPolicy: .bufferingNewest(1))
    let serving = Task { try await coordinator.run { continuation.yield($0) } }
    var iterator = addresses.makeAsyncIterator()
    guard let address = await iterator.next() else { throw TestFailure("the server did not start") }
    let key = String(decoding: try Data(contentsOf: path.appending("admin.key").string), as: UTF8.self)
    let port = Port(url: address, key: String(key.prefix { $0 != "\n" }))
    let outcome: Result<Void, any Error>
    do {
        try await body(port)
        outcome = .success(())
    } catch {
        outcome = .failure(error)
    }
    serving.cancel()
    _ = try? await serving.value
    try outcome.get()
}

struct TestFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

extension Data {
    init(contentsOf path: String) throws {
        guard let bytes = FileManager.default.contents(atPath: path) else { throw TestFailure("\(path) cannot be read") }
        self = bytes
    }
}

/// An answer with its body whole.
struct Reply {
    var status: Int
    var headers: HTTPHeaders
    var bytes: [UInt8]

    var text: String { String(decoding: bytes, as: UTF8.self) }
    var json: JSONValue { (try? JSONDecoder().decode(JSONValue.self, from: Data(bytes))) ?? .null }
    subscript(_ name: String) -> JSONValue { json[name] }
    var code: String { self["code"].string }
}

extension JSONValue {
    subscript(_ name: String) -> JSONValue {
        guard case .object(let fields) = self else { return .null }
        return fields[name] ?? .null
    }

    var string: String {
        guard case .string(let text) = self else { return "" }
        return text
    }
}

/// A client of one server with one key.
struct Port: Sendable {
    let url: String
    var key: String

    func with(_ key: String) -> Port { Port(url: url, key: key) }

    func call(
        _ method: HTTPMethod, _ path: String, body: [UInt8]? = nil, headers: [(String, String)] = [],
        timeout: TimeAmount = .seconds(30)
    ) async throws -> Reply {
        var request = HTTPClientRequest(url: url + path)
        request.method = method
        request.headers.add(name: "Authorization", value: "Bearer \(key)")
        for (name, value) in headers { request.headers.replaceOrAdd(name: name, value: value) }
        if let body { request.body = .bytes(ByteBuffer(bytes: body)) }
        let response = try await HTTPClient.shared.execute(request, timeout: timeout)
        let bytes = Array(buffer: try await response.body.collect(upTo: 64 << 20))
        return Reply(status: Int(response.status.code), headers: response.headers, bytes: bytes)
    }

    func send(_ method: HTTPMethod, _ path: String, _ value: JSONValue, headers: [(String, String)] = []) async throws -> Reply {
        try await call(method, path, body: Array(try JSONEncoder().encode(value)), headers: headers)
    }

    func get(_ path: String, headers: [(String, String)] = []) async throws -> Reply {
        try await call(.GET, path, headers: headers)
    }

    /// Pushes a small cargo under `acme/NAME:1.0.0`.
    func push(_ name: String = "hello", jobEnv: [String] = ["GREETING"]) async throws {
        var config = CargoConfig(name: "acme/\(name)", version: "1.0.0", kind: .process, command: ["true"])
        config.jobEnv = jobEnv
        let bytes = Array(try JSONEncoder().encode(config))
        let digest = try await pushBlob(bytes, name: name)
        let manifest = ImageManifest(
            artifactType: MediaType.cargo,
            config: Descriptor(mediaType: MediaType.cargoConfig, digest: digest, size: Int64(bytes.count)), layers: [])
        let reply = try await call(
            .PUT, "/v2/acme/\(name)/manifests/1.0.0", body: Array(try JSONEncoder().encode(manifest)),
            headers: [("Content-Type", MediaType.imageManifest)])
        guard reply.status == 201 else { throw TestFailure("push: \(reply.status) \(reply.text)") }
    }

    func pushBlob(_ bytes: [UInt8], name: String = "hello") async throws -> CargoArtifact.Digest {
        let digest = CargoArtifact.Digest(of: bytes)
        let reply = try await call(.POST, "/v2/acme/\(name)/blobs/uploads/?digest=\(digest)", body: bytes)
        guard reply.status == 201 else { throw TestFailure("push of a blob: \(reply.status) \(reply.text)") }
        return digest
    }

    func submit(_ more: [String: JSONValue] = [:]) async throws -> String {
        let fields = more.merging(["cargo": .string("acme/hello:1.0.0")]) { $1 }
        let reply = try await send(.POST, "/jobs", .object(fields))
        guard reply.status == 202 else { throw TestFailure("submit: \(reply.status) \(reply.text)") }
        return reply["id"].string
    }

    /// A registered host with its own token.
    func host(_ name: String = "h") async throws -> Port {
        let reply = try await send(.POST, "/hosts", .object(["name": .string(name)]))
        guard reply.status == 201 else { throw TestFailure("register: \(reply.text)") }
        return with(reply["token"].string)
    }

    func claim(wait: Double = 5) async throws -> (id: String, lease: JSONValue) {
        let reply = try await send(.POST, "/hosts/next-job", .object(["wait": .number(wait)]))
        guard reply.status == 200 else { throw TestFailure("claim: \(reply.status) \(reply.text)") }
        return (reply["job"]["id"].string, reply["lease"])
    }

    func beat(_ id: String, _ lease: JSONValue, log: String? = nil, at offset: Int64 = 0) async throws -> Reply {
        var fields: [String: JSONValue] = ["lease": lease, "state": .string("processing")]
        if let log {
            fields["logs"] = .array([
                .object(["stream": .string("stdout"), "offset": .integer(offset), "data": .string(log)])
            ])
        }
        return try await send(.POST, "/jobs/\(id)/heartbeat", .object(fields))
    }

    func complete(_ id: String, _ lease: JSONValue, exitCode: Int64 = 0) async throws -> Reply {
        try await send(.POST, "/jobs/\(id)/complete", .object(["lease": lease, "exit_code": .integer(exitCode)]))
    }

    /// A key of another account.
    func stranger() async throws -> Port {
        let reply = try await send(
            .POST, "/admin/keys",
            .object([
                "account": .string("stranger"),
                "scopes": .array(["read", "write", "host", "publish"].map(JSONValue.string)),
            ]))
        guard reply.status == 201 else { throw TestFailure("key: \(reply.text)") }
        return with(reply["key"].string)
    }
}
