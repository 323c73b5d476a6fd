public import CargoArtifact
internal import Crypto
public import FoundationEssentials

/// A secret that signs webhooks, spelled `whsec_BASE64` (Standard Webhooks 1.0, "Signature scheme").
public struct WebhookSecret: Sendable {
    /// 24 to 64 bytes.
    let bytes: Data

    public static let prefix = "whsec_"

    /// Reads `whsec_BASE64`.
    public init(_ text: String) throws(Refusal) {
        guard text.hasPrefix(Self.prefix), let bytes = Data(base64Encoded: String(text.dropFirst(Self.prefix.count))),
            (24...64).contains(bytes.count)
        else { throw Refusal("webhook-secret", "a webhook secret is 'whsec_' and 24 to 64 bytes in base64") }
        self.bytes = bytes
    }

    private init(bytes: Data) { self.bytes = bytes }

    /// 32 random bytes.
    public static func make() -> WebhookSecret {
        WebhookSecret(bytes: Data((0..<32).map { _ in UInt8.random(in: .min ... .max) }))
    }

    public var text: String { Self.prefix + bytes.base64EncodedString() }

    /// `v1,BASE64` over `id.timestamp.body`.
    func signature(id: String, timestamp: Int64, body: Data) -> String {
        var code = HMAC<SHA256>(key: SymmetricKey(data: bytes))
        code.update(data: Data("\(id).\(timestamp).".utf8))
        code.update(data: body)
        return "v1," + Data(code.finalize()).base64EncodedString()
    }
}

/// The three headers of Standard Webhooks 1.0, made for one attempt.
public enum WebhookSignature {
    /// - Parameters:
    ///   - id: the same for every attempt of one message, so that a receiver can drop what it had already.
    ///   - timestamp: seconds since 1970, of this attempt.
    ///   - secrets: while a secret is being rotated, the new and the old one both sign.
    public static func headers(
        id: String, timestamp: Int64, body: Data, secrets: [WebhookSecret]
    ) -> [(name: String, value: String)] {
        let signatures = secrets.map { $0.signature(id: id, timestamp: timestamp, body: body) }
        return [
            ("webhook-id", id), ("webhook-timestamp", String(timestamp)),
            ("webhook-signature", signatures.joined(separator: " ")),
        ]
    }
}
