import ArgumentParser
import SystemPackage

#if canImport(Glibc)
    import Glibc
#endif

/// The operator's program.
@main
struct LongshoreCoordinator: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "longshore-coordinator", abstract: "Queues jobs durably and hands them to hosts.",
        subcommands: [Serve.self, Admin.self])

    /// Exit codes: 0 done, 1 failed, 2 wrong usage.
    static func main() async {
        do {
            var command = try parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch {
            let code = exitCode(for: error)
            if code == .success || code == .validationFailure {
                let text = fullMessage(for: error)
                say(text, on: code == .success ? .standardOutput : .standardError)
                Glibc.exit(code == .success ? 0 : 2)
            }
            say("longshore-coordinator: \(message(for: error))", on: .standardError)
            Glibc.exit(1)
        }
    }
}

/// Writes a line at once, past any buffer: whoever reads a pipe sees it now.
func say(_ text: String, on descriptor: FileDescriptor = .standardOutput) {
    // A closed pipe is the reader's choice, no failure of ours.
    _ = try? descriptor.writeAll((text.hasSuffix("\n") ? text : text + "\n").utf8)
}
