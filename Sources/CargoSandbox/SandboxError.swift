/// Why nothing was run, or why the sandbox gave up.
public struct SandboxError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What a program does with it: its exit code follows from this.
    public enum Code: String, Sendable {
        /// This host cannot enforce something, or the profile is not acceptable: exit 126.
        case refused
        /// The command is not there, inside: exit 127.
        case commandNotFound
        /// The command is there but cannot be executed: exit 126.
        case commandNotExecutable
        /// The runtime failed: exit 125.
        case failed
    }

    public let code: Code
    /// The mechanism concerned (`cgroup`, `landlock`, `seccomp` …), or nil.
    public let mechanism: String?
    /// One sentence that says what to do.
    public let message: String

    public init(_ code: Code, mechanism: String? = nil, _ message: String) {
        self.code = code
        self.mechanism = mechanism
        self.message = message
    }

    public var description: String { message }
}
