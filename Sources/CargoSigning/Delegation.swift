public import CargoArtifact

/// What an offline root key says by signing a release key: it may sign cargos of these names until then.
public struct Delegation: Hashable, Sendable {
    public var key: PublicKey
    /// As in a trust rule: `publisher/name`, or a prefix and `*`.
    public var names: [String]
    /// Seconds since 1970 after which signatures of the key count no more.
    public var expires: Int64

    /// Most names of one delegation.
    static let maximumNames = 256

    public init(key: PublicKey, names: [String], expires: Int64) {
        self.key = key
        self.names = names
        self.expires = expires
    }

    public func covers(_ name: String) -> Bool { names.contains { TrustPolicy.fit($0, name) != nil } }

    /// A DSSE envelope as canonical JSON.
    public func signed(by root: SigningKey) throws -> [UInt8] {
        let payload = CanonicalJSON.encode(
            .object([
                "version": .integer(1), "key": .string(Base64.encode(key.der)), "names": .array(names.map(JSONValue.string)),
                "expires": .string(Timestamp.text(expires)),
            ]))
        return try DSSE.sign(payload: payload, type: MediaType.delegation, key: root).json()
    }

    /// What an envelope says, whoever signed it: for showing it, and for finding the one that belongs to a key.
    public init(unverified envelope: [UInt8]) throws(Refusal) {
        guard let payload = Base64.decode(try Delegation.envelope(envelope).payload) else { throw Delegation.malformed }
        try self.init(payload: payload)
    }

    /// Only canonical JSON: nothing may stand in an archive that is not signed.
    fileprivate static func envelope(_ json: [UInt8]) throws(Refusal) -> DSSEEnvelope {
        guard let envelope = try? DSSEEnvelope(json: json), (try? envelope.json()) == json else { throw malformed }
        return envelope
    }

    fileprivate init(payload: [UInt8]) throws(Refusal) {
        guard let value = try? StrictJSON.parse(payload, limit: CargoLayout.maximumDocument),
            let members = try? Members(value, at: "the delegation", allowed: ["version", "key", "names", "expires"]),
            members["version"] == .integer(1), case .string(let key) = members["key"],
            let key = try? PublicKey(der: Base64.decode(key) ?? []), let names = try? members.strings("names"),
            (1...Delegation.maximumNames).contains(names.count), names.allSatisfy(TrustPolicy.isPattern),
            case .string(let text) = members["expires"], let expires = Timestamp.seconds(text)
        else { throw Delegation.malformed }
        self.init(key: key, names: names, expires: expires)
    }

    fileprivate static let malformed = Refusal(
        "delegation", "a delegation beside the cargo is not as `longshore key delegate` writes it")
}

/// A delegation that roots of a policy signed.
struct VerifiedDelegation {
    let delegation: Delegation
    let roots: [PublicKey]
    /// SHA-256 of the signed payload: what a revocation names.
    let digest: Digest

    init(_ envelope: [UInt8], roots: [PublicKey]) throws(Refusal) {
        let envelope = try Delegation.envelope(envelope)
        do {
            let verified = try DSSE.verify(envelope, type: MediaType.delegation, keys: roots)
            delegation = try Delegation(payload: verified.payload)
            self.roots = verified.signers
            digest = Digest(of: verified.payload)
        } catch let refusal as Refusal { throw refusal } catch { throw Delegation.malformed }
    }
}

extension Delegation {
    /// SHA-256 of the signed payload of an envelope: what a revocation names.
    public static func digest(of envelope: [UInt8]) throws(Refusal) -> Digest {
        guard let payload = Base64.decode(try Delegation.envelope(envelope).payload) else { throw malformed }
        return Digest(of: payload)
    }
}
