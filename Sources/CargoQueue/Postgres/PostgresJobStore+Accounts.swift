public import CargoWire
public import Foundation

/// Accounts, keys and hosts in the shared database.
extension PostgresJobStore {
    public func secret(_ name: String, making fresh: String) async throws -> String {
        try await pool.transaction { connection in
            try connection.run(
                "INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING", [.text(name), .text(fresh)])
            return try connection.run("SELECT value FROM secrets WHERE name = $1", [.text(name)]).first?.text(0) ?? fresh
        }
    }

    public func principals() async throws -> [Data: Principal] {
        try await pool.read { connection in
            let rows = try connection.run("SELECT hash, id, account, scopes, host FROM keys WHERE revoked IS NULL")
            return Dictionary(rows.map { ($0.data(0) ?? Data(), Self.principal($0)) }, uniquingKeysWith: { first, _ in first })
        }
    }

    public func principal(_ hash: Data) async throws -> Principal? {
        try await pool.read { connection in
            try connection.run(
                "SELECT hash, id, account, scopes, host FROM keys WHERE hash = $1 AND revoked IS NULL", [.bytes(hash)]
            ).first.map(Self.principal)
        }
    }

    private static func principal(_ row: PostgresRows.Row) -> Principal {
        Principal(
            account: row.int(2) ?? 0, keyID: row.text(1) ?? "",
            scopes: Set((row.text(3) ?? "").split(separator: ",").compactMap { Scope(rawValue: String($0)) }), host: row.text(4))
    }

    public func hosts() async throws -> [HostRecord] {
        try await pool.read { connection in
            try connection.run("SELECT id, account, name, public_key, registered_by FROM hosts").map { row in
                HostRecord(
                    id: row.text(0) ?? "", account: row.int(1) ?? 0, name: row.text(2) ?? "", publicKey: row.text(3),
                    registeredBy: row.text(4) ?? "")
            }
        }
    }

    public func addKey(_ key: NewKey, account: String) async throws -> Principal {
        let now = settings.clocks.wall().milliseconds
        return try await pool.transaction { connection in
            try connection.run(
                "INSERT INTO accounts (name, created) VALUES ($1, $2) ON CONFLICT DO NOTHING", [.text(account), .int(now)])
            guard let number = try connection.run("SELECT id FROM accounts WHERE name = $1", [.text(account)]).first?.int(0)
            else {
                throw StoreError.notFound
            }
            try Self.insert(connection, key, account: number, host: nil, now: now)
            return Principal(account: number, keyID: key.id, scopes: key.scopes, host: nil)
        }
    }

    private static func insert(
        _ connection: PostgresConnection, _ key: NewKey, account: Int64, host: String?, now: Int64
    ) throws {
        // The hash is of 256 random bits: the same one again is this very write, whose COMMIT was not answered.
        try connection.run(
            "INSERT INTO keys (hash, id, account, name, scopes, host, created) VALUES ($1,$2,$3,$4,$5,$6,$7) ON CONFLICT (hash) DO NOTHING",
            [
                .bytes(key.hash), .text(key.id), .int(account), .text(key.name),
                .text(key.scopes.map(\.rawValue).sorted().joined(separator: ",")), .text(host), .int(now),
            ])
    }

    public func addHost(
        _ host: HostRecord, slots: Int?, capabilities: HostCapabilities?, key: NewKey
    ) async throws -> HostRecord {
        let now = settings.clocks.wall().milliseconds
        let capabilities = try SQLiteRows.text(capabilities)
        return try await pool.transaction { connection in
            let slots = PostgresValue.int(slots.map(Int64.init))
            let known = try connection.run(
                "SELECT id FROM hosts WHERE account = $1 AND public_key = $2 FOR UPDATE",
                [.int(host.account), .text(host.publicKey)]
            ).first?.text(0)
            let id = known ?? host.id
            try connection.run(
                "INSERT INTO hosts (id, account, registered_by, name, public_key, slots, capabilities, created) "
                    + "VALUES ($1,$2,$3,$4,$5,$6,$7,$8) ON CONFLICT (id) DO UPDATE SET name = excluded.name, "
                    + "slots = excluded.slots, capabilities = excluded.capabilities, registered_by = excluded.registered_by",
                [
                    .text(id), .int(host.account), .text(host.registeredBy), .text(host.name), .text(host.publicKey), slots,
                    .text(capabilities), .int(now),
                ])
            try Self.insert(connection, key, account: host.account, host: id, now: now)
            return HostRecord(
                id: id, account: host.account, name: host.name, publicKey: host.publicKey, registeredBy: host.registeredBy)
        }
    }
}
