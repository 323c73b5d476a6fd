public import CargoArtifact

/// `POST /groups`.
public struct GroupRequest: Hashable, Sendable, Codable {
    public var name: String

    public init(name: String) { self.name = name }
}

/// A group as its members see it: accounts that lend each other their hosts.
public struct GroupView: Hashable, Sendable, Codable {
    public struct Member: Hashable, Sendable, Codable {
        /// The account's name.
        public var account: String
        public var owner: Bool

        public init(account: String, owner: Bool) {
            self.account = account
            self.owner = owner
        }
    }

    public var id: String
    public var name: String
    public var members: [Member]
    /// Ids of the hosts that serve it.
    public var hosts: [String]
    /// RFC 3339, UTC.
    public var createdAt: String

    public init(id: String, name: String, members: [Member], hosts: [String], createdAt: String) {
        self.id = id
        self.name = name
        self.members = members
        self.hosts = hosts
        self.createdAt = createdAt
    }

    enum CodingKeys: String, CodingKey {
        case id, name, members, hosts
        case createdAt = "created_at"
    }
}

/// `GET /groups`.
public struct GroupList: Hashable, Sendable, Codable {
    public var groups: [GroupView]

    public init(groups: [GroupView]) { self.groups = groups }
}

/// `POST /groups/{id}/invites`: seven days and one use by default.
public struct InviteRequest: Hashable, Sendable, Codable {
    public var seconds: Seconds?
    public var uses: Int?

    public init(seconds: Seconds? = nil, uses: Int? = nil) {
        self.seconds = seconds
        self.uses = uses
    }
}

/// An invitation: whoever has its text may join. Shown once.
public struct Invite: Hashable, Sendable, Codable {
    public var invite: String
    public var group: String
    public var uses: Int
    public var expiresAt: String

    public init(invite: String, group: String, uses: Int, expiresAt: String) {
        self.invite = invite
        self.group = group
        self.uses = uses
        self.expiresAt = expiresAt
    }

    enum CodingKeys: String, CodingKey {
        case invite, group, uses
        case expiresAt = "expires_at"
    }
}

/// `POST /groups/join`.
public struct JoinRequest: Hashable, Sendable, Codable {
    public var invite: String

    public init(invite: String) { self.invite = invite }
}

/// `PATCH /hosts/{id}`: `open` lets everyone's jobs run there, else those of its own account and its groups alone.
public struct HostSharing: Hashable, Sendable, Codable {
    public var open: Bool

    public init(open: Bool) { self.open = open }
}
