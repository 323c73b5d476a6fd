/// Who may see the status (docs/rules.md 25). Pure.
///
/// The loopback alone guards nothing: any page in the owner's browser can send requests there, under names of its own (DNS rebinding),
/// and any user of the machine can connect. So the request must name this very address, and carry the token.
struct StatusGuard: Sendable {
    let port: Int
    let token: String

    enum Verdict: Equatable, Sendable {
        case allowed
        /// The token came in the address: it moves to a cookie, so that it stays out of history and referrers.
        case welcome
        case wrongHost
        case noToken
    }

    /// Two agents of one machine, on two ports, share the browser's cookies of 127.0.0.1.
    var cookieName: String { "longshore-\(port)" }

    var cookie: String { "\(cookieName)=\(token); Path=/; HttpOnly; SameSite=Strict" }

    /// - Parameters: each as it came, nil where it did not; several `Host` lines are none.
    func verdict(host: String?, cookie: String?, authorization: String?, query: String?) -> Verdict {
        guard let host, ["127.0.0.1:\(port)", "localhost:\(port)"].contains(host.lowercased()) else { return .wrongHost }
        if let authorization, authorization.hasPrefix("Bearer "), isToken(authorization.dropFirst(7)) { return .allowed }
        for part in (cookie ?? "").split(separator: ";") {
            let pair = part.drop { $0 == " " }.split(separator: "=", maxSplits: 1)
            if pair.count == 2, pair[0] == cookieName, isToken(pair[1]) { return .allowed }
        }
        if let query, query.hasPrefix("token="), isToken(query.dropFirst(6)) { return .welcome }
        return .noToken
    }

    /// Takes the same time wherever they differ.
    private func isToken(_ given: Substring) -> Bool {
        let (left, right) = (Array(given.utf8), Array(token.utf8))
        guard left.count == right.count, !right.isEmpty else { return false }
        return zip(left, right).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }
}
