import AsyncHTTPClient
import CargoQueue
import CargoWire
import FoundationEssentials
import Logging
import NIOCore
import NIOHTTP1
import SystemPackage

/// Makes API keys: in the data folder when nothing serves it, else through the server that does.
public enum KeyCommand {
    public static let scopes = Scope.allCases.map(\.rawValue)

    private struct Ask: Encodable {
        var name: String
        var account: String
        var scopes: [String]
    }

    private struct Made: Decodable {
        var id: String
        var key: String
    }

    /// What went wrong, as one sentence.
    struct Failed: Error, CustomStringConvertible {
        let description: String
    }

    public static func create(
        data: String, store: String? = nil, name: String, scopes: [String], account: String
    ) async throws -> (id: String, key: String) {
        let path = FilePath(data)
        do {
            var settings = CoordinatorSettings(data: path)
            settings.database = store
            let coordinator = try await Coordinator(settings, logger: Logger(label: "longshore-coordinator"))
            defer { coordinator.close() }
            let key = try await coordinator.createKey(
                name: name, scopes: Set(scopes.compactMap(Scope.init(rawValue:))), account: account)
            return (key.id, key.token)
        } catch is DataFolder.InUse {
            let (address, admin) = try DataFolder.running(path)
            var request = HTTPClientRequest(url: address + "/admin/keys")
            request.method = .POST
            request.headers.add(name: "Authorization", value: "Bearer \(admin)")
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(
                ByteBuffer(bytes: try JSONEncoder().encode(Ask(name: name, account: account, scopes: scopes))))
            let response = try await HTTPClient.shared.execute(request, timeout: .seconds(30))
            let body = try await response.body.collect(upTo: 1 << 20)
            guard response.status == .created else {
                throw Failed(description: "The server at \(address) answered \(response.status): \(String(buffer: body))")
            }
            let made = try JSONDecoder().decode(Made.self, from: Data(body.readableBytesView))
            return (made.id, made.key)
        }
    }
}
