/// An error as `application/problem+json` (RFC 9457), with a `code` that a program can switch on.
public struct Problem: Hashable, Sendable, Codable {
    public var type: String
    public var title: String
    public var status: Int
    /// One sentence that says what to do.
    public var detail: String
    public var code: String

    public init(status: Int, title: String, detail: String, code: String) {
        type = "about:blank"
        self.status = status
        self.title = title
        self.detail = detail
        self.code = code
    }
}

/// What an API key may do; `admin` includes the others.
public enum Scope: String, Sendable, Codable, CaseIterable {
    case read, write, host, publish, admin
}
