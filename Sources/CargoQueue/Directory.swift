public import CargoWire
import Crypto
import Foundation
import GRDB
import Synchronization

/// Who presents a token, and what it may do.
public struct Principal: Hashable, Sendable {
    public let account: Int64
    public let keyID: String
    public let scopes: Set<Scope>
    /// The host whose own token it is; such a token may do nothing but a host's work.
    public let host: String?

    public func may(_ scope: Scope) -> Bool { scopes.contains(scope) || scopes.contains(.admin) }
}

/// A host as it registered.
public struct HostRecord: Hashable, Sendable {
    public let id: String
    public let account: Int64
    public let name: String
    public let publicKey: String?
    /// The key that registered it: plain scripts use that one key for everything.
    public let registeredBy: String
}

/// A token that was just made: the only moment at which it is known in clear.
public struct MintedKey: Hashable, Sendable {
    public let id: String
    public let token: String
}

/// Accounts, API keys and hosts. Keys are held in memory by their hash, so that a request costs no read;
/// as many as an operator makes.
public final class Directory: Sendable {
    private let writer: GroupCommit
    private let clocks: Clocks
    private let keys: Mutex<[Data: Principal]>
    private let hosts: Mutex<[String: HostRecord]>

    public init(store: SQLiteJobStore) throws {
        writer = store.writer
        clocks = store.settings.clocks
        let (keys, hosts) = try store.database.read { database in
            var keys: [Data: Principal] = [:]
            for row in try Row.fetchAll(
                database, sql: "SELECT hash, id, account, scopes, host FROM keys WHERE revoked IS NULL")
            {
                let scopes: String = row[3]
                keys[row[0]] = Principal(
                    account: row[2], keyID: row[1],
                    scopes: Set(scopes.split(separator: ",").compactMap { Scope(rawValue: String($0)) }),
                    host: row[4])
            }
            var hosts: [String: HostRecord] = [:]
            for row in try Row.fetchAll(database, sql: "SELECT id, account, name, public_key, registered_by FROM hosts") {
                let host = HostRecord(id: row[0], account: row[1], name: row[2], publicKey: row[3], registeredBy: row[4])
                hosts[host.id] = host
            }
            return (keys, hosts)
        }
        self.keys = Mutex(keys)
        self.hosts = Mutex(hosts)
    }

    public var isEmpty: Bool { keys.withLock { $0.isEmpty } }

    static func hash(_ token: String) -> Data { Data(SHA256.hash(data: Data(token.utf8))) }

    /// The principal of a token; found by its hash, so how long it takes says nothing about other tokens.
    public func authenticate(_ token: String) -> Principal? {
        let hash = Self.hash(token)
        return keys.withLock { $0[hash] }
    }

    public func host(_ id: String) -> HostRecord? { hosts.withLock { $0[id] } }

    /// The hosts of an account that an account key may act for, by id.
    public func hosts(of account: Int64) -> [HostRecord] {
        hosts.withLock { $0.values.filter { $0.account == account } }.sorted { $0.id < $1.id }
    }

    /// Makes a key, and its account where the name is new.
    public func createKey(name: String, scopes: Set<Scope>, account: String) async throws -> MintedKey {
        let token = "ls_" + Self.secret()
        let hash = Self.hash(token)
        let id = "key_" + SQLiteJobStore.randomToken().prefix(16)
        let now = clocks.wall()
        let list = scopes.map(\.rawValue).sorted().joined(separator: ",")
        try await writer.perform { [self] database, effects in
            try database.execute(
                sql: "INSERT OR IGNORE INTO accounts (name, created) VALUES (?, ?)", arguments: [account, now.milliseconds])
            guard let number = try Int64.fetchOne(database, sql: "SELECT id FROM accounts WHERE name = ?", arguments: [account])
            else { throw StoreError.notFound }
            try database.execute(
                sql: "INSERT INTO keys (hash, id, account, name, scopes, created) VALUES (?,?,?,?,?,?)",
                arguments: [hash, id, number, name, list, now.milliseconds])
            let principal = Principal(account: number, keyID: id, scopes: scopes, host: nil)
            effects.append { [self] in keys.withLock { $0[hash] = principal } }
        }
        return MintedKey(id: id, token: token)
    }

    /// Makes a host known and gives it a token of its own; the same public key gives the same host again.
    public func registerHost(_ registration: HostRegistration, by principal: Principal) async throws -> RegisteredHost {
        let token = "lsh_" + Self.secret()
        let hash = Self.hash(token)
        let fresh = "host_" + SQLiteJobStore.randomToken()
        let keyID = "key_" + SQLiteJobStore.randomToken().prefix(16)
        let now = clocks.wall()
        let capabilities = try SQLiteRows.text(registration.capabilities)
        return try await writer.perform { [self] database, effects in
            var id = fresh
            if let publicKey = registration.publicKey,
                let known = try String.fetchOne(
                    database, sql: "SELECT id FROM hosts WHERE account = ? AND public_key = ?",
                    arguments: [principal.account, publicKey])
            {
                id = known
                try database.execute(
                    sql: "UPDATE hosts SET name = ?, slots = ?, capabilities = ?, registered_by = ? WHERE id = ?",
                    arguments: [registration.name, registration.slots, capabilities, principal.keyID, id])
            } else {
                try database.execute(
                    sql: "INSERT INTO hosts (id, account, registered_by, name, public_key, slots, capabilities, created) "
                        + "VALUES (?,?,?,?,?,?,?,?)",
                    arguments: [
                        id, principal.account, principal.keyID, registration.name, registration.publicKey, registration.slots,
                        capabilities, now.milliseconds,
                    ])
            }
            try database.execute(
                sql: "INSERT INTO keys (hash, id, account, name, scopes, host, created) VALUES (?,?,?,?,?,?,?)",
                arguments: [hash, keyID, principal.account, registration.name, Scope.host.rawValue, id, now.milliseconds])
            let record = HostRecord(
                id: id, account: principal.account, name: registration.name, publicKey: registration.publicKey,
                registeredBy: principal.keyID)
            let own = Principal(account: principal.account, keyID: keyID, scopes: [.host], host: id)
            effects.append { [self] in
                keys.withLock { $0[hash] = own }
                hosts.withLock { $0[record.id] = record }
            }
            return RegisteredHost(id: id, name: registration.name, token: token)
        }
    }

    /// 256 random bits, URL-safe.
    private static func secret() -> String {
        hexadecimal((0..<32).map { _ in UInt8.random(in: .min ... .max) })
    }
}
