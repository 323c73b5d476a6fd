import ArgumentParser
import CargoClient
import CargoCommands
import Glibc

/// `cargo-run`: what a host needs. Runs one cargo, or works for a coordinator.
@main
struct CargoRunProgram: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cargo-run",
        abstract: "Verify a cargo, run it confined, and return its exit code and outputs.",
        usage: """
            cargo-run FILE|REF [--unsigned] [--input PATH]… [--param k=v]… [--output DIR] [--json] [-- ARGS]
            cargo-run agent [--coordinator URL] [--api-key-file FILE] [--slots N]
            """,
        discussion: """
            cargo-run FILE|REF runs one cargo here and now ('cargo-run run --help' has all its options); \
            'cargo-run agent' runs jobs for a coordinator.

            EXIT STATUS
              the cargo's own code; 124 it ran out of time; 125 the runtime failed, or wrong usage; 126 refused \
            (signature, policy or sandbox); 127 its command does not exist inside; 128+n killed by signal n.
            """,
        version: "0.1.0",
        subcommands: [
            RunCommand.self, AgentCommand.self, TopCommand.self, CacheCommand.self, EnginesCommand.self, DoctorCommand.self,
        ],
        defaultSubcommand: RunCommand.self)

    static func main() async {
        // A reader that goes away shows as EPIPE on the write, not as the death of a supervisor.
        signal(SIGPIPE, SIG_IGN)
        let invocation = Invocation(
            wrongUsage: ProgramExit.runtimeFailed, failed: ProgramExit.runtimeFailed, say: { say($0) })
        Glibc.exit(await invocation.run(CargoRunProgram.self, Array(CommandLine.arguments.dropFirst())))
    }
}

/// One line, or a few, on standard error.
func say(_ text: String) {
    var line = text.hasSuffix("\n") ? text : text + "\n"
    line.makeContiguousUTF8()
    line.utf8.withContiguousStorageIfAvailable { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
}
