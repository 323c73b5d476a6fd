public import CargoArtifact

/// A DSSE envelope (secure-systems-lab/dsse, envelope.md) in its JSON form.
public struct DSSEEnvelope: Hashable, Sendable, Codable {
    public struct Signature: Hashable, Sendable, Codable {
        /// Base64.
        public var sig: String
        /// Not signed, so never trusted; we write none.
        public var keyid: String?

        public init(sig: String, keyid: String? = nil) {
            self.sig = sig
            self.keyid = keyid
        }
    }

    /// Base64.
    public var payload: String
    public var payloadType: String
    public var signatures: [Signature]

    public init(payload: String, payloadType: String, signatures: [Signature]) {
        self.payload = payload
        self.payloadType = payloadType
        self.signatures = signatures
    }

    /// Reads envelope JSON strictly.
    public init(json: [UInt8], limit: Int = CargoLayout.maximumDocument) throws {
        self = try StrictJSON.decode(from: json, limit: limit)
    }

    /// Canonical JSON.
    public func json() throws -> [UInt8] { try CanonicalJSON.encode(self) }
}

/// Signing and checking of bytes with a type: every signature that Longshore makes is one of these (docs/rules.md 1).
///
/// The type is part of what is signed, so a signature for one purpose never serves another.
public enum DSSE {
    /// Most signatures of one envelope.
    public static let maximumSignatures = 16

    /// Bytes that some keys signed.
    public struct Verified: Hashable, Sendable {
        /// Exactly what was signed: parse this and nothing else.
        public let payload: [UInt8]
        /// Distinct keys with a valid signature, in the order of the keys that were asked for.
        public let signers: [PublicKey]
    }

    /// `DSSEv1 LEN(type) type LEN(payload) payload`.
    public static func preAuthenticationEncoding(type: String, payload: [UInt8]) -> [UInt8] {
        Array("DSSEv1 \(type.utf8.count) \(type) \(payload.count) ".utf8) + payload
    }

    public static func sign(payload: [UInt8], type: String, key: SigningKey) throws -> DSSEEnvelope {
        let signature = try key.sign(preAuthenticationEncoding(type: type, payload: payload))
        return DSSEEnvelope(
            payload: Base64.encode(payload), payloadType: type,
            signatures: [DSSEEnvelope.Signature(sig: Base64.encode(signature))])
    }

    /// The payload, if at least one of `keys` signed it as `type`; `Refusal` else.
    public static func verify(_ envelope: DSSEEnvelope, type: String, keys: [PublicKey]) throws -> Verified {
        guard envelope.payloadType == type else {
            throw Refusal("payload-type", "the signed bytes are of type '\(envelope.payloadType.prefix(100))', not '\(type)'")
        }
        guard let payload = Base64.decode(envelope.payload) else {
            throw Refusal("signature-format", "the envelope's payload is not base64")
        }
        guard (1...maximumSignatures).contains(envelope.signatures.count) else {
            throw Refusal("signature-format", "the envelope must hold 1 to \(maximumSignatures) signatures")
        }
        let message = preAuthenticationEncoding(type: type, payload: payload)
        let signatures = try envelope.signatures.map { signature in
            guard let bytes = Base64.decode(signature.sig) else {
                throw Refusal("signature-format", "a signature in the envelope is not base64")
            }
            return bytes
        }
        var seen: Set<PublicKey> = []
        let signers = keys.filter { key in
            seen.insert(key).inserted && signatures.contains { key.isValid(signature: $0, for: message) }
        }
        guard !signers.isEmpty else {
            throw Refusal("unknown-key", "no trusted key signed this; `longshore key trust KEY.pub --for NAME` trusts one")
        }
        return Verified(payload: payload, signers: signers)
    }
}
