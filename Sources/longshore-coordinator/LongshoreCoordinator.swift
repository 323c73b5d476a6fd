import ArgumentParser
import CargoCommands
import SystemPackage

#if canImport(Glibc)
    import Glibc
#endif

/// The operator's program.
@main
struct LongshoreCoordinator: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "longshore-coordinator", abstract: "Queues jobs durably and hands them to hosts.",
        subcommands: [Serve.self, Admin.self, Migrate.self, OpenAPI.self])

    /// Exit codes: 0 done, 1 failed, 2 wrong usage.
    static func main() async {
        let invocation = Invocation(wrongUsage: 2, failed: 1, say: { say($0, on: .standardError) })
        Glibc.exit(await invocation.run(LongshoreCoordinator.self, Array(CommandLine.arguments.dropFirst())))
    }
}

/// Writes a line at once, past any buffer: whoever reads a pipe sees it now.
func say(_ text: String, on descriptor: FileDescriptor = .standardOutput) {
    // A closed pipe is the reader's choice, no failure of ours.
    _ = try? descriptor.writeAll((text.hasSuffix("\n") ? text : text + "\n").utf8)
}
