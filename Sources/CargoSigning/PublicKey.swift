public import CargoArtifact
internal import FoundationEssentials

internal import enum Crypto.Curve25519
internal import enum Crypto.P256
internal import struct Crypto.SHA256

/// The kinds of keys that sign.
public enum KeyType: String, Sendable, Codable, CaseIterable {
    case ed25519
    /// ECDSA on NIST P-256 with SHA-256.
    case p256
}

/// A key file or key text that cannot be used.
public struct KeyFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }
}

/// A public key. Two that are equal are the same point on the same curve, however they were written (docs/rules.md 1).
public struct PublicKey: Hashable, Sendable {
    public let type: KeyType
    /// SubjectPublicKeyInfo: of one point there is one such encoding here.
    public let der: [UInt8]

    /// Reads `-----BEGIN PUBLIC KEY-----`.
    public init(pem: String) throws {
        guard let (label, der) = PEM.read(pem), label == "PUBLIC KEY" else {
            throw KeyFailure("this is no public key file: it must hold one PEM block 'PUBLIC KEY'")
        }
        try self.init(der: der)
    }

    /// Reads a SubjectPublicKeyInfo. Compressed points are taken; encodings that are not canonical and points of
    /// small order, under which one signature fits many messages or keys, are refused.
    public init(der: [UInt8]) throws {
        if der.count == DER.ed25519PublicPrefix.count + 32, der.starts(with: DER.ed25519PublicPrefix) {
            try self.init(ed25519: Array(der.dropFirst(DER.ed25519PublicPrefix.count)))
        } else if let key = try? P256.Signing.PublicKey(derRepresentation: der) {
            self.init(type: .p256, canonical: [UInt8](key.derRepresentation))
        } else {
            throw KeyFailure("the key is neither Ed25519 nor ECDSA P-256, or its encoding is broken")
        }
    }

    /// The 32 bytes of an Ed25519 key (RFC 8032).
    public init(ed25519 raw: [UInt8]) throws {
        guard raw.count == 32, Ed25519Point.isAcceptable(raw), (try? Curve25519.Signing.PublicKey(rawRepresentation: raw)) != nil
        else { throw KeyFailure("these 32 bytes are no usable Ed25519 key") }
        self.init(type: .ed25519, canonical: DER.ed25519PublicPrefix + raw)
    }

    private init(type: KeyType, canonical der: [UInt8]) {
        self.type = type
        self.der = der
    }

    public var pem: String { PEM.write("PUBLIC KEY", der) }

    /// The 32 bytes of an Ed25519 key; nil for other kinds.
    public var ed25519: [UInt8]? { type == .ed25519 ? Array(der.suffix(32)) : nil }

    /// SHA-256 of the SubjectPublicKeyInfo: how people and policies name a key.
    public var fingerprint: Digest { Digest(of: der) }

    /// `verificationMaterial.publicKey.hint` of a Sigstore bundle: base64 of the same SHA-256.
    public var hint: String { Base64.encode([UInt8](SHA256.hash(data: der))) }

    /// ECDSA signatures are ASN.1 DER, as Sigstore has them.
    public func isValid(signature: [UInt8], for message: [UInt8]) -> Bool {
        switch type {
        case .ed25519:
            guard let key = try? Curve25519.Signing.PublicKey(rawRepresentation: der.suffix(32)) else { return false }
            return key.isValidSignature(signature, for: message)
        case .p256:
            guard let key = try? P256.Signing.PublicKey(derRepresentation: der),
                let signature = try? P256.Signing.ECDSASignature(derRepresentation: signature)
            else { return false }
            return key.isValidSignature(signature, for: message)
        }
    }
}

/// Which encodings of Ed25519 points are taken as keys.
private enum Ed25519Point {
    /// y of the points of order 1, 2, 4 and 8, little-endian without the sign bit.
    private static let smallOrder: [[UInt8]] = [
        [0] + [UInt8](repeating: 0, count: 31),
        [1] + [UInt8](repeating: 0, count: 31),
        [0xEC] + [UInt8](repeating: 0xFF, count: 30) + [0x7F],
        [
            0x26, 0xE8, 0x95, 0x8F, 0xC2, 0xB2, 0x27, 0xB0, 0x45, 0xC3, 0xF4, 0x89, 0xF2, 0xEF, 0x98, 0xF0,
            0xD5, 0xDF, 0xAC, 0x05, 0xD3, 0xC6, 0x33, 0x39, 0xB1, 0x38, 0x02, 0x88, 0x6D, 0x53, 0xFC, 0x05,
        ],
        [
            0xC7, 0x17, 0x6A, 0x70, 0x3D, 0x4D, 0xD8, 0x4F, 0xBA, 0x3C, 0x0B, 0x76, 0x0D, 0x10, 0x67, 0x0F,
            0x2A, 0x20, 0x53, 0xFA, 0x2C, 0x39, 0xCC, 0xC6, 0x4E, 0xC7, 0xFD, 0x77, 0x92, 0xAC, 0x03, 0x7A,
        ],
    ]

    static func isAcceptable(_ raw: [UInt8]) -> Bool {
        var y = raw
        y[31] &= 0x7F
        // p = 2^255 - 19: y from p upwards is a second encoding of a small y.
        let isAboveP = y[31] == 0x7F && y[1..<31].allSatisfy { $0 == 0xFF } && y[0] >= 0xED
        return !isAboveP && !smallOrder.contains(y)
    }
}
