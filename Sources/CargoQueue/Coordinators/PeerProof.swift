import CargoWire
import Crypto
import FoundationEssentials

/// How coordinators of one store know each other: an HMAC over a request, under a key that lies in the store they share, good for
/// two minutes. Whoever can read the store could do all that it proves anyway.
struct PeerProof: Sendable {
    /// How far the clocks of two coordinators may differ.
    private static let validSeconds: Int64 = 120
    private let key: SymmetricKey

    /// - Parameter secret: as the store keeps it.
    init(secret: String) { key = SymmetricKey(data: SHA256.hash(data: Data(secret.utf8))) }

    /// The value of the header `Longshore-Peer`.
    func header(from coordinator: String, method: String, target: String, body: [UInt8], at now: Timestamp) -> String {
        let seconds = now.milliseconds / 1000
        return "\(coordinator) \(seconds) \(hexadecimal(Array(code(coordinator, seconds, method, target, body))))"
    }

    /// The coordinator that sent this; nil when none did.
    func sender(_ header: String, method: String, target: String, body: [UInt8], at now: Timestamp) -> String? {
        let words = header.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        guard words.count == 3, let seconds = Int64(words[1]), abs(now.milliseconds / 1000 - seconds) <= PeerProof.validSeconds,
            let sum = Self.bytes(words[2]),
            HMAC<SHA256>.isValidAuthenticationCode(
                sum, authenticating: Self.text(words[0], seconds, method, target, body), using: key)
        else { return nil }
        return words[0]
    }

    private func code(
        _ coordinator: String, _ seconds: Int64, _ method: String, _ target: String, _ body: [UInt8]
    ) -> HMAC<SHA256>.MAC {
        HMAC<SHA256>.authenticationCode(for: Self.text(coordinator, seconds, method, target, body), using: key)
    }

    /// Every part has its own line, and none can hold a line break.
    private static func text(
        _ coordinator: String, _ seconds: Int64, _ method: String, _ target: String, _ body: [UInt8]
    ) -> Data {
        let sum = hexadecimal(Array(SHA256.hash(data: Data(body))))
        return Data("longshore peer 1\n\(coordinator)\n\(seconds)\n\(method)\n\(target)\n\(sum)\n".utf8)
    }

    private static func bytes(_ text: String) -> [UInt8]? {
        guard text.utf8.count == 64 else { return nil }
        var bytes: [UInt8] = []
        var rest = text[...]
        while !rest.isEmpty {
            guard let byte = UInt8(rest.prefix(2), radix: 16) else { return nil }
            bytes.append(byte)
            rest = rest.dropFirst(2)
        }
        return bytes
    }
}
