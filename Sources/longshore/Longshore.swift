import ArgumentParser
import CargoClient
import CargoCommands
import Glibc

/// `longshore`: what publishers and consumers need. Packs, signs and moves cargos, and runs them on hosts.
@main
struct Longshore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "longshore",
        abstract: "Pack, sign and publish cargos, and run them on hosts.",
        discussion: """
            EXIT STATUS
              0 done; 1 failed or refused; 2 wrong usage.
            """,
        version: "0.1.0",
        groupedSubcommands: [
            CommandGroup(
                name: "Publish",
                subcommands: [Init.self, Key.self, Pack.self, Sign.self, Verify.self, Inspect.self]),
            CommandGroup(
                name: "Coordinator",
                subcommands: [
                    Login.self, APIKeys.self, Hosts.self, Groups.self, Push.self, Pull.self, Submit.self, Jobs.self, Logs.self,
                    Outputs.self, Cancel.self,
                ]),
            CommandGroup(name: "Here", subcommands: [Run.self]),
        ])

    static func main() async {
        // A reader that goes away shows as an error of the write.
        signal(SIGPIPE, SIG_IGN)
        let invocation = Invocation(
            wrongUsage: ProgramExit.wrongUsage, failed: ProgramExit.failed, say: { Streams.note($0) })
        Glibc.exit(await invocation.run(Longshore.self, Array(CommandLine.arguments.dropFirst())))
    }
}
