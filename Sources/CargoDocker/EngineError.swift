/// What a container engine could not or would not do.
public struct EngineError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A word that a program can switch on.
    public enum Code: String, Sendable {
        /// No engine listens on the socket, or it went away in the middle.
        case unreachable
        /// The engine speaks no API that we know.
        case unsupported
        /// No registry and no disk has the image.
        case imageNotFound = "image_not_found"
        /// The image may not run here: its registry, its form or its digest.
        case imageRefused = "image_refused"
        /// The image exists but could not be brought here.
        case pullFailed = "pull_failed"
        /// Provisioning took longer than it may.
        case provisioningTimedOut = "provisioning_timed_out"
        /// The engine ended, or ended the container, while the command ran: its outcome says nothing of the command.
        case interrupted
        case containerNotFound = "container_not_found"
        case conflict
        case badRequest = "bad_request"
        /// The command is not in the image: exit 127.
        case commandNotFound = "command_not_found"
        /// It is there but cannot be executed: exit 126.
        case commandNotExecutable = "command_not_executable"
        case failed
    }

    public let code: Code
    /// What was being done, e.g. `pull docker.io/library/alpine:3.20`.
    public let operation: String
    /// One sentence that says what to do.
    public let message: String

    public init(_ code: Code, _ operation: String, _ message: String) {
        self.code = code
        self.operation = operation
        self.message = message
    }

    public var description: String { "cannot \(operation): \(message)" }

    /// Whether the same request may succeed later or on another host.
    public var isTransient: Bool {
        switch code {
        case .unreachable, .pullFailed, .provisioningTimedOut, .conflict, .failed, .containerNotFound, .interrupted: true
        case .unsupported, .imageNotFound, .imageRefused, .badRequest, .commandNotFound, .commandNotExecutable: false
        }
    }
}
