public import CargoWire
public import FoundationEssentials

/// A key as a store keeps it: hashes of secrets, never a secret.
public struct KeyRecord: Hashable, Sendable {
    /// What was added to keys later, kept as one JSON text.
    public struct Details: Hashable, Sendable, Codable {
        /// The secret before a rotation, good for a while (milliseconds since 1970).
        public struct Former: Hashable, Sendable, Codable {
            public var hash: Data
            public var until: Int64
        }

        public var expires: Int64?
        public var policy: KeyPolicy?
        public var former: Former?

        public init(expires: Timestamp? = nil, policy: KeyPolicy? = nil) {
            self.expires = expires?.milliseconds
            self.policy = policy
        }
    }

    public var id: String
    public var hash: Data
    public var account: Int64
    public var accountName: String
    public var name: String
    public var scopes: Set<Scope>
    public var host: String?
    public var created: Timestamp
    public var revoked: Timestamp?
    public var details: Details

    public init(
        id: String, hash: Data, account: Int64, accountName: String, name: String, scopes: Set<Scope>, host: String?,
        created: Timestamp, revoked: Timestamp?, details: Details
    ) {
        self.id = id
        self.hash = hash
        self.account = account
        self.accountName = accountName
        self.name = name
        self.scopes = scopes
        self.host = host
        self.created = created
        self.revoked = revoked
        self.details = details
    }

    public var principal: Principal {
        Principal(account: account, keyID: id, scopes: scopes, host: host, policy: details.policy ?? KeyPolicy())
    }

    static func scopes(_ text: String) -> Set<Scope> {
        Set(text.split(separator: ",").compactMap { Scope(rawValue: String($0)) })
    }

    static func text(_ scopes: Set<Scope>) -> String { scopes.map(\.rawValue).sorted().joined(separator: ",") }
}

/// A small document beside the jobs: groups, invitations, pairings, usage. What kinds there are is their owners' business.
public struct SmallRecord: Hashable, Sendable {
    public var kind: String
    public var id: String
    public var account: Int64
    /// JSON, at most 64 KiB.
    public var value: Data

    public init(kind: String, id: String, account: Int64, value: Data) {
        self.kind = kind
        self.id = id
        self.account = account
        self.value = value
    }

    /// Records of one answer at most.
    public static let mostListed = 100_000
}

/// Small documents, durable; each change reads and writes one of them in one transaction.
public protocol RecordStore: Sendable {
    /// In the order of their ids; `from` is the first that may be listed, `until` the first that may not.
    func records(_ kind: String, account: Int64?, from: String, until: String?) async throws -> [SmallRecord]
    /// Replaces the document by what `change` makes of it (nil: there is none, or there shall be none). What it throws is
    /// thrown, and nothing changes. It may run twice, and must give the same for the same.
    @discardableResult
    func change(
        _ kind: String, _ id: String, account: Int64, _ change: @escaping @Sendable (Data?) throws -> Data?
    ) async throws -> Data?
}
