/// One `host:port` that a job may reach.
public struct EgressTarget: Hashable, Sendable, CustomStringConvertible {
    /// Where the proxy listens, inside.
    public static let proxyPort = EgressProxy.port

    /// Lower case, without a closing dot.
    public let host: String
    public let port: UInt16

    /// Reads `host:port` or `[v6]:port`; nil for anything else, patterns included: a target is exact.
    public init?(_ text: some StringProtocol) {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0 else {
            return nil
        }
        var host = text[..<colon].lowercased()
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
        } else {
            guard !host.contains(":") else { return nil }
        }
        if host.hasSuffix(".") { host.removeLast() }
        guard (1...253).contains(host.utf8.count), host.utf8.allSatisfy(EgressTarget.isHostByte) else { return nil }
        self.host = host
        self.port = port
    }

    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    private static func isHostByte(_ byte: UInt8) -> Bool {
        (48...58).contains(byte) || (97...122).contains(byte) || byte == 45 || byte == 46 || byte == 95
    }
}

/// Which addresses belong to the public internet (IANA special-purpose registries for IPv4 and IPv6).
enum PublicAddress {
    /// Of four bytes.
    static func isPublic(v4 address: [UInt8]) -> Bool {
        guard address.count == 4 else { return false }
        switch (address[0], address[1], address[2]) {
        case (0, _, _), (10, _, _), (127, _, _), (224..., _, _): return false
        case (100, 64...127, _), (169, 254, _), (172, 16...31, _), (192, 168, _), (198, 18...19, _): return false
        case (192, 0, 0), (192, 0, 2), (192, 88, 99), (198, 51, 100), (203, 0, 113): return false
        default: return true
        }
    }

    /// Of sixteen bytes: global unicast (2000::/3) alone, without the forms that carry an IPv4 address inside
    /// (6to4, Teredo; mapped and NAT64 addresses lie outside 2000::/3) and without documentation ranges.
    static func isPublic(v6 address: [UInt8]) -> Bool {
        guard address.count == 16, address[0] & 0xe0 == 0x20 else { return false }
        switch (address[0], address[1], address[2], address[3]) {
        case (0x20, 0x02, _, _), (0x20, 0x01, 0x00...0x01, _), (0x20, 0x01, 0x0d, 0xb8), (0x3f, 0xff, 0x00...0x0f, _):
            return false
        default: return true
        }
    }
}
