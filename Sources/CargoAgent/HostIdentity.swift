import CargoArtifact
import CargoSigning
import CargoWire
import FoundationEssentials
import SystemPackage

/// The host's Ed25519 key, made at its first start (docs/rules.md 2): who signs this host's registrations and outcomes, and its
/// sealing key.
struct HostIdentity: Sendable {
    private let key: SigningKey
    private let sealing: SealingKey

    /// Loads `path` and `sealing.key` beside it, or makes them (0600) where they are missing.
    init(at path: FilePath) throws {
        key = try KeyFile.loadOrMake(path)
        sealing = try SealingKey.loadOrMake(path.removingLastComponent().appending("sealing.key"))
        guard key.publicKey.ed25519 != nil else {
            throw KeyFailure("\(path) is no Ed25519 key; move it away and a new one is made")
        }
    }

    /// 32 raw bytes in base64.
    var publicKey: String { Data(key.publicKey.ed25519 ?? []).base64EncodedString() }

    /// SHA-256 of the raw public key, hexadecimal: what a person compares.
    var fingerprint: String { Digest(of: key.publicKey.ed25519 ?? []).hex }

    /// A DSSE envelope over these bytes, signed by this identity and another.
    func sign(_ payload: [UInt8], beside other: HostIdentity, type: String) throws -> JSONValue {
        var envelope = try DSSE.sign(payload: payload, type: type, key: key)
        envelope.signatures += try DSSE.sign(payload: payload, type: type, key: other.key).signatures
        return try JSONDecoder().decode(JSONValue.self, from: Data(try envelope.json()))
    }

    /// A DSSE envelope over the canonical JSON of `value`.
    func sign(_ value: some Encodable, type: String) throws -> JSONValue {
        let envelope = try DSSE.sign(payload: try CanonicalJSON.encode(value), type: type, key: key)
        return try JSONDecoder().decode(JSONValue.self, from: Data(try envelope.json()))
    }

    /// The request that makes this host known, with the proof that the sender holds the key.
    func registration(name: String, slots: Int, capabilities: HostCapabilities, at time: Date) throws -> HostRegistration {
        struct Claim: Encodable {
            var name: String
            var publicKey: String
            var at: String

            enum CodingKeys: String, CodingKey {
                case name, at
                case publicKey = "public_key"
            }
        }
        let claim = Claim(name: name, publicKey: publicKey, at: time.formatted(.iso8601))
        let proof = try sign(claim, type: "application/vnd.longshore.host-registration.v1+json")
        var registration = HostRegistration(
            name: name, publicKey: publicKey, proof: proof, slots: slots, capabilities: capabilities)
        registration.sealing = try sealingStatement(at: time)
        return registration
    }

    /// This identity's word for its sealing key.
    func sealingStatement(at time: Date) throws -> JSONValue {
        struct Statement: Encodable {
            var key: String
            var hostKey: String
            var at: String

            enum CodingKeys: String, CodingKey {
                case key, at
                case hostKey = "host_key"
            }
        }
        return try sign(
            Statement(key: sealing.publicKey, hostKey: publicKey, at: time.formatted(.iso8601)), type: SealingKey.statementType)
    }
}
