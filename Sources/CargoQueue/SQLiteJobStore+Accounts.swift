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

    public func principals() async throws -> [Data: Principal] {
        try await database.read { database in
            var principals: [Data: Principal] = [:]
            let rows = try Row.fetchCursor(
                database, sql: "SELECT hash, id, account, scopes, host FROM keys WHERE revoked IS NULL")
            while let row = try rows.next() { principals[row[0]] = Self.principal(row) }
            return principals
        }
    }

    public func principal(_ hash: Data) async throws -> Principal? {
        try await database.read { database in
            try Row.fetchOne(
                database, sql: "SELECT hash, id, account, scopes, host FROM keys WHERE hash = ? AND revoked IS NULL",
                arguments: [hash]
            ).map(Self.principal)
        }
    }

    private static func principal(_ row: Row) -> Principal {
        let scopes: String = row[3]
        return Principal(
            account: row[2], keyID: row[1], scopes: Set(scopes.split(separator: ",").compactMap { Scope(rawValue: String($0)) }),
            host: row[4])
    }

    public func hosts() async throws -> [HostRecord] {
        try await database.read { database in
            try Row.fetchAll(database, sql: "SELECT id, account, name, public_key, registered_by FROM hosts").map { row in
                HostRecord(id: row[0], account: row[1], name: row[2], publicKey: row[3], registeredBy: row[4])
            }
        }
    }

    public func addKey(_ key: NewKey, account: String) async throws -> Principal {
        let now = settings.clocks.wall().milliseconds
        return try await writer.perform { database, _ in
            try database.execute(
                sql: "INSERT OR IGNORE INTO accounts (name, created) VALUES (?, ?)", arguments: [account, now])
            guard let number = try Int64.fetchOne(database, sql: "SELECT id FROM accounts WHERE name = ?", arguments: [account])
            else { throw StoreError.notFound }
            try Self.insert(database, key, account: number, host: nil, now: now)
            return Principal(account: number, keyID: key.id, scopes: key.scopes, host: nil)
        }
    }

    private static func insert(_ database: Database, _ key: NewKey, account: Int64, host: String?, now: Int64) throws {
        try database.execute(
            sql: "INSERT INTO keys (hash, id, account, name, scopes, host, created) VALUES (?,?,?,?,?,?,?)",
            arguments: [
                key.hash, key.id, account, key.name, key.scopes.map(\.rawValue).sorted().joined(separator: ","), host, now,
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
