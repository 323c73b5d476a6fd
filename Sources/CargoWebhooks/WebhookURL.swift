public import CargoArtifact

/// Where a webhook goes, read so strictly that no two parsers can disagree about the host.
public struct WebhookURL: Hashable, Sendable, CustomStringConvertible {
    public enum Host: Hashable, Sendable {
        /// Lower case.
        case name(String)
        case address(IPAddress)
    }

    public static let longest = 2048

    /// `http` or `https`.
    public let scheme: String
    public let host: Host
    /// As it stands in the URL; nil: the scheme's own.
    public let port: Int?
    /// From the first `/`, query included.
    public let target: String

    /// Reads an absolute URL; a fragment, a user name, other schemes and odd spellings of addresses are refused.
    public init(_ text: String) throws(Refusal) {
        guard text.utf8.count <= Self.longest else { throw Self.refusal("has more than \(Self.longest) characters") }
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x5C && $0 != 0x22 && $0 != 0x3C && $0 != 0x3E }) else {
            throw Self.refusal("must be ASCII without spaces; write other characters percent-encoded")
        }
        guard let colon = text.firstIndex(of: ":"), text[colon...].hasPrefix("://") else {
            throw Self.refusal("must begin with http:// or https://")
        }
        scheme = text[..<colon].lowercased()
        guard scheme == "http" || scheme == "https" else { throw Self.refusal("must begin with http:// or https://") }
        let rest = text[text.index(colon, offsetBy: 3)...]
        guard !rest.contains("#") else { throw Self.refusal("must have no fragment") }
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        let authority = rest[..<end]
        guard !authority.contains("@") else { throw Self.refusal("must have no user name or password") }
        (host, port) = try Self.read(authority)
        let tail = rest[end...]
        target = tail.hasPrefix("/") ? String(tail) : "/" + tail
    }

    /// The same URL in one spelling.
    public var description: String { scheme + "://" + authority + target }

    /// What the `Host` header says.
    var authority: String {
        let name =
            switch host {
            case .name(let name): name
            case .address(let address): address.isV6 ? "[\(address)]" : "\(address)"
            }
        return port.map { "\(name):\($0)" } ?? name
    }

    /// Refuses at once what needs no resolver to be refused.
    public func check(_ policy: AddressPolicy) throws(Refusal) {
        if case .address(let address) = host, let word = policy.refusal(of: address) {
            throw Self.forbidden("\(address)", word)
        }
    }

    static func forbidden(_ what: String, _ word: String) -> Refusal {
        Refusal(
            "webhook-address", "\(what) is \(word): webhooks go to public addresses, and to what the operator allows besides")
    }

    private static func refusal(_ why: String) -> Refusal { Refusal("webhook-url", "the callback URL \(why)") }

    private static func read(_ authority: Substring) throws(Refusal) -> (Host, Int?) {
        if authority.hasPrefix("[") {
            guard let close = authority.firstIndex(of: "]"),
                let address = IPAddress(authority[authority.index(after: authority.startIndex)..<close]), address.isV6
            else { throw refusal("has a host in brackets that is no IPv6 address") }
            return (.address(address), try port(authority[authority.index(after: close)...]))
        }
        let end = authority.firstIndex(of: ":") ?? authority.endIndex
        let name = authority[..<end].lowercased()
        let port = try port(authority[end...])
        if let address = IPAddress(name) { return (.address(address), port) }
        try check(name: name)
        return (.name(name), port)
    }

    private static func port(_ text: Substring) throws(Refusal) -> Int? {
        if text.isEmpty { return nil }
        let digits = text.dropFirst()
        guard text.first == ":", (1...5).contains(digits.utf8.count), digits.utf8.allSatisfy({ (48...57).contains($0) }),
            let number = Int(digits), (1...65535).contains(number)
        else { throw refusal("has no valid port") }
        return number
    }

    /// RFC 1123 labels. A last label of digits is an address in one of its odd spellings (`127.1`, `0x7f000001`, `2130706433`).
    private static func check(name: String) throws(Refusal) {
        let labels = name.split(separator: ".", omittingEmptySubsequences: false)
        guard !name.isEmpty, name.utf8.count <= 253 else { throw refusal("has no valid host") }
        for label in labels {
            guard (1...63).contains(label.utf8.count), label.first != "-", label.last != "-",
                label.utf8.allSatisfy({ (97...122).contains($0) || (48...57).contains($0) || $0 == 45 })
            else { throw refusal("has no valid host") }
        }
        guard let last = labels.last, !last.utf8.allSatisfy({ (48...57).contains($0) }), !last.hasPrefix("0x") else {
            throw refusal("has an address in an odd spelling; write four decimals, or IPv6 in brackets")
        }
    }
}
