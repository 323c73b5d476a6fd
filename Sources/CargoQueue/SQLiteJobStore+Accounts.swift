public import CargoWire
public import Foundation
import GRDB

/// Accounts, keys and hosts in the same database, written through the same commits.
extension SQLiteJobStore {
    public func secret(_ name: String, making fresh: String) async throws -> String {
        try await writer.perform { database, _ in
            try database.execute(sql: "INSERT OR IGNORE INTO secrets (name, value) VALUES (?, ?)", arguments: [name, fresh])
            return try String.fetchOne(database, sql: "SELECT value FROM secrets WHERE name = ?", arguments: [name]) ?? fresh
        }
    }

    public func keys(of account: Int64?, revoked: Bool) async throws -> [KeyRecord] {
        try await database.read { database in
            try Row.fetchAll(
                database,
                sql: "SELECT k.id, k.hash, k.account, a.name, k.name, k.scopes, k.host, k.created, k.revoked, k.details "
                    + "FROM keys k JOIN accounts a ON a.id = k.account WHERE (? IS NULL OR k.account = ?) "
                    + "AND (? OR k.revoked IS NULL) ORDER BY k.created, k.id LIMIT 1000000",
                arguments: [account, account, revoked]
            ).map { row in
                let revokedAt: Int64? = row[8]
                return KeyRecord(
                    id: row[0], hash: row[1], account: row[2], accountName: row[3], name: row[4],
                    scopes: KeyRecord.scopes(row[5]), host: row[6], created: Timestamp(milliseconds: row[7]),
                    revoked: revokedAt.map(Timestamp.init(milliseconds:)),
                    details: try SQLiteRows.decode(KeyRecord.Details.self, row[9]) ?? KeyRecord.Details())
            }
        }
    }

    public func changeKey(_ id: String, hash: Data, details: KeyRecord.Details) async throws {
        let details = try SQLiteRows.text(details)
        try await writer.perform { database, _ in
            try database.execute(
                sql: "UPDATE keys SET hash = ?, details = ? WHERE id = ? AND revoked IS NULL", arguments: [hash, details, id])
            guard database.changesCount == 1 else { throw StoreError.notFound }
        }
    }

    public func revokeKey(_ id: String) async throws {
        let now = settings.clocks.wall().milliseconds
        try await writer.perform { database, _ in
            try database.execute(sql: "UPDATE keys SET revoked = ? WHERE id = ? AND revoked IS NULL", arguments: [now, id])
        }
    }

    public func changeHost(_ id: String, publicKey: String) async throws {
        try await writer.perform { database, _ in
            do {
                try database.execute(sql: "UPDATE hosts SET public_key = ? WHERE id = ?", arguments: [publicKey, id])
            } catch let error as DatabaseError where error.resultCode == .SQLITE_CONSTRAINT {
                throw StoreError.idTaken
            }
            guard database.changesCount == 1 else { throw StoreError.notFound }
        }
    }

    public func removeHost(_ id: String) async throws {
        let now = settings.clocks.wall().milliseconds
        try await writer.perform { database, _ in
            try database.execute(sql: "UPDATE keys SET revoked = ? WHERE host = ? AND revoked IS NULL", arguments: [now, id])
            try database.execute(sql: "DELETE FROM hosts WHERE id = ?", arguments: [id])
        }
    }

    public func hosts() async throws -> [HostRecord] {
        try await database.read { database in
            try Row.fetchAll(database, sql: "SELECT id, account, name, public_key, registered_by FROM hosts").map { row in
                HostRecord(id: row[0], account: row[1], name: row[2], publicKey: row[3], registeredBy: row[4])
            }
        }
    }

    public func addKey(_ key: NewKey, account: String) async throws -> KeyRecord {
        let now = settings.clocks.wall().milliseconds
        return try await writer.perform { database, _ in
            try database.execute(
                sql: "INSERT OR IGNORE INTO accounts (name, created) VALUES (?, ?)", arguments: [account, now])
            guard let number = try Int64.fetchOne(database, sql: "SELECT id FROM accounts WHERE name = ?", arguments: [account])
            else { throw StoreError.notFound }
            try Self.insert(database, key, account: number, host: nil, now: now)
            return KeyRecord(
                id: key.id, hash: key.hash, account: number, accountName: account, name: key.name, scopes: key.scopes, host: nil,
                created: Timestamp(milliseconds: now), revoked: nil, details: key.details)
        }
    }

    private static func insert(_ database: Database, _ key: NewKey, account: Int64, host: String?, now: Int64) throws {
        try database.execute(
            sql: "INSERT INTO keys (hash, id, account, name, scopes, host, created, details) VALUES (?,?,?,?,?,?,?,?)",
            arguments: [
                key.hash, key.id, account, key.name, KeyRecord.text(key.scopes), host, now, try SQLiteRows.text(key.details),
            ])
    }

    public func addHost(
        _ host: HostRecord, slots: Int?, capabilities: HostCapabilities?, key: NewKey
    ) async throws -> HostRecord {
        let now = settings.clocks.wall().milliseconds
        let capabilities = try SQLiteRows.text(capabilities)
        return try await writer.perform { database, _ in
            var id = host.id
            if let publicKey = host.publicKey,
                let known = try String.fetchOne(
                    database, sql: "SELECT id FROM hosts WHERE account = ? AND public_key = ?",
                    arguments: [host.account, publicKey])
            {
                id = known
                try database.execute(
                    sql: "UPDATE hosts SET name = ?, slots = ?, capabilities = ?, registered_by = ? WHERE id = ?",
                    arguments: [host.name, slots, capabilities, host.registeredBy, id])
                try database.execute(
                    sql: "UPDATE keys SET revoked = ? WHERE host = ? AND revoked IS NULL", arguments: [now, id])
            } else {
                try database.execute(
                    sql: "INSERT INTO hosts (id, account, registered_by, name, public_key, slots, capabilities, created) "
                        + "VALUES (?,?,?,?,?,?,?,?)",
                    arguments: [id, host.account, host.registeredBy, host.name, host.publicKey, slots, capabilities, now])
            }
            try Self.insert(database, key, account: host.account, host: id, now: now)
            return HostRecord(
                id: id, account: host.account, name: host.name, publicKey: host.publicKey, registeredBy: host.registeredBy)
        }
    }
}
