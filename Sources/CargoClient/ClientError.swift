/// What a call to a coordinator came to instead of an answer: one type for every endpoint.
public struct ClientError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The HTTP status; 0 when no answer came.
    public var status: Int
    /// A word that a program can switch on: the server's own, or `unreachable`, `bad_answer`, `too_large`.
    public var code: String
    /// One sentence that says what to do.
    public var message: String

    public init(status: Int, code: String, message: String) {
        self.status = status
        self.code = code
        self.message = message
    }

    /// The same call may succeed later: no answer, or one that says that the server is busy or starting.
    public var isTransient: Bool {
        switch status {
        case 0: code == "unreachable"
        case 408, 425, 429, 500, 502, 503, 504: true
        default: false
        }
    }

    public var description: String { message }

    static func unreachable(_ base: String, _ cause: String) -> ClientError {
        ClientError(
            status: 0, code: "unreachable",
            message: "\(base) does not answer (\(cause)); check that the coordinator runs and that the URL is right")
    }

    static func badAnswer(_ what: String) -> ClientError {
        ClientError(status: 0, code: "bad_answer", message: "\(what); is the URL that of a Longshore coordinator?")
    }
}
