public import ArgumentParser

/// One call of a program: what its arguments ask for, run to the exit code that they come to.
///
/// The parser's own 64 for wrong usage never leaves a program; each says what wrong usage and failure are to it.
public struct Invocation: Sendable {
    private let wrongUsage: Int32
    private let failed: Int32
    /// Takes what the program says of itself, a few lines, on standard error.
    private let say: @Sendable (String) -> Void

    public init(wrongUsage: Int32, failed: Int32, say: @escaping @Sendable (String) -> Void) {
        self.wrongUsage = wrongUsage
        self.failed = failed
        self.say = say
    }

    /// `arguments` without the program's own name.
    public func run<Program: AsyncParsableCommand>(_ program: Program.Type, _ arguments: [String]) async -> Int32 {
        do {
            var command = try Program.parseAsRoot(arguments)
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            return 0
        } catch let code as ExitCode {
            return code.rawValue
        } catch {
            let message = Program.fullMessage(for: error)
            let code = Program.exitCode(for: error)
            if code.isSuccess {
                // Help and version, which somebody asked for.
                print(message)
                return 0
            }
            say(message)
            return code == .validationFailure ? wrongUsage : failed
        }
    }
}
