/// Which addresses a coordinator may dial on a stranger's word: the public internet, and what the operator adds.
///
/// The table is IANA's two special-purpose address registries (RFC 6890) with the translation forms, through which a
/// private IPv4 address can be written as an IPv6 one.
public struct AddressPolicy: Sendable {
    /// Blocks that the operator allows although they are special.
    public var allowed: [AddressBlock]

    public init(allowed: [AddressBlock] = []) { self.allowed = allowed }

    /// What the address is when it may not be dialled, e.g. `loopback`; nil when it may.
    public func refusal(of address: IPAddress) -> String? {
        if allowed.contains(where: { $0.contains(address) }) { return nil }
        if let special = Self.special.first(where: { $0.block.contains(address) }) { return special.word }
        // Everything that IANA has given out for the public lies in 2000::/3.
        if address.isV6, address.bytes[0] >> 5 != 1 { return "reserved" }
        return nil
    }

    private static let special: [(block: AddressBlock, word: String)] = [
        ("0.0.0.0/8", "unspecified"), ("10.0.0.0/8", "private"), ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"), ("169.254.0.0/16", "link-local"), ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"), ("192.0.2.0/24", "documentation"), ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"), ("198.18.0.0/15", "benchmarking"), ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"), ("224.0.0.0/4", "multicast"), ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"), ("::1/128", "loopback"), ("::ffff:0:0/96", "IPv4-mapped"), ("::/96", "IPv4-compatible"),
        ("::ffff:0:0:0/96", "IPv4-translated"), ("64:ff9b::/96", "NAT64"), ("64:ff9b:1::/48", "NAT64"),
        ("100::/64", "discard-only"), ("2001::/32", "Teredo"), ("2001::/23", "reserved"), ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"), ("3fff::/20", "documentation"), ("5f00::/16", "segment routing"),
        ("fc00::/7", "private"), ("fe80::/10", "link-local"), ("fec0::/10", "site-local"), ("ff00::/8", "multicast"),
    ].compactMap { text, word in AddressBlock(text).map { ($0, word) } }

    /// The table's size: a test compares it with the lines above, so that no line is silently lost to a typing error.
    static var specialCount: Int { special.count }
}
