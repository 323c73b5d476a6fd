public import CargoArtifact
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
    public let policy: KeyPolicy

    public init(account: Int64, keyID: String, scopes: Set<Scope>, host: String?, policy: KeyPolicy = KeyPolicy()) {
        self.account = account
        self.keyID = keyID
        self.scopes = scopes
        self.host = host
        self.policy = policy
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
    public let record: KeyRecord
    public let token: String
    public var id: String { record.id }
}

/// Accounts, API keys and hosts. Keys are held in memory by their hash, so that a request costs no read;
/// as many as an operator makes.
public final class Directory: Sendable {
    private struct Known {
        var record: KeyRecord
        var lastUsed: Timestamp?
        /// What of it the store has.
        var kept: Timestamp?
    }

    private struct Ring {
        var byID: [String: Known] = [:]
        /// Hashes of secrets, former ones included.
        var byHash: [Data: String] = [:]

        mutating func add(_ record: KeyRecord) {
            remove(record.id)
            byID[record.id] = Known(record: record)
            byHash[record.hash] = record.id
            if let former = record.details.former { byHash[former.hash] = record.id }
        }

        mutating func remove(_ id: String) {
            guard let known = byID.removeValue(forKey: id) else { return }
            byHash[known.record.hash] = nil
            if let former = known.record.details.former { byHash[former.hash] = nil }
        }
    }

    private static let usedKind = "key used"

    private let store: any AccountStore
    private let clocks: Clocks
    private let ring: Mutex<Ring>
    private let known: Mutex<[String: HostRecord]>

    /// A secret of the coordinator itself, made at the first call, the same for all that share the store.
    public func secret(_ name: String, making fresh: String) async throws -> String {
        try await store.secret(name, making: fresh)
    }

    public init(store: any AccountStore, clocks: Clocks = Clocks()) async throws {
        self.store = store
        self.clocks = clocks
        var ring = Ring()
        for record in try await store.keys(of: nil, revoked: false) { ring.add(record) }
        for used in try await store.records(Self.usedKind, account: nil, from: "", until: nil) {
            guard let time = try? JSONDecoder().decode(Int64.self, from: used.value) else { continue }
            ring.byID[used.id]?.lastUsed = Timestamp(milliseconds: time)
            ring.byID[used.id]?.kept = Timestamp(milliseconds: time)
        }
        self.ring = Mutex(ring)
        known = Mutex(Dictionary(uniqueKeysWithValues: try await store.hosts().map { ($0.id, $0) }))
    }

    /// Takes over what other coordinators on the same store have changed since.
    public func refresh() async throws {
        let records = try await store.keys(of: nil, revoked: false)
        let hosts = try await store.hosts()
        ring.withLock { ring in
            let current = Set(records.map(\.id))
            for id in Array(ring.byID.keys) where !current.contains(id) { ring.remove(id) }
            for record in records where ring.byID[record.id]?.record != record {
                let used = ring.byID[record.id]?.lastUsed
                ring.add(record)
                ring.byID[record.id]?.lastUsed = used
            }
        }
        known.withLock { $0 = Dictionary(uniqueKeysWithValues: hosts.map { ($0.id, $0) }) }
    }

    static func hash(_ token: String) -> Data { Data(SHA256.hash(data: Data(token.utf8))) }

    /// The principal of a token; found by its hash, so how long it takes says nothing about other tokens.
    public func authenticate(_ token: String) -> Principal? {
        let hash = Self.hash(token)
        let now = clocks.wall()
        return ring.withLock { ring in
            guard let id = ring.byHash[hash], let record = ring.byID[id]?.record else { return nil }
            if let expires = record.details.expires, expires <= now.milliseconds { return nil }
            if record.hash != hash, record.details.former?.until ?? 0 <= now.milliseconds { return nil }
            ring.byID[id]?.lastUsed = now
            return record.principal
        }
    }

    /// Whether a key that was good a moment ago still is: it was not revoked, its time is not over.
    public func lives(_ key: String) -> Bool {
        guard let record = ring.withLock({ $0.byID[key]?.record }) else { return false }
        return record.details.expires.map { $0 > clocks.wall().milliseconds } ?? true
    }

    // MARK: Keys

    /// Makes a key, and its account where the name is new.
    public func createKey(
        name: String, scopes: Set<Scope>, account: String, details: KeyRecord.Details = KeyRecord.Details()
    ) async throws -> MintedKey {
        let (key, token) = Self.mint(prefix: "ls_", name: name, scopes: scopes, details: details)
        let record = try await store.addKey(key, account: account)
        ring.withLock { $0.add(record) }
        return MintedKey(record: record, token: token)
    }

    /// The keys of an account that live, and those that were revoked; a host's own are among them.
    public func keys(of account: Int64) async throws -> [(KeyRecord, lastUsed: Timestamp?)] {
        let records = try await store.keys(of: account, revoked: true)
        return ring.withLock { ring in records.map { ($0, ring.byID[$0.id]?.lastUsed) } }
    }

    /// A key that lives; nil for those of other accounts.
    public func key(_ id: String, of account: Int64) -> KeyRecord? {
        ring.withLock { $0.byID[id]?.record }.flatMap { $0.account == account ? $0 : nil }
    }

    /// The account of this name, when one of its keys lives.
    public func account(named name: String) -> Int64? {
        ring.withLock { $0.byID.values.first { $0.record.accountName == name }?.record.account }
    }

    public func accountName(_ account: Int64) -> String? {
        ring.withLock { $0.byID.values.first { $0.record.account == account }?.record.accountName }
    }

    /// A new secret for a key; the old one is good for so many seconds more. Nil for a key that was revoked meanwhile.
    public func rotateKey(_ record: KeyRecord, overlap: Double) async throws -> MintedKey? {
        let token = (record.host == nil ? "ls_" : "lsh_") + RandomText.hexadecimal(bytes: 32)
        var next = record
        next.hash = Self.hash(token)
        next.details.former =
            overlap > 0
            ? KeyRecord.Details.Former(hash: record.hash, until: clocks.wall().advanced(bySeconds: overlap).milliseconds) : nil
        try await store.changeKey(record.id, hash: next.hash, details: next.details)
        let lives = ring.withLock { [next] ring in
            // What was revoked while the store wrote must not come back.
            guard let known = ring.byID[next.id] else { return false }
            ring.add(next)
            ring.byID[next.id]?.lastUsed = known.lastUsed
            ring.byID[next.id]?.kept = known.kept
            return true
        }
        return lives ? MintedKey(record: next, token: token) : nil
    }

    public func revokeKey(_ id: String) async throws {
        try await store.revokeKey(id)
        ring.withLock { $0.remove(id) }
    }

    /// Writes down when keys were used, to the minute.
    public func flushLastUses() async throws {
        let due = ring.withLock { ring in
            ring.byID.values.compactMap { known -> (String, Int64, Int64)? in
                guard let used = known.lastUsed, used.milliseconds - (known.kept?.milliseconds ?? 0) >= 60_000 else { return nil }
                return (known.record.id, known.record.account, used.milliseconds)
            }
        }
        for (id, account, used) in due {
            try await store.change(Self.usedKind, id, account: account) { _ in try JSONEncoder().encode(used) }
            ring.withLock { $0.byID[id]?.kept = Timestamp(milliseconds: used) }
        }
    }

    // MARK: Hosts

    /// Accounts that have a key.
    public var accountCount: Int { ring.withLock { Set($0.byID.values.map(\.record.account)).count } }

    public func host(_ id: String) -> HostRecord? { known.withLock { $0[id] } }

    /// Everyone's, by id.
    public var allHosts: [HostRecord] { known.withLock { Array($0.values) }.sorted { $0.id < $1.id } }

    /// The hosts of an account that an account key may act for, by id.
    public func hosts(of account: Int64) -> [HostRecord] {
        known.withLock { $0.values.filter { $0.account == account } }.sorted { $0.id < $1.id }
    }

    /// Makes a host known and gives it a token of its own; the same public key gives the same host again, and its former
    /// tokens end.
    public func registerHost(_ registration: HostRegistration, by principal: Principal) async throws -> RegisteredHost {
        let (key, token) = Self.mint(prefix: "lsh_", name: registration.name, scopes: [.host], details: KeyRecord.Details())
        let asked = HostRecord(
            id: "host_" + RandomText.hexadecimal(bytes: 16), account: principal.account, name: registration.name,
            publicKey: registration.publicKey, registeredBy: principal.keyID)
        let host = try await store.addHost(
            asked, slots: registration.slots, capabilities: registration.capabilities, key: key)
        let record = KeyRecord(
            id: key.id, hash: key.hash, account: host.account, accountName: accountName(host.account) ?? "", name: key.name,
            scopes: [.host], host: host.id, created: clocks.wall(), revoked: nil, details: key.details)
        ring.withLock { ring in
            for known in ring.byID.values where known.record.host == host.id { ring.remove(known.record.id) }
            ring.add(record)
        }
        known.withLock { $0[host.id] = host }
        try await keepSealing(registration.sealing, of: host.id, account: host.account)
        return RegisteredHost(id: host.id, name: host.name, token: token)
    }

    /// Gives a host a new identity, and what that says of its sealing key; its tokens stay as they are.
    public func changeHost(_ id: String, publicKey: String, sealing: JSONValue? = nil) async throws {
        try await store.changeHost(id, publicKey: publicKey)
        // What the old identity vouched for counts no more.
        try await keepSealing(sealing, of: id, account: known.withLock { $0[id]?.account } ?? 0)
        known.withLock { known in
            guard let old = known[id] else { return }
            known[id] = HostRecord(
                id: old.id, account: old.account, name: old.name, publicKey: publicKey, registeredBy: old.registeredBy)
        }
    }

    /// What a host's identity signed for its sealing key.
    public func sealing(of host: String) async throws -> JSONValue? {
        let record = try await store.records(Self.sealingKind, account: nil, from: host, until: host + "!").first
        return try record.map { try JSONDecoder().decode(JSONValue.self, from: $0.value) }
    }

    private static let sealingKind = "host-sealing"

    private func keepSealing(_ statement: JSONValue?, of host: String, account: Int64) async throws {
        try await store.change(Self.sealingKind, host, account: account) { _ in try statement.map { try JSONEncoder().encode($0) }
        }
    }

    /// Forgets a host: its tokens end at once, its leases at their time.
    public func removeHost(_ id: String) async throws {
        try await store.removeHost(id)
        try await keepSealing(nil, of: id, account: known.withLock { $0[id]?.account } ?? 0)
        known.withLock { $0[id] = nil }
        ring.withLock { ring in
            for known in ring.byID.values where known.record.host == id { ring.remove(known.record.id) }
        }
    }

    /// A token of 256 random bits and what is kept of it.
    private static func mint(
        prefix: String, name: String, scopes: Set<Scope>, details: KeyRecord.Details
    ) -> (NewKey, token: String) {
        let token = prefix + RandomText.hexadecimal(bytes: 32)
        let key = NewKey(
            id: "key_" + RandomText.hexadecimal(bytes: 8), hash: hash(token), name: name, scopes: scopes, details: details)
        return (key, token)
    }
}

/// Unguessable text from the system's random source.
enum RandomText {
    static func hexadecimal(bytes: Int) -> String { CargoQueue.hexadecimal(PooledRandom.bytes(bytes)) }
}
