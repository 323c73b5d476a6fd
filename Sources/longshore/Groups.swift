import ArgumentParser
import CargoArtifact
import CargoClient
import CargoCommands
import CargoWire

/// `longshore groups`: accounts that lend each other their hosts.
struct Groups: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Groups whose members lend each other their hosts.",
        subcommands: [List.self, Create.self, Invite.self, Join.self, Leave.self, Remove.self, Host.self, Delete.self],
        defaultSubcommand: List.self)

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List this account's groups (the default).")
        @Flag(help: "Print JSON.") var json = false
        @OptionGroup var coordinator: CoordinatorOptions

        func run() async throws {
            let groups = try await coordinator.client().groups()
            if json { return try Streams.json(GroupList(groups: groups)) }
            Streams.result(
                JobText.table(
                    ["ID", "MEMBERS", "HOSTS", "NAME"],
                    groups.map { group in
                        [group.id, group.members.map(\.account).joined(separator: ","), "\(group.hosts.count)", group.name]
                    }))
        }
    }

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Make a group and print its id.")
        @Argument var name: String
        @OptionGroup var coordinator: CoordinatorOptions

        func run() async throws { Streams.result(try await coordinator.client().createGroup(name).id) }
    }

    struct Invite: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Print an invitation: whoever has its text may join.")
        @Argument(help: "grp_…") var id: String
        @Option(help: "How often it is good.") var uses: Int?
        @Option(help: ArgumentHelp("How long it is good; 168h by default.", valueName: "time")) var expires: Seconds?
        @OptionGroup var coordinator: CoordinatorOptions

        func run() async throws {
            let request = InviteRequest(seconds: expires, uses: uses)
            Streams.result(try await coordinator.client().invite(to: id, request).invite)
        }
    }

    struct Join: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Join by an invitation.")
        @Argument(help: "lsi_…") var invite: String
        @OptionGroup var coordinator: CoordinatorOptions

        func run() async throws { Streams.result(try await coordinator.client().joinGroup(invite).id) }
    }

    struct Leave: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Leave a group, with all hosts.")
        @Argument(help: "grp_…") var id: String
        @OptionGroup var coordinator: CoordinatorOptions

        func run() async throws { try await coordinator.client().leaveGroup(id) }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Remove a member from one's own group.")
        @Argument(help: "grp_…") var id: String
        @Argument(help: "The member's account.") var account: String
        @OptionGroup var coordinator: CoordinatorOptions

        func run() async throws { try await coordinator.client().removeMember(account, from: id) }
    }

    struct Host: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Let a host of one's own serve a group, or no longer.")
        @Argument(help: "grp_…") var id: String
        @Argument(help: "host_…") var host: String
        @Flag(inversion: .prefixedNo, help: "Whether it serves the group.") var serve = true
        @OptionGroup var coordinator: CoordinatorOptions

        func run() async throws { try await coordinator.client().setHost(host, in: id, serves: serve) }
    }

    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Delete one's own group; its hosts stay closed to strangers.")
        @Argument(help: "grp_…") var id: String
        @OptionGroup var coordinator: CoordinatorOptions

        func run() async throws { try await coordinator.client().deleteGroup(id) }
    }
}
