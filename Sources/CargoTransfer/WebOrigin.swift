/// Scheme, host and port of a URL: the unit to which a credential belongs (RFC 6454, section 4).
struct WebOrigin: Hashable, Sendable, CustomStringConvertible {
    let scheme: String
    /// Lower case; IPv6 addresses in brackets.
    let host: String
    let port: Int

    /// nil for anything but an absolute http or https URL without user information.
    init?(_ url: String) {
        guard let mark = url.firstRange(of: "://") else { return nil }
        scheme = url[..<mark.lowerBound].lowercased()
        guard scheme == "http" || scheme == "https" else { return nil }
        let authority = url[mark.upperBound...].prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        guard !authority.isEmpty, !authority.contains("@"), !authority.contains("\\") else { return nil }
        var host = authority
        var port: Int? = scheme == "https" ? 443 : 80
        let afterBracket = authority.lastIndex(of: "]") ?? authority.startIndex
        if let colon = authority[afterBracket...].firstIndex(of: ":") {
            host = authority[..<colon]
            let digits = authority[authority.index(after: colon)...]
            port = digits.isEmpty ? port : digits.utf8.allSatisfy { (48...57).contains($0) } ? Int(digits) : nil
        }
        guard let port, (1...65_535).contains(port), !host.isEmpty else { return nil }
        self.host = host.lowercased()
        self.port = port
    }

    var description: String { "\(scheme)://\(host):\(port)" }
}

/// What an answer's redirect comes to. Pure.
enum Redirect: Equatable {
    case follow(WebOrigin)
    case refuse(String)

    /// Redirects of one request.
    static let most = 5

    static func decide(from: WebOrigin, to url: String, hops: Int) -> Redirect {
        guard hops < most else { return .refuse("\(from) redirects more than \(most) times") }
        guard let target = WebOrigin(url) else { return .refuse("\(from) redirects to something that is neither http nor https") }
        if from.scheme == "https", target.scheme == "http" {
            return .refuse("\(from) redirects to \(target), which is not encrypted")
        }
        return .follow(target)
    }
}
