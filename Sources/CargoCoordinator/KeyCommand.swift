import AsyncHTTPClient
public import CargoArtifact
import CargoGateway
import CargoQueue
public import CargoWire
import FoundationEssentials
import Logging
import NIOCore
import NIOHTTP1
import NIOSSL
import SystemPackage

/// Manages API keys: in the data folder when nothing serves it, else through the server that does.
public struct KeyCommand: Sendable {
    public static let scopes = Scope.allCases.map(\.rawValue)

    private let data: FilePath
    private let store: String?
    private let account: String

    /// What went wrong, as one sentence.
    struct Failed: Error, CustomStringConvertible {
        let description: String
    }

    public init(data: String, store: String?, account: String) {
        self.data = FilePath(data)
        self.store = store
        self.account = account
    }

    public func create(_ request: KeyRequest) async throws -> KeyView {
        var request = request
        request.account = account
        return try await perform { [request] directory in
            let expires = request.expiresIn.map { Timestamp.now().advanced(bySeconds: $0.value) }
            let made = try await directory.createKey(
                name: request.name ?? "", scopes: Set(request.scopes), account: account,
                details: KeyRecord.Details(expires: expires, policy: request.policy))
            return KeyView(made)
        } orAsking: { server in
            try await server.ask(.POST, "/keys", request)
        }
    }

    public func list() async throws -> [KeyView] {
        try await perform { directory in
            guard let number = directory.account(named: account) else { return [] }
            return try await directory.keys(of: number).filter { $0.0.host == nil }.map { KeyView($0.0, lastUsed: $0.lastUsed) }
        } orAsking: { server in
            let list: KeyList = try await server.ask(.GET, "/keys?account=\(Self.escaped(account))", nil as KeyRequest?)
            return list.keys
        }
    }

    public func rotate(_ id: String, overlap: Seconds?) async throws -> KeyView {
        try await perform { directory in
            guard let minted = try await directory.rotateKey(try found(id, in: directory), overlap: overlap?.value ?? 0) else {
                throw Failed(description: "The key '\(id)' was revoked meanwhile; make a new one.")
            }
            return KeyView(minted)
        } orAsking: { server in
            try await server.ask(
                .POST, "/keys/\(Self.escaped(id))/rotate?account=\(Self.escaped(account))", KeyRotation(overlap: overlap))
        }
    }

    public func revoke(_ id: String) async throws {
        try await perform { directory in
            try await directory.revokeKey(try found(id, in: directory).id)
        } orAsking: { server in
            try await server.tell(.DELETE, "/keys/\(Self.escaped(id))?account=\(Self.escaped(account))")
        }
    }

    private func found(_ id: String, in directory: Directory) throws -> KeyRecord {
        guard let number = directory.account(named: account), let record = directory.key(id, of: number) else {
            throw Failed(description: "The account '\(account)' has no key '\(id)' that is good; list them, or name --account.")
        }
        return record
    }

    private static func escaped(_ text: String) -> String {
        text.utf8.map { byte in
            let plain = (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || byte == 95
            let digits = String(byte, radix: 16, uppercase: true)
            return plain ? String(UnicodeScalar(byte)) : "%" + (digits.count < 2 ? "0" : "") + digits
        }.joined()
    }

    private func perform<Value: Sendable>(
        _ here: (Directory) async throws -> Value, orAsking there: (Server) async throws -> Value
    ) async throws -> Value {
        do {
            var settings = CoordinatorSettings(data: data)
            settings.database = store
            let coordinator = try await Coordinator(settings, logger: Logger(label: "longshore-coordinator"))
            defer { coordinator.close() }
            return try await here(coordinator.directory)
        } catch is DataFolder.InUse {
            let (address, key) = try DataFolder.running(data)
            return try await there(Server(address: address, key: key))
        }
    }

    /// The server that holds the folder.
    private struct Server {
        let address: String
        let key: String

        func ask<Answer: Decodable>(_ method: HTTPMethod, _ path: String, _ body: (some Encodable)?) async throws -> Answer {
            let bytes = try await send(method, path, try body.map { try JSONEncoder().encode($0) })
            return try JSONDecoder().decode(Answer.self, from: bytes)
        }

        func tell(_ method: HTTPMethod, _ path: String) async throws { _ = try await send(method, path, nil) }

        private func send(_ method: HTTPMethod, _ path: String, _ body: Data?) async throws -> Data {
            var request = HTTPClientRequest(url: address + path)
            request.method = method
            request.headers.add(name: "Authorization", value: "Bearer \(key)")
            request.headers.add(name: "Content-Type", value: "application/json")
            if let body { request.body = .bytes(ByteBuffer(bytes: body)) }
            // It speaks to this machine's own server, whose address stands in its own folder: a certificate is for its name.
            var configuration = HTTPClient.Configuration()
            configuration.tlsConfiguration = .makeClientConfiguration()
            configuration.tlsConfiguration?.certificateVerification = .none
            let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
            defer { client.shutdown { _ in } }
            let response = try await client.execute(request, timeout: .seconds(30))
            let answer = try await response.body.collect(upTo: 16 << 20)
            guard (200..<300).contains(response.status.code) else {
                throw Failed(description: "The server at \(address) answered \(response.status): \(String(buffer: answer))")
            }
            return Data(answer.readableBytesView)
        }
    }
}

extension KeyView {
    init(_ made: MintedKey) {
        self.init(made.record, lastUsed: nil)
        key = made.token
    }
}
