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

    public func keys(of account: Int64?, revoked: Bool) async throws -> [KeyRecord] {
        try await pool.read { connection in
            try connection.run(
                "SELECT k.id, k.hash, k.account, a.name, k.name, k.scopes, k.host, k.created, k.revoked, k.details "
                    + "FROM keys k JOIN accounts a ON a.id = k.account WHERE ($1::bigint IS NULL OR k.account = $1) "
                    + "AND ($2::boolean OR k.revoked IS NULL) ORDER BY k.created, k.id LIMIT 1000000",
                [.int(account), .bool(revoked)]
            ).map { row in
                KeyRecord(
                    id: row.text(0) ?? "", hash: row.data(1) ?? Data(), account: row.int(2) ?? 0,
                    accountName: row.text(3) ?? "", name: row.text(4) ?? "", scopes: KeyRecord.scopes(row.text(5) ?? ""),
                    host: row.text(6), created: Timestamp(milliseconds: row.int(7) ?? 0),
                    revoked: row.int(8).map(Timestamp.init(milliseconds:)),
                    details: try SQLiteRows.decode(KeyRecord.Details.self, row.text(9)) ?? KeyRecord.Details())
            }
        }
    }

    public func changeKey(_ id: String, hash: Data, details: KeyRecord.Details) async throws {
        defer { tellOthers(.accounts) }
        let details = try SQLiteRows.text(details)
        try await pool.transaction { connection in
            let rows = try connection.run(
                "UPDATE keys SET hash = $1, details = $2 WHERE id = $3 AND revoked IS NULL",
                [.bytes(hash), .text(details), .text(id)])
            guard rows.changed == 1 else { throw StoreError.notFound }
        }
    }

    public func revokeKey(_ id: String) async throws {
        defer { tellOthers(.accounts) }
        let now = settings.clocks.wall().milliseconds
        try await pool.transaction { connection in
            _ = try connection.run("UPDATE keys SET revoked = $1 WHERE id = $2 AND revoked IS NULL", [.int(now), .text(id)])
        }
    }

    public func changeHost(_ id: String, publicKey: String) async throws {
        defer { tellOthers(.accounts) }
        try await pool.transaction { connection in
            let taken = try connection.run(
                "SELECT 1 FROM hosts h JOIN hosts o ON o.account = h.account WHERE h.id = $1 AND o.public_key = $2 AND o.id <> $1",
                [.text(id), .text(publicKey)])
            guard taken.count == 0 else { throw StoreError.idTaken }
            let rows = try connection.run("UPDATE hosts SET public_key = $1 WHERE id = $2", [.text(publicKey), .text(id)])
            guard rows.changed == 1 else { throw StoreError.notFound }
        }
    }

    public func removeHost(_ id: String) async throws {
        defer { tellOthers(.accounts) }
        let now = settings.clocks.wall().milliseconds
        try await pool.transaction { connection in
            try connection.run("UPDATE keys SET revoked = $1 WHERE host = $2 AND revoked IS NULL", [.int(now), .text(id)])
            try connection.run("DELETE FROM hosts WHERE id = $1", [.text(id)])
        }
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

    public func addKey(_ key: NewKey, account: String) async throws -> KeyRecord {
        defer { tellOthers(.accounts) }
        let now = settings.clocks.wall().milliseconds
        return try await pool.transaction { connection in
            try connection.run(
                "INSERT INTO accounts (name, created) VALUES ($1, $2) ON CONFLICT DO NOTHING", [.text(account), .int(now)])
            guard let number = try connection.run("SELECT id FROM accounts WHERE name = $1", [.text(account)]).first?.int(0)
            else {
                throw StoreError.notFound
            }
            try Self.insert(connection, key, account: number, host: nil, now: now)
            return KeyRecord(
                id: key.id, hash: key.hash, account: number, accountName: account, name: key.name, scopes: key.scopes, host: nil,
                created: Timestamp(milliseconds: now), revoked: nil, details: key.details)
        }
    }

    private static func insert(
        _ connection: PostgresConnection, _ key: NewKey, account: Int64, host: String?, now: Int64
    ) throws {
        // The hash is of 256 random bits: the same one again is this very write, whose COMMIT was not answered.
        try connection.run(
            "INSERT INTO keys (hash, id, account, name, scopes, host, created, details) VALUES ($1,$2,$3,$4,$5,$6,$7,$8) "
                + "ON CONFLICT (hash) DO NOTHING",
            [
                .bytes(key.hash), .text(key.id), .int(account), .text(key.name),
                .text(KeyRecord.text(key.scopes)), .text(host), .int(now), .text(try SQLiteRows.text(key.details)),
            ])
    }

    public func addHost(
        _ host: HostRecord, slots: Int?, capabilities: HostCapabilities?, key: NewKey
    ) async throws -> HostRecord {
        defer { tellOthers(.accounts) }
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
            try connection.run(
                "UPDATE keys SET revoked = $1 WHERE host = $2 AND revoked IS NULL AND hash <> $3",
                [.int(now), .text(id), .bytes(key.hash)])
            try Self.insert(connection, key, account: host.account, host: id, now: now)
            return HostRecord(
                id: id, account: host.account, name: host.name, publicKey: host.publicKey, registeredBy: host.registeredBy)
        }
    }
}
