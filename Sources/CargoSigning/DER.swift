internal import FoundationEssentials

/// The few fixed encodings of keys that this room reads and writes itself.
enum DER {
    /// SubjectPublicKeyInfo of an Ed25519 key (RFC 8410 section 4), before its 32 bytes.
    static let ed25519PublicPrefix: [UInt8] = [0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00]
    /// PKCS#8 of an Ed25519 key (RFC 8410 section 7), before its 32 bytes.
    static let ed25519PrivatePrefix: [UInt8] = [
        0x30, 0x2E, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
    ]
    /// The same of an X25519 key.
    static let x25519PrivatePrefix: [UInt8] = [
        0x30, 0x2E, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x6E, 0x04, 0x22, 0x04, 0x20,
    ]
}

/// PEM (RFC 7468) with exactly one block.
enum PEM {
    static func write(_ label: String, _ der: [UInt8]) -> String {
        var text = "-----BEGIN \(label)-----\n"
        var rest = Base64.encode(der)[...]
        while !rest.isEmpty {
            text += rest.prefix(64) + "\n"
            rest = rest.dropFirst(64)
        }
        return text + "-----END \(label)-----\n"
    }

    /// The label and content of the one block in `text`; nil when there is none, more than one, or bad base64.
    static func read(_ text: String) -> (label: String, der: [UInt8])? {
        guard text.utf8.count <= 16 << 10 else { return nil }
        let lines = text.split(whereSeparator: \.isNewline).map { $0.filter { $0 != "\r" } }.filter { !$0.isEmpty }
        guard let first = lines.first, let last = lines.last, lines.count >= 3, first.hasPrefix("-----BEGIN "),
            first.hasSuffix("-----")
        else { return nil }
        let label = String(first.dropFirst(11).dropLast(5))
        guard last == "-----END \(label)-----", let der = Base64.decode(lines[1..<(lines.count - 1)].joined()) else { return nil }
        return (label, der)
    }
}

/// Base64 with padding (RFC 4648 section 4); only the one canonical text of some bytes is read.
enum Base64 {
    static func encode(_ bytes: [UInt8]) -> String { Data(bytes).base64EncodedString() }

    static func decode(_ text: String) -> [UInt8]? {
        guard let data = Data(base64Encoded: text), data.base64EncodedString() == text else { return nil }
        return [UInt8](data)
    }
}
