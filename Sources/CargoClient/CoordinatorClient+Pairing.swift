import AsyncHTTPClient
import CargoTunnel
public import CargoWire
import NIOCore
import NIOHTTP1

/// Hosts as accounts see them, groups, and the pairing of a host that holds no key.
extension CoordinatorClient {
    /// Whether it speaks with a credential.
    public var hasToken: Bool { transport.token != nil }

    /// `GET /hosts`: those that the key may see.
    public func hosts() async throws -> [HostView] {
        let list: HostList = try await transport.json(.init(path: "/hosts"))
        return list.hosts
    }

    /// `PATCH /hosts/{id}`.
    public func shareHost(_ id: String, open: Bool) async throws -> HostView {
        try await transport.json(try call(.PATCH, "/hosts/\(PercentEncoding.segment(id))", HostSharing(open: open)))
    }

    /// `DELETE /hosts/{id}`: its credentials end at once.
    public func removeHost(_ id: String) async throws {
        try await transport.send(.init(method: .DELETE, path: "/hosts/\(PercentEncoding.segment(id))"))
    }

    /// `POST /hosts/heartbeat`, with the host's own token.
    public func report(_ report: HostReport) async throws -> HostReportReply {
        if let answer = try await throughTunnel(.report, report, timeout: .seconds(15)) {
            return try transport.decode(HostReportReply.self, from: answer.bytes, path: "/hosts/tunnel")
        }
        return try await transport.json(try call(.POST, "/hosts/heartbeat", report))
    }

    /// `POST /hosts/rotate`, with the host's own token.
    public func rotateHost(_ rotation: HostRotation) async throws -> RegisteredHost {
        try await transport.json(try call(.POST, "/hosts/rotate", rotation))
    }

    // MARK: Pairing

    /// `POST /hosts/pairings`: needs no credential.
    public func beginPairing(_ host: HostRegistration) async throws -> Pairing {
        try await transport.json(try call(.POST, "/hosts/pairings", PairingRequest(host: host)))
    }

    /// `POST /hosts/pairings/{code}/answer`: nil while nobody has said yes.
    public func pairingAnswer(_ code: String, secret: String) async throws -> RegisteredHost? {
        let sent = try call(.POST, "/hosts/pairings/\(PercentEncoding.segment(code))/answer", PairingSecret(secret: secret))
        let response = try await transport.response(to: sent)
        let bytes = try await transport.bytes(of: response, limit: 1 << 20)
        guard response.status == .created else { return nil }
        return try transport.decode(RegisteredHost.self, from: bytes, path: sent.path)
    }

    /// `GET /hosts/pairings/{code}`.
    public func pairing(_ code: String) async throws -> PairingView {
        try await transport.json(.init(path: "/hosts/pairings/" + PercentEncoding.segment(code)))
    }

    /// `POST /hosts/pairings/{code}`.
    public func confirmPairing(_ code: String, _ yes: PairingConfirmation) async throws {
        try await transport.send(try call(.POST, "/hosts/pairings/" + PercentEncoding.segment(code), yes))
    }

    // MARK: Groups

    /// `GET /groups`.
    public func groups() async throws -> [GroupView] {
        let list: GroupList = try await transport.json(.init(path: "/groups"))
        return list.groups
    }

    /// `POST /groups`.
    public func createGroup(_ name: String) async throws -> GroupView {
        try await transport.json(try call(.POST, "/groups", GroupRequest(name: name)))
    }

    /// `DELETE /groups/{id}`.
    public func deleteGroup(_ id: String) async throws {
        try await transport.send(.init(method: .DELETE, path: "/groups/" + PercentEncoding.segment(id)))
    }

    /// `POST /groups/{id}/invites`.
    public func invite(to id: String, _ request: InviteRequest) async throws -> Invite {
        try await transport.json(try call(.POST, "/groups/\(PercentEncoding.segment(id))/invites", request))
    }

    /// `POST /groups/join`.
    public func joinGroup(_ invite: String) async throws -> GroupView {
        try await transport.json(try call(.POST, "/groups/join", JoinRequest(invite: invite)))
    }

    /// `POST /groups/{id}/leave`.
    public func leaveGroup(_ id: String) async throws {
        try await transport.send(.init(method: .POST, path: "/groups/\(PercentEncoding.segment(id))/leave"))
    }

    /// `DELETE /groups/{id}/members/{account}`.
    public func removeMember(_ account: String, from id: String) async throws {
        try await transport.send(
            .init(
                method: .DELETE, path: "/groups/\(PercentEncoding.segment(id))/members/\(PercentEncoding.segment(account))"))
    }

    /// `PUT` or `DELETE /groups/{id}/hosts/{host}`.
    public func setHost(_ host: String, in id: String, serves: Bool) async throws {
        try await transport.send(
            .init(
                method: serves ? .PUT : .DELETE,
                path: "/groups/\(PercentEncoding.segment(id))/hosts/\(PercentEncoding.segment(host))"))
    }

    private func call(_ method: HTTPMethod, _ path: String, _ value: some Encodable) throws -> Transport.Call {
        Transport.Call(method: method, path: path, headers: Transport.jsonContent, body: try Transport.body(value))
    }
}
