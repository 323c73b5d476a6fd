/// The stage of a test could not be set. Thrown instead of a failed requirement wherever several tests share the
/// preparation: a requirement would be told by the first of them alone, and the others would pass.
public struct StageFailure: Error, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }
}

extension Finished {
    /// The same, if the program ended well.
    @discardableResult
    public func orFail(_ what: String) throws -> Finished {
        guard code == 0 else { throw StageFailure("\(what) ended with \(code): \(stderr) \(text.suffix(400))") }
        return self
    }
}
