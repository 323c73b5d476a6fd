internal import Crypto
internal import FoundationEssentials
public import SystemPackage

/// A host's X25519 key (RFC 7748): what is sealed to it is opened on that host alone (docs/rules.md 2).
public struct SealingKey: Sendable {
    /// The payload type of the statement by which a host's identity vouches for it.
    public static let statementType = "application/vnd.longshore.host-sealing-key.v1+json"

    private let secret: Curve25519.KeyAgreement.PrivateKey

    public init() { secret = Curve25519.KeyAgreement.PrivateKey() }

    /// Reads PKCS#8 `-----BEGIN PRIVATE KEY-----` (RFC 8410).
    public init(pem: String) throws {
        guard let (label, der) = PEM.read(pem), label == "PRIVATE KEY", der.count == DER.x25519PrivatePrefix.count + 32,
            der.starts(with: DER.x25519PrivatePrefix)
        else { throw KeyFailure("the private key is no X25519 key in PKCS#8, or its encoding is broken") }
        secret = try Curve25519.KeyAgreement.PrivateKey(rawRepresentation: der.suffix(32))
    }

    public var pem: String { PEM.write("PRIVATE KEY", DER.x25519PrivatePrefix + [UInt8](secret.rawRepresentation)) }

    /// 32 raw bytes in base64.
    public var publicKey: String { Base64.encode([UInt8](secret.publicKey.rawRepresentation)) }

    /// The key in this file (0600), made at the first call.
    public static func loadOrMake(_ path: FilePath) throws -> SealingKey {
        try SealingKey(pem: try KeyFile.textOrMake(path) { SealingKey().pem })
    }
}
