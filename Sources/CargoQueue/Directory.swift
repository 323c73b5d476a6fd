public import CargoWire
import Crypto
import Foundation
import Synchronization

/// Who presents a token, and what it may do.
public struct Principal: Hashable, Sendable {
    public let account: Int64
    public let keyID: String
    public let scopes: Set<Scope>
    /// The host whose own token it is; such a token may do nothing but a host's work.
    public let host: String?

    public init(account: Int64, keyID: String, scopes: Set<Scope>, host: String?) {
        self.account = account
        self.keyID = keyID
        self.scopes = scopes
        self.host = host
    }

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

    public init(id: String, account: Int64, name: String, publicKey: String?, registeredBy: String) {
        self.id = id
        self.account = account
        self.name = name
        self.publicKey = publicKey
        self.registeredBy = registeredBy
    }
}

/// A token that was just made: the only moment at which it is known in clear.
public struct MintedKey: Hashable, Sendable {
    public let id: String
    public let token: String
}

/// Accounts, API keys and hosts. Keys are held in memory by their hash, so that a request costs no read;
/// as many as an operator makes.
public final class Directory: Sendable {
    private let store: any AccountStore
    private let keys: Mutex<[Data: Principal]>
    private let known: Mutex<[String: HostRecord]>

    /// A secret of the coordinator itself, made at the first call, the same for all that share the store.
    public func secret(_ name: String, making fresh: String) async throws -> String {
        try await store.secret(name, making: fresh)
    }

    public init(store: any AccountStore) async throws {
        self.store = store
        keys = Mutex(try await store.principals())
        known = Mutex(Dictionary(uniqueKeysWithValues: try await store.hosts().map { ($0.id, $0) }))
    }

    static func hash(_ token: String) -> Data { Data(SHA256.hash(data: Data(token.utf8))) }

    /// The principal of a token; found by its hash, so how long it takes says nothing about other tokens.
    public func authenticate(_ token: String) -> Principal? {
        let hash = Self.hash(token)
        return keys.withLock { $0[hash] }
    }

    public func host(_ id: String) -> HostRecord? { known.withLock { $0[id] } }

    /// The hosts of an account that an account key may act for, by id.
    public func hosts(of account: Int64) -> [HostRecord] {
        known.withLock { $0.values.filter { $0.account == account } }.sorted { $0.id < $1.id }
    }

    /// Makes a key, and its account where the name is new.
    public func createKey(name: String, scopes: Set<Scope>, account: String) async throws -> MintedKey {
        let (key, token) = Self.mint(prefix: "ls_", name: name, scopes: scopes)
        let principal = try await store.addKey(key, account: account)
        keys.withLock { $0[key.hash] = principal }
        return MintedKey(id: key.id, token: token)
    }

    /// Makes a host known and gives it a token of its own; the same public key gives the same host again.
    public func registerHost(_ registration: HostRegistration, by principal: Principal) async throws -> RegisteredHost {
        let (key, token) = Self.mint(prefix: "lsh_", name: registration.name, scopes: [.host])
        let asked = HostRecord(
            id: "host_" + RandomText.hexadecimal(bytes: 16), account: principal.account, name: registration.name,
            publicKey: registration.publicKey, registeredBy: principal.keyID)
        let host = try await store.addHost(
            asked, slots: registration.slots, capabilities: registration.capabilities, key: key)
        let own = Principal(account: host.account, keyID: key.id, scopes: [.host], host: host.id)
        keys.withLock { $0[key.hash] = own }
        known.withLock { $0[host.id] = host }
        return RegisteredHost(id: host.id, name: host.name, token: token)
    }

    /// A token of 256 random bits and what is kept of it.
    private static func mint(prefix: String, name: String, scopes: Set<Scope>) -> (NewKey, token: String) {
        let token = prefix + RandomText.hexadecimal(bytes: 32)
        let key = NewKey(id: "key_" + RandomText.hexadecimal(bytes: 8), hash: hash(token), name: name, scopes: scopes)
        return (key, token)
    }
}

/// Unguessable text from the system's random source.
enum RandomText {
    static func hexadecimal(bytes: Int) -> String {
        CargoQueue.hexadecimal((0..<bytes).map { _ in UInt8.random(in: .min ... .max) })
    }
}
