public import SystemPackage

/// A file operation that the kernel refused: which one, on what, and why.
public struct FileFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public let operation: String
    public let path: String
    public let errno: Errno

    public init(_ operation: String, _ path: String, _ errno: Errno) {
        self.operation = operation
        self.path = path
        self.errno = errno
    }

    public var description: String { "cannot \(operation) \(path): \(errno)" }
}
