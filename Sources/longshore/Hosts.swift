import ArgumentParser
import CargoClient
import CargoWire
import Glibc

/// `longshore hosts`: which hosts one may use; lets new ones in.
struct Hosts: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List hosts, let one in by its code, open, close or remove it.",
        subcommands: [List.self, Pair.self, Share.self, Remove.self], defaultSubcommand: List.self)

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the hosts that this key may see (the default).")
        @Flag(help: "Print JSON.") var json = false
        @OptionGroup var coordinator: CoordinatorOptions

        func run() async throws {
            let hosts = try await coordinator.client().hosts()
            if json { return try Streams.json(HostList(hosts: hosts)) }
            Streams.result(
                JobText.table(
                    ["ID", "STATUS", "WHOSE", "SERVES", "NAME"],
                    hosts.map { host in
                        [
                            host.id, host.status, host.own ? "own" : "other",
                            host.open ? "everyone" : host.groups.isEmpty ? "its account" : host.groups.joined(separator: ","),
                            host.name,
                        ]
                    }))
        }
    }

    struct Pair: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Let a host in that shows this code.",
            discussion: """
                Shows the fingerprint of the host that waits under the code. Compare it with the one that the host itself shows, \
                then answer yes, or give it with --fingerprint. The host serves this account, and the groups named.
                """)

        @Argument(help: "The six characters that 'cargo-run agent --pair' shows.") var code: String

        @Option(help: "The fingerprint that the host shows; asked for when missing.")
        var fingerprint: String?

        @Flag(help: "Let everyone's jobs run there.")
        var open = false

        @Option(help: ArgumentHelp("A group that it serves. Repeatable.", valueName: "id or name"))
        var group: [String] = []

        @OptionGroup var coordinator: CoordinatorOptions

        func validate() throws {
            if open, !group.isEmpty { throw ValidationError("A host serves everyone (--open) or groups (--group), not both.") }
        }

        func run() async throws {
            let client = try coordinator.client()
            let waiting = try await client.pairing(code)
            let shown = fingerprint ?? waiting.fingerprint
            if fingerprint == nil {
                Streams.note("host '\(printable(waiting.name))', fingerprint \(printable(waiting.fingerprint))")
                guard isatty(STDIN_FILENO) == 1 else {
                    throw ClientError(
                        status: 0, code: "not_confirmed", message: "compare the fingerprint, then give it with --fingerprint")
                }
                Streams.note("Is it the fingerprint that the host shows? Type yes:")
                guard readLine() == "yes" else {
                    throw ClientError(status: 0, code: "not_confirmed", message: "the host was not let in")
                }
            }
            try await client.confirmPairing(
                code, PairingConfirmation(fingerprint: shown, open: open, groups: group.isEmpty ? nil : group))
            Streams.note("'\(printable(waiting.name))' is let in")
        }
    }

    struct Share: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Open a host to everyone, or close it to strangers.")
        @Argument(help: "host_…") var id: String
        @Flag(inversion: .prefixedNo, help: "Everyone's jobs may run there.") var open: Bool
        @OptionGroup var coordinator: CoordinatorOptions

        func run() async throws { _ = try await coordinator.client().shareHost(id, open: open) }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Forget a host; its credentials end at once.")
        @Argument(help: "host_…") var id: String
        @OptionGroup var coordinator: CoordinatorOptions

        func run() async throws { try await coordinator.client().removeHost(id) }
    }
}
