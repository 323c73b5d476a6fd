internal import Crypto
internal import FoundationEssentials

/// A private key that signs.
public struct SigningKey: Sendable {
    private enum Secret: Sendable {
        case ed25519(Curve25519.Signing.PrivateKey)
        case p256(P256.Signing.PrivateKey)
    }

    private let secret: Secret

    /// Makes a new key.
    public init(type: KeyType = .ed25519) {
        secret =
            switch type {
            case .ed25519: .ed25519(Curve25519.Signing.PrivateKey())
            case .p256: .p256(P256.Signing.PrivateKey())
            }
    }

    /// Reads PKCS#8 `-----BEGIN PRIVATE KEY-----`.
    public init(pem: String) throws {
        guard case .plain(let key) = try PrivateKeyText(pem: pem) else {
            throw KeyFailure("the key is protected by a passphrase, which nothing here asks for; use one without")
        }
        self = key
    }

    /// Reads PKCS#8 bytes.
    public init(pkcs8 der: [UInt8]) throws {
        if der.count == DER.ed25519PrivatePrefix.count + 32, der.starts(with: DER.ed25519PrivatePrefix),
            let key = try? Curve25519.Signing.PrivateKey(rawRepresentation: der.suffix(32))
        {
            secret = .ed25519(key)
        } else if let key = try? P256.Signing.PrivateKey(derRepresentation: der) {
            secret = .p256(key)
        } else {
            throw KeyFailure("the private key is neither Ed25519 nor ECDSA P-256 in PKCS#8, or its encoding is broken")
        }
    }

    public var type: KeyType {
        switch secret {
        case .ed25519: .ed25519
        case .p256: .p256
        }
    }

    /// PKCS#8.
    public var pkcs8: [UInt8] {
        switch secret {
        case .ed25519(let key): DER.ed25519PrivatePrefix + key.rawRepresentation
        case .p256(let key): [UInt8](key.derRepresentation)
        }
    }

    public var pem: String { PEM.write("PRIVATE KEY", pkcs8) }

    public var publicKey: PublicKey {
        do {
            switch secret {
            case .ed25519(let key): return try PublicKey(ed25519: [UInt8](key.publicKey.rawRepresentation))
            case .p256(let key): return try PublicKey(der: [UInt8](key.publicKey.derRepresentation))
            }
        } catch {
            // A private key that was made or read has a point of full order on its curve.
            preconditionFailure("a private key without a usable public key: \(error)")
        }
    }

    /// Ed25519 signatures are 64 bytes, ECDSA ones ASN.1 DER.
    public func sign(_ message: [UInt8]) throws -> [UInt8] {
        switch secret {
        case .ed25519(let key): [UInt8](try key.signature(for: message))
        case .p256(let key): [UInt8](try key.signature(for: message).derRepresentation)
        }
    }
}

/// What the PEM text of a private key holds.
public enum PrivateKeyText: Sendable {
    case plain(SigningKey)
    /// PKCS#8 `EncryptedPrivateKeyInfo` as DER, closed by a passphrase.
    case protected([UInt8])

    /// Reads `-----BEGIN PRIVATE KEY-----` or `-----BEGIN ENCRYPTED PRIVATE KEY-----` (RFC 7468 sections 10 and 11).
    public init(pem: String) throws {
        guard let (label, der) = PEM.read(pem) else { throw KeyFailure("this is no private key file: PEM is expected") }
        switch label {
        case "PRIVATE KEY": self = .plain(try SigningKey(pkcs8: der))
        case "ENCRYPTED PRIVATE KEY": self = .protected(der)
        default: throw KeyFailure("a PEM block 'PRIVATE KEY' (PKCS#8) is expected, not '\(label)'")
        }
    }

    public var pem: String {
        switch self {
        case .plain(let key): key.pem
        case .protected(let der): PEM.write("ENCRYPTED PRIVATE KEY", der)
        }
    }
}
