import CargoArtifact
import CargoQueue
import CargoSigning
import CargoWire
import Crypto
import FoundationEssentials

/// A host that brings a public key must show that it holds the private one (docs/rules.md 2): a DSSE envelope over its
/// registration, checked over the stored bytes before they are parsed.
enum HostProof {
    static let payloadType = "application/vnd.longshore.host-registration.v1+json"

    private struct Statement: Decodable {
        var name: String
        var publicKey: String
        enum CodingKeys: String, CodingKey {
            case name
            case publicKey = "public_key"
        }
    }

    /// Signatures of one proof: a host's, and at a rotation both of its keys'.
    private static let mostSignatures = 8

    /// A host's public key: Ed25519, 32 bytes in base64.
    private static func key(_ text: String?) -> PublicKey? {
        text.flatMap { Data(base64Encoded: $0) }.flatMap { try? PublicKey(ed25519: [UInt8]($0)) }
    }

    /// What all of `keys` signed as `type`; nil where one of them did not. Throws where the proof is no envelope.
    private static func payload(
        of proof: JSONValue, type: String, signedBy keys: [PublicKey], limit: Int
    ) throws -> [UInt8]? {
        let envelope = try DSSEEnvelope(json: [UInt8](try Answer.encoder.encode(proof)))
        guard envelope.signatures.count <= mostSignatures, let verified = try? DSSE.verify(envelope, type: type, keys: keys),
            verified.signers.count == Set(keys).count, verified.payload.count <= limit
        else { return nil }
        return verified.payload
    }

    static func check(_ registration: HostRegistration) throws {
        guard let text = registration.publicKey else { return }
        guard let key = key(text) else {
            throw GatewayError(422, "invalid_key", "'public_key' is an Ed25519 key: 32 bytes in base64.")
        }
        guard let proof = registration.proof else {
            throw GatewayError(422, "missing_proof", "A host with a 'public_key' sends a 'proof' signed by it.")
        }
        guard let payload = try payload(of: proof, type: payloadType, signedBy: [key], limit: 65536) else {
            throw GatewayError(
                422, "invalid_proof", "The 'proof' is not a DSSE envelope of type \(payloadType) signed by 'public_key'.")
        }
        let statement = try StrictJSON.decode(Statement.self, from: payload, limit: 65536)
        guard statement.name == registration.name, statement.publicKey == text else {
            throw GatewayError(422, "invalid_proof", "The 'proof' was signed for another name or key than the registration's.")
        }
    }

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
        guard let identity = registration.publicKey, let key = key(identity),
            let payload = try? payload(of: sealing, type: SealingKey.statementType, signedBy: [key], limit: 4096)
        else {
            throw GatewayError(
                422, "invalid_sealing_key",
                "'sealing' is a DSSE envelope of type \(SealingKey.statementType) signed by 'public_key'.")
        }
        let statement = try StrictJSON.decode(SealingStatement.self, from: payload, limit: 4096)
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
        guard let old = key(host.publicKey), let new = key(rotation.publicKey) else {
            throw GatewayError(422, "invalid_key", "A host's key is Ed25519: 32 bytes in base64, the old one too.")
        }
        guard let proof = rotation.proof,
            let payload = try? payload(of: proof, type: rotationType, signedBy: [old, new], limit: 65536)
        else {
            throw GatewayError(
                422, "invalid_proof",
                "The 'proof' is a DSSE envelope of type \(rotationType), signed by the old key and by the new one.")
        }
        let statement = try StrictJSON.decode(Rotation.self, from: payload, limit: 65536)
        guard statement.host == host.id, statement.publicKey == rotation.publicKey else {
            throw GatewayError(422, "invalid_proof", "The 'proof' was signed for another host or key.")
        }
    }
}
