import CargoArtifact
import CargoQueue
import CargoWire
import Crypto
import FoundationEssentials

/// A host that brings a public key must show that it holds the private one (docs/rules.md 2): a DSSE envelope over its
/// registration, checked over the stored bytes before they are parsed.
enum HostProof {
    static let payloadType = "application/vnd.longshore.host-registration.v1+json"

    private struct Envelope: Decodable {
        struct Signature: Decodable { var sig: String }
        var payload: String
        var payloadType: String
        var signatures: [Signature]
    }

    private struct Statement: Decodable {
        var name: String
        var publicKey: String
        enum CodingKeys: String, CodingKey {
            case name
            case publicKey = "public_key"
        }
    }

    static func check(_ registration: HostRegistration) throws {
        guard let text = registration.publicKey else { return }
        guard let raw = Data(base64Encoded: text), raw.count == 32,
            let key = try? Curve25519.Signing.PublicKey(rawRepresentation: raw)
        else { throw GatewayError(422, "invalid_key", "'public_key' is an Ed25519 key: 32 bytes in base64.") }
        guard let proof = registration.proof else {
            throw GatewayError(422, "missing_proof", "A host with a 'public_key' sends a 'proof' signed by it.")
        }
        let envelope = try JSONDecoder().decode(Envelope.self, from: try Answer.encoder.encode(proof))
        guard envelope.payloadType == payloadType, let payload = Data(base64Encoded: envelope.payload), payload.count <= 65536,
            envelope.signatures.contains(where: { signature in
                guard let bytes = Data(base64Encoded: signature.sig) else { return false }
                return key.isValidSignature(bytes, for: preAuthentication(payload))
            })
        else {
            throw GatewayError(
                422, "invalid_proof", "The 'proof' is not a DSSE envelope of type \(payloadType) signed by 'public_key'.")
        }
        let statement = try StrictJSON.decode(Statement.self, from: [UInt8](payload), limit: 65536)
        guard statement.name == registration.name, statement.publicKey == text else {
            throw GatewayError(422, "invalid_proof", "The 'proof' was signed for another name or key than the registration's.")
        }
    }

    static let sealingType = "application/vnd.longshore.host-sealing-key.v1+json"

    private struct SealingStatement: Decodable {
        var key: String
        var hostKey: String
        enum CodingKeys: String, CodingKey {
            case key
            case hostKey = "host_key"
        }
    }

    /// A sealing key counts by the word of the host's own identity alone.
    static func checkSealing(_ registration: HostRegistration) throws {
        guard let sealing = registration.sealing else { return }
        guard let identity = registration.publicKey, let raw = Data(base64Encoded: identity),
            let key = try? Curve25519.Signing.PublicKey(rawRepresentation: raw),
            let envelope = try? JSONDecoder().decode(Envelope.self, from: try Answer.encoder.encode(sealing)),
            envelope.payloadType == sealingType, let payload = Data(base64Encoded: envelope.payload), payload.count <= 4096,
            envelope.signatures.prefix(8).contains(where: { signature in
                Data(base64Encoded: signature.sig).map {
                    key.isValidSignature($0, for: preAuthentication(payload, sealingType))
                } == true
            })
        else {
            throw GatewayError(
                422, "invalid_sealing_key", "'sealing' is a DSSE envelope of type \(sealingType) signed by 'public_key'.")
        }
        let statement = try StrictJSON.decode(SealingStatement.self, from: [UInt8](payload), limit: 4096)
        guard statement.hostKey == identity, let bytes = Data(base64Encoded: statement.key), bytes.count == 32,
            (try? Curve25519.KeyAgreement.PublicKey(rawRepresentation: bytes)) != nil
        else { throw GatewayError(422, "invalid_sealing_key", "A sealing key is X25519, 32 bytes in base64, of this very host.") }
    }

    static let rotationType = "application/vnd.longshore.host-rotation.v1+json"

    private struct Rotation: Decodable {
        var host: String
        var publicKey: String
        enum CodingKeys: String, CodingKey {
            case host
            case publicKey = "public_key"
        }
    }

    /// A new identity is signed by the old one and by itself.
    static func check(_ rotation: HostRotation, of host: HostRecord) throws {
        func key(_ text: String?) throws -> Curve25519.Signing.PublicKey {
            guard let raw = text.flatMap({ Data(base64Encoded: $0) }), raw.count == 32,
                let key = try? Curve25519.Signing.PublicKey(rawRepresentation: raw)
            else { throw GatewayError(422, "invalid_key", "A host's key is Ed25519: 32 bytes in base64, the old one too.") }
            return key
        }
        let (old, new) = (try key(host.publicKey), try key(rotation.publicKey))
        guard let proof = rotation.proof,
            let envelope = try? JSONDecoder().decode(Envelope.self, from: try Answer.encoder.encode(proof)),
            envelope.payloadType == rotationType, let payload = Data(base64Encoded: envelope.payload), payload.count <= 65536
        else { throw GatewayError(422, "invalid_proof", "The 'proof' is a DSSE envelope of type \(rotationType).") }
        let message = preAuthentication(payload, rotationType)
        let signatures = envelope.signatures.prefix(8).compactMap { Data(base64Encoded: $0.sig) }
        guard signatures.contains(where: { old.isValidSignature($0, for: message) }),
            signatures.contains(where: { new.isValidSignature($0, for: message) })
        else { throw GatewayError(422, "invalid_proof", "A rotation is signed by the old key and by the new one.") }
        let statement = try StrictJSON.decode(Rotation.self, from: [UInt8](payload), limit: 65536)
        guard statement.host == host.id, statement.publicKey == rotation.publicKey else {
            throw GatewayError(422, "invalid_proof", "The 'proof' was signed for another host or key.")
        }
    }

    /// PAE of the DSSE specification 1.0.
    private static func preAuthentication(_ payload: Data, _ type: String = payloadType) -> Data {
        Data("DSSEv1 \(type.utf8.count) \(type) \(payload.count) ".utf8) + payload
    }
}
