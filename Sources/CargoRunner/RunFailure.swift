/// There is no outcome, and not because anybody refused: the command is missing inside, or this host failed.
public struct RunFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// What a program can switch on.
    public enum Kind: String, Hashable, Sendable {
        /// The command does not exist inside or cannot be executed: exit 127.
        case commandNotFound = "command_not_found"
        /// No registry and no disk has the container's image: exit 125.
        case imageNotFound = "image_not_found"
        /// What the job needs could not be brought to this host: exit 125.
        case provisioningFailed = "provisioning_failed"
        /// This host ended the job while it ran, through no fault of the job: exit 125.
        case interrupted = "host_lost"
        /// The runtime failed: exit 125.
        case runtime = "internal_error"
    }

    public let kind: Kind
    /// One sentence that says what to do.
    public let message: String

    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    /// What a program that ran the cargo exits with.
    public var exitCode: Int32 { kind == .commandNotFound ? 127 : 125 }

    public var description: String { message }
}
