public import CargoArtifact
public import CargoWire
import NIOHTTP1

/// An account's own keys.
extension CoordinatorClient {
    /// `POST /keys`: the secret is in the answer's `key`, the only time.
    public func createKey(_ request: KeyRequest) async throws -> KeyView {
        try await transport.json(
            .init(method: .POST, path: "/keys", headers: Transport.jsonContent, body: try Transport.body(request)))
    }

    /// `GET /keys`.
    public func keys() async throws -> [KeyView] {
        let list: KeyList = try await transport.json(.init(path: "/keys"))
        return list.keys
    }

    /// `POST /keys/{id}/rotate`.
    public func rotateKey(_ id: String, overlap: Seconds?) async throws -> KeyView {
        try await transport.json(
            .init(
                method: .POST, path: "/keys/\(PercentEncoding.segment(id))/rotate", headers: Transport.jsonContent,
                body: try Transport.body(KeyRotation(overlap: overlap))))
    }

    /// `DELETE /keys/{id}`.
    public func revokeKey(_ id: String) async throws {
        try await transport.send(.init(method: .DELETE, path: "/keys/\(PercentEncoding.segment(id))"))
    }

    /// `GET /usage`, or of one key `GET /keys/{id}/usage`: the last so many days, today included.
    public func usage(of key: String? = nil, days: Int = 30) async throws -> UsageReport {
        var call = Transport.Call(path: key.map { "/keys/\(PercentEncoding.segment($0))/usage" } ?? "/usage")
        call.query = [("days", String(days))]
        return try await transport.json(call)
    }
}
