internal import Glibc

/// An address as it is dialled: four or sixteen bytes, so that no spelling of it can hide what it is.
public struct IPAddress: Hashable, Sendable, CustomStringConvertible {
    /// Most significant first; 4 or 16 of them.
    public let bytes: [UInt8]

    init(bytes: [UInt8]) { self.bytes = bytes }

    /// Reads `192.0.2.1` (four decimals, no other spelling) or an IPv6 address without brackets and zone.
    public init?(_ text: some StringProtocol) {
        let text = String(text)
        var four = in_addr()
        var sixteen = in6_addr()
        if inet_pton(AF_INET, text, &four) == 1 {
            bytes = withUnsafeBytes(of: &four) { Array($0) }
        } else if inet_pton(AF_INET6, text, &sixteen) == 1 {
            bytes = withUnsafeBytes(of: &sixteen) { Array($0) }
        } else {
            return nil
        }
    }

    public var isV6: Bool { bytes.count == 16 }

    public var description: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let family = isV6 ? AF_INET6 : AF_INET
        let written = bytes.withUnsafeBytes { inet_ntop(family, $0.baseAddress, &text, socklen_t(text.count)) != nil }
        return written ? String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) : ""
    }

    /// Every address that the system's resolver knows for a name; blocks.
    static func resolve(_ name: String) throws(ResolutionFailure) -> [IPAddress] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_ADDRCONFIG
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(name, nil, &hints, &list)
        guard code == 0 else {
            throw ResolutionFailure(reason: gai_strerror(code).map { String(cString: $0) } ?? "error \(code)")
        }
        defer { freeaddrinfo(list) }
        var found: [IPAddress] = []
        var entry = list
        while let current = entry {
            if let address = address(of: current.pointee), !found.contains(address) { found.append(address) }
            entry = current.pointee.ai_next
        }
        return found
    }

    private static func address(of entry: addrinfo) -> IPAddress? {
        guard let socket = UnsafeRawPointer(entry.ai_addr) else { return nil }
        switch entry.ai_family {
        case AF_INET where entry.ai_addrlen >= socklen_t(MemoryLayout<sockaddr_in>.size):
            return withUnsafeBytes(of: socket.loadUnaligned(as: sockaddr_in.self).sin_addr) { IPAddress(bytes: Array($0)) }
        case AF_INET6 where entry.ai_addrlen >= socklen_t(MemoryLayout<sockaddr_in6>.size):
            return withUnsafeBytes(of: socket.loadUnaligned(as: sockaddr_in6.self).sin6_addr) { IPAddress(bytes: Array($0)) }
        default:
            return nil
        }
    }
}

/// A name that the resolver has no address for.
struct ResolutionFailure: Error {
    let reason: String
}

/// A block of addresses, `10.0.0.0/8` or `fd00::/8`.
public struct AddressBlock: Hashable, Sendable, CustomStringConvertible {
    public let base: IPAddress
    /// Leading bits that count.
    public let length: Int

    /// Reads `BASE/LENGTH`, or one address alone.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard let first = parts.first, parts.count <= 2, let base = IPAddress(first) else { return nil }
        let bits = base.bytes.count * 8
        guard let length = parts.count == 2 ? Int(parts[1]) : bits, (0...bits).contains(length) else { return nil }
        self.base = base
        self.length = length
    }

    public func contains(_ address: IPAddress) -> Bool {
        guard address.bytes.count == base.bytes.count else { return false }
        for (index, (left, right)) in zip(address.bytes, base.bytes).enumerated() {
            let bits = min(8, max(0, length - index * 8))
            guard bits > 0 else { return true }
            if (left ^ right) >> UInt8(8 - bits) != 0 { return false }
        }
        return true
    }

    public var description: String { "\(base)/\(length)" }
}
