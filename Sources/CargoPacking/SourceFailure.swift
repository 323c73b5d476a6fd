/// Something in a cargo's source folder that cannot be packed; `cargo.yaml` errors say line and column.
public struct SourceFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public let file: String
    /// From 1; nil when the failure is about the file as a whole.
    public let line: Int?
    public let column: Int?
    public let message: String

    public init(_ file: String, line: Int? = nil, column: Int? = nil, _ message: String) {
        self.file = file
        self.line = line
        self.column = column
        self.message = message
    }

    public var description: String {
        var place = file
        if let line { place += ":\(line)" }
        if let column { place += ":\(column)" }
        return place + ": " + message
    }
}
