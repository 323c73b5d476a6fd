/// Content, a signature or a policy was refused: nothing of it was kept or run. Programs exit 126 (`verify`: 1).
///
/// `rule` is a stable word that names the rule which refused (`unsigned`, `untrusted-key`, `digest-mismatch`,
/// `path-traversal` …); `message` is one sentence that says what was found and what to do.
public struct Refusal: Error, Hashable, Sendable, CustomStringConvertible {
    public let rule: String
    public let message: String

    public init(_ rule: String, _ message: String) {
        self.rule = rule
        self.message = message
    }

    public var description: String { "refused (\(rule)): \(message)" }
}
