import CargoWire
import FoundationEssentials

/// Accounts that lend each other their hosts; one small record.
struct Group: Hashable, Sendable, Codable {
    struct Member: Hashable, Sendable, Codable {
        var account: Int64
        var name: String
    }

    /// So that a group stays a small record.
    static let mostMembers = 500
    static let mostHosts = 500
    /// An account's groups are written into each of its jobs.
    static let mostOfAnAccount = 32

    var id: String
    var name: String
    var owner: Int64
    /// Milliseconds since 1970.
    var created: Int64
    var members: [Member]
    var hosts: [String]

    func has(_ account: Int64) -> Bool { members.contains { $0.account == account } }

    var view: GroupView {
        GroupView(
            id: id, name: name, members: members.map { .init(account: $0.name, owner: $0.account == owner) }, hosts: hosts,
            createdAt: Timestamp(milliseconds: created).text)
    }
}

/// What an invitation opens; found by the hash of its text.
struct Invitation: Hashable, Sendable, Codable {
    var group: String
    var until: Int64
    var uses: Int
    /// Who joined by it: a transaction that runs twice counts once.
    var joined: [Int64] = []
}
