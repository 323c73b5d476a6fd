import CargoArtifact
public import CargoQueue
public import CargoWire
import HTTPTypes
import Hummingbird

/// An account's own keys: make, list, rotate, revoke, and what each has used.
extension Gateway {
    func addKeys(to router: Router<GatewayContext>) {
        router.post("/keys") { request, _ in
            let principal = try keyKeeper(request)
            let ask = try await body(KeyRequest.self, of: request, limit: 65536)
            return try Answer.json(try await createKey(ask, by: principal), status: .created)
        }
        router.get("/keys") { request, _ in
            let account = try account(of: request, try caller(request, .read))
            let keys = try await queue.directory.keys(of: account).filter { $0.0.host == nil }
            return try Answer.json(KeyList(keys: keys.map { KeyView($0.0, lastUsed: $0.lastUsed) }))
        }
        router.get("/keys/:id") { request, context in
            let (record, lastUsed) = try await knownKey(request, context, try caller(request, .read))
            return try Answer.json(KeyView(record, lastUsed: lastUsed))
        }
        router.delete("/keys/:id") { request, context in
            let (record, _) = try await knownKey(request, context, try keyKeeper(request))
            try await queue.directory.revokeKey(record.id)
            return Response(status: .noContent)
        }
        router.post("/keys/:id/rotate") { request, context in
            let principal = try keyKeeper(request)
            let (record, _) = try await knownKey(request, context, principal)
            let bytes = try await bytes(of: request, limit: 65536)
            let ask = bytes.isEmpty ? KeyRotation() : try StrictJSON.decode(KeyRotation.self, from: bytes, limit: 65536)
            let overlap = ask.overlap?.value ?? 0
            guard (0...30 * 86_400).contains(overlap) else {
                throw GatewayError(422, "invalid_key", "'overlap' is from 0 to 2592000 seconds, 30 days.")
            }
            let revoked = GatewayError(409, "wrong_state", "This key is revoked; make a new one.")
            guard record.revoked == nil else { throw revoked }
            guard record.scopes.allSatisfy(principal.may) else {
                throw GatewayError(403, "forbidden", "This key lacks a scope of the key that it would rotate.")
            }
            guard let minted = try await queue.directory.rotateKey(record, overlap: overlap) else { throw revoked }
            var view = KeyView(minted.record, lastUsed: nil)
            view.key = minted.token
            return try Answer.json(view)
        }
        router.get("/keys/:id/usage") { request, context in
            let (record, _) = try await knownKey(request, context, try caller(request, .read))
            return try Answer.json(try await usage(request, account: record.account, key: record.id))
        }
        router.get("/usage") { request, _ in
            let account = try account(of: request, try caller(request, .read))
            return try Answer.json(try await usage(request, account: account, key: nil))
        }
    }

    /// Who may manage keys: one whose own rights do not end, or a lost key could outlive its end.
    private func keyKeeper(_ request: Request) throws -> Principal {
        let principal = try caller(request, .write)
        guard let own = queue.directory.key(principal.keyID, of: principal.account), own.details.expires == nil,
            !principal.policy.isLimited
        else { throw GatewayError(403, "forbidden", "A key that expires or has limits manages no keys.") }
        return principal
    }

    /// The account that a call is about: the caller's, or with an `admin` key the one of `?account=NAME`.
    private func account(of request: Request, _ principal: Principal) throws -> Int64 {
        guard let name = request.uri.queryParameters["account"] else { return principal.account }
        guard principal.may(.admin) else {
            throw GatewayError(403, "forbidden", "Only a key with the scope 'admin' sees other accounts.")
        }
        guard let account = queue.directory.account(named: String(name)) else {
            throw GatewayError(404, "not_found", "There is no account '\(name.prefix(100))' with a key.")
        }
        return account
    }

    private func knownKey(
        _ request: Request, _ context: GatewayContext, _ principal: Principal
    ) async throws -> (KeyRecord, Timestamp?) {
        let id = context.parameters.get("id") ?? ""
        let account = try account(of: request, principal)
        let found = try await queue.directory.keys(of: account).first { $0.0.id == id && $0.0.host == nil }
        guard let found else {
            throw GatewayError(404, "not_found", "There is no such key of this account; `GET /keys` lists them.")
        }
        return (found.0, found.lastUsed)
    }

    func createKey(_ ask: KeyRequest, by principal: Principal) async throws -> KeyView {
        let own = queue.directory.accountName(principal.account) ?? ""
        let account = ask.account ?? own
        guard account == own || principal.may(.admin) else {
            throw GatewayError(403, "forbidden", "Only a key with the scope 'admin' makes keys of other accounts.")
        }
        guard !ask.scopes.isEmpty else { throw GatewayError(422, "invalid_key", "Name at least one of the scopes.") }
        guard ask.scopes.allSatisfy(principal.may) else {
            throw GatewayError(403, "forbidden", "A key makes only keys that may no more than itself.")
        }
        guard !account.isEmpty, account.utf8.count <= 100, (ask.name ?? "").utf8.count <= 100 else {
            throw GatewayError(422, "invalid_key", "Names of keys and accounts have at most 100 bytes.")
        }
        if let seconds = ask.expiresIn?.value, !(1...3_660 * 86_400).contains(seconds) {
            throw GatewayError(422, "invalid_key", "'expires_in' is from a second to ten years.")
        }
        if let policy = ask.policy {
            let counts = [policy.requestsPerMinute, policy.tokensPerMinute, policy.tokensPerDay].compactMap(\.self)
            guard counts.allSatisfy({ (1...1 << 50).contains($0) }), (policy.creditsPerDay ?? 0) >= 0 else {
                throw GatewayError(422, "invalid_key", "Limits of a policy are numbers above 0.")
            }
        }
        let expires = ask.expiresIn.map { queue.settings.clocks.wall().advanced(bySeconds: $0.value) }
        let minted = try await queue.directory.createKey(
            name: ask.name ?? "", scopes: Set(ask.scopes), account: account,
            details: KeyRecord.Details(expires: expires, policy: ask.policy))
        var view = KeyView(minted.record, lastUsed: nil)
        view.key = minted.token
        return view
    }

    private func usage(_ request: Request, account: Int64, key: String?) async throws -> UsageReport {
        let days = try integer(request, "days", 1...366) ?? 30
        let today = queue.settings.clocks.wall().milliseconds / 86_400_000
        let range = today - Int64(days) + 1...today
        func text(_ day: Int64) -> String { String(Timestamp(milliseconds: day * 86_400_000).text.prefix(10)) }
        return UsageReport(
            since: text(range.lowerBound), until: text(range.upperBound),
            usage: try await queue.usage.report(account: account, key: key, days: range))
    }
}

extension KeyView {
    public init(_ record: KeyRecord, lastUsed: Timestamp?) {
        self.init(
            id: record.id, name: record.name, account: record.accountName,
            scopes: record.scopes.sorted { $0.rawValue < $1.rawValue }, createdAt: record.created.text)
        host = record.host
        policy = record.details.policy
        expiresAt = record.details.expires.map { Timestamp(milliseconds: $0).text }
        lastUsedAt = lastUsed?.text
        revokedAt = record.revoked?.text
    }
}
