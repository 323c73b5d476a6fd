import ArgumentParser
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
                    Login.self, Push.self, Pull.self, Submit.self, Jobs.self, Logs.self, Outputs.self, Cancel.self,
                ]),
            CommandGroup(name: "Here", subcommands: [Run.self]),
        ])

    static func main() async {
        // A reader that goes away shows as an error of the write.
        signal(SIGPIPE, SIG_IGN)
        Glibc.exit(await run(Array(CommandLine.arguments.dropFirst())))
    }

    /// The exit code of one invocation: the parser's own 64 never leaves the program.
    static func run(_ arguments: [String]) async -> Int32 {
        do {
            var command = try parseAsRoot(arguments)
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            return 0
        } catch let code as ExitCode {
            return code.rawValue
        } catch {
            let message = fullMessage(for: error)
            let code = exitCode(for: error)
            if code.isSuccess {
                print(message)
                return 0
            }
            Streams.note(message)
            return code == .validationFailure ? 2 : 1
        }
    }
}
