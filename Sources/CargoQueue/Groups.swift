public import CargoWire
import Crypto
import FoundationEssentials
import Synchronization

/// Who may use whose hosts: groups, their members and hosts, and hosts that are closed to everyone else. Held in memory,
/// so that a claim and a submit ask no store; as many as accounts make.
public final class Groups: Sendable {
    /// Why a change was not made.
    public enum Refused: Error, Hashable, Sendable {
        /// No such group of this account, no such member, or no such invitation.
        case notFound
        /// Only the owner may.
        case notOwner
        /// The owner stays to the end.
        case ownerStays
        case full(String)
    }

    private struct State {
        var groups: [String: Group] = [:]
        /// Hosts that not everyone may use, with their account.
        private(set) var closed: [String: Int64] = [:]
        /// How many of them each account has: each request asks for it.
        private(set) var closedCounts: [Int64: Int] = [:]
        // Both derived from `groups`.
        var ofAccount: [Int64: Set<String>] = [:]
        var ofHost: [String: Set<String>] = [:]

        mutating func close(_ host: String, of account: Int64?) {
            if let before = closed.removeValue(forKey: host), let count = closedCounts[before] {
                closedCounts[before] = count > 1 ? count - 1 : nil
            }
            closed[host] = account
            if let account { closedCounts[account, default: 0] += 1 }
        }

        mutating func close(all hosts: [(String, Int64)]) {
            (closed, closedCounts) = ([:], [:])
            for (host, account) in hosts { close(host, of: account) }
        }

        mutating func derive() {
            (ofAccount, ofHost) = ([:], [:])
            for group in groups.values {
                for member in group.members { ofAccount[member.account, default: []].insert(group.id) }
                for host in group.hosts { ofHost[host, default: []].insert(group.id) }
            }
        }
    }

    private static let groupKind = "group"
    private static let invitationKind = "group invitation"
    private static let closedKind = "closed host"

    private let store: any RecordStore
    private let clocks: Clocks
    private let state = Mutex(State())

    init(store: any RecordStore, clocks: Clocks) async throws {
        self.store = store
        self.clocks = clocks
        try await refresh()
    }

    /// Takes over what other coordinators on the same store have changed since.
    public func refresh() async throws {
        let groups = try await store.records(Self.groupKind, account: nil, from: "", until: nil)
            .map { try JSONDecoder().decode(Group.self, from: $0.value) }
        let closed = try await store.records(Self.closedKind, account: nil, from: "", until: nil)
        state.withLock { state in
            state.groups = Dictionary(groups.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
            state.close(all: closed.map { ($0.id, $0.account) })
            state.derive()
        }
    }

    // MARK: What claims and submits ask

    /// The circles that a host serves; nil when everyone.
    public func circles(ofHost host: String) -> [String]? {
        state.withLock { state in
            guard let account = state.closed[host] else { return nil }
            return [Audience.own(account)] + (state.ofHost[host] ?? []).sorted()
        }
    }

    /// Where an account's jobs may run: nil of one that has neither groups nor closed hosts.
    public func audience(of account: Int64) -> Audience? {
        let circles = circles(ofAccount: account)
        return circles.isEmpty ? nil : Audience(circles: circles)
    }

    /// The same for a job that names its group, by id or by the name of exactly one of the account's groups.
    public func audience(of account: Int64, group: String) throws -> Audience {
        let found = state.withLock { state in
            (state.ofAccount[account] ?? []).filter { $0 == group || state.groups[$0]?.name == group }
        }
        guard found.count == 1, let id = found.first else { throw Refused.notFound }
        return Audience(circles: [id], isExact: true)
    }

    private func circles(ofAccount account: Int64) -> Set<String> {
        state.withLock { state in
            var circles = state.ofAccount[account] ?? []
            if state.closedCounts[account] != nil { circles.insert(Audience.own(account)) }
            return circles
        }
    }

    /// Whether an account may still use a closed host: it may have left the group since its job was submitted.
    public func mayUse(_ host: String, _ account: Int64) -> Bool {
        guard let circles = circles(ofHost: host) else { return true }
        return circles.contains(Audience.own(account)) || !circles.allSatisfy { !self.circles(ofAccount: account).contains($0) }
    }

    // MARK: Groups

    public func groups(of account: Int64) -> [GroupView] {
        state.withLock { state in
            (state.ofAccount[account] ?? []).compactMap { state.groups[$0]?.view }
        }.sorted { $0.id < $1.id }
    }

    public func group(_ id: String, of account: Int64) throws -> GroupView { try member(id, account).view }

    private func member(_ id: String, _ account: Int64) throws -> Group {
        guard let group = state.withLock({ $0.groups[id] }), group.has(account) else { throw Refused.notFound }
        return group
    }

    public func create(named name: String, by account: Int64, accountName: String) async throws -> GroupView {
        guard state.withLock({ $0.ofAccount[account]?.count ?? 0 }) < Group.mostOfAnAccount else {
            throw Refused.full("An account is in at most \(Group.mostOfAnAccount) groups.")
        }
        let group = Group(
            id: "grp_" + RandomText.hexadecimal(bytes: 10), name: name, owner: account, created: clocks.wall().milliseconds,
            members: [.init(account: account, name: accountName)], hosts: [])
        try await change(group.id, account) { _ in group }
        return group.view
    }

    public func delete(_ id: String, by account: Int64) async throws {
        guard try member(id, account).owner == account else { throw Refused.notOwner }
        try await change(id, account) { _ in nil }
    }

    public func invite(to id: String, by account: Int64, seconds: Double, uses: Int) async throws -> Invite {
        let group = try member(id, account)
        guard group.owner == account else { throw Refused.notOwner }
        let text = "lsi_" + RandomText.hexadecimal(bytes: 20)
        let until = clocks.wall().advanced(bySeconds: seconds)
        let invitation = Invitation(group: id, until: until.milliseconds, uses: uses)
        try await store.change(Self.invitationKind, Self.hash(text), account: account) { _ in try JSONEncoder().encode(invitation)
        }
        return Invite(invite: text, group: id, uses: uses, expiresAt: until.text)
    }

    public func join(by invite: String, _ account: Int64, accountName: String) async throws -> GroupView {
        let now = clocks.wall().milliseconds
        guard state.withLock({ $0.ofAccount[account]?.count ?? 0 }) < Group.mostOfAnAccount else {
            throw Refused.full("An account is in at most \(Group.mostOfAnAccount) groups.")
        }
        let hash = Self.hash(invite)
        guard
            let found = try await store.records(Self.invitationKind, account: nil, from: hash, until: hash + "!").first,
            let group = try? JSONDecoder().decode(Invitation.self, from: found.value).group
        else { throw Refused.notFound }
        // The use first: an invitation for one lets one in, whoever else comes at the same moment.
        try await store.change(Self.invitationKind, hash, account: found.account) { old in
            guard let old, var invitation = try? JSONDecoder().decode(Invitation.self, from: old), invitation.until > now else {
                throw Refused.notFound
            }
            if !invitation.joined.contains(account) {
                guard invitation.joined.count < invitation.uses else { throw Refused.notFound }
                invitation.joined.append(account)
            }
            return try JSONEncoder().encode(invitation)
        }
        let joined = try await change(group, account) { old in
            guard var group = old else { throw Refused.notFound }
            if group.has(account) { return group }
            guard group.members.count < Group.mostMembers else {
                throw Refused.full("A group has at most \(Group.mostMembers) members.")
            }
            group.members.append(.init(account: account, name: accountName))
            return group
        }
        guard let joined else { throw Refused.notFound }
        return joined.view
    }

    /// Leaves, with all hosts of the account.
    public func leave(_ id: String, _ account: Int64, hosts: [String]) async throws {
        guard try member(id, account).owner != account else { throw Refused.ownerStays }
        try await remove(account, hosts, from: id)
    }

    /// The owner removes a member by its account's name, with all of its hosts.
    public func remove(member name: String, from id: String, by account: Int64, hosts: (Int64) -> [String]) async throws {
        let group = try member(id, account)
        guard group.owner == account else { throw Refused.notOwner }
        guard let member = group.members.first(where: { $0.name == name }) else { throw Refused.notFound }
        guard member.account != account else { throw Refused.ownerStays }
        try await remove(member.account, hosts(member.account), from: id)
    }

    private func remove(_ account: Int64, _ hosts: [String], from id: String) async throws {
        try await change(id, account) { old in
            guard var group = old else { throw Refused.notFound }
            group.members.removeAll { $0.account == account }
            group.hosts.removeAll { hosts.contains($0) }
            return group
        }
    }

    // MARK: Hosts

    /// From now on a host of this account serves the group too, and no stranger.
    public func add(host: String, to id: String, by account: Int64) async throws {
        _ = try member(id, account)
        try await close(host, of: account)
        try await change(id, account) { old in
            guard var group = old, group.has(account) else { throw Refused.notFound }
            guard !group.hosts.contains(host) else { return group }
            guard group.hosts.count < Group.mostHosts else { throw Refused.full("A group has at most \(Group.mostHosts) hosts.") }
            group.hosts.append(host)
            return group
        }
    }

    /// The host no longer serves the group; it stays closed to strangers.
    public func remove(host: String, from id: String, by account: Int64) async throws {
        _ = try member(id, account)
        try await change(id, account) { old in
            guard var group = old else { throw Refused.notFound }
            group.hosts.removeAll { $0 == host }
            return group
        }
    }

    /// Only the host's own account and its groups may use it.
    public func close(_ host: String, of account: Int64) async throws {
        try await store.change(Self.closedKind, host, account: account) { _ in Data("{}".utf8) }
        state.withLock { $0.close(host, of: account) }
    }

    /// Everyone may use it; it leaves its groups.
    public func open(_ host: String, of account: Int64) async throws {
        try await leaveAll(host, account)
        try await store.change(Self.closedKind, host, account: account) { _ in nil }
        state.withLock { $0.close(host, of: nil) }
    }

    /// The host is gone: it serves nobody.
    public func forget(_ host: String, of account: Int64) async throws {
        try await leaveAll(host, account)
        try await store.change(Self.closedKind, host, account: account) { _ in nil }
        state.withLock { $0.close(host, of: nil) }
    }

    private func leaveAll(_ host: String, _ account: Int64) async throws {
        for id in state.withLock({ $0.ofHost[host] ?? [] }) {
            try await change(id, account) { old in
                guard var group = old else { return nil }
                group.hosts.removeAll { $0 == host }
                return group
            }
        }
    }

    private static func hash(_ text: String) -> String { hexadecimal(Data(SHA256.hash(data: Data(text.utf8)))) }

    @discardableResult
    private func change(
        _ id: String, _ account: Int64, _ body: @escaping @Sendable (Group?) throws -> Group?
    ) async throws -> Group? {
        let value = try await store.change(Self.groupKind, id, account: account) { old in
            let new = try body(try old.map { try JSONDecoder().decode(Group.self, from: $0) })
            return try new.map { try JSONEncoder().encode($0) }
        }
        let group = try value.map { try JSONDecoder().decode(Group.self, from: $0) }
        state.withLock { state in
            state.groups[id] = group
            state.derive()
        }
        return group
    }
}
