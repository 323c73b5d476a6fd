public import CargoArtifact
internal import CargoFiles
internal import SystemPackage

/// Keys and digests that count no more, as their owner signs them for every host that asks.
///
/// A list expires soon, so that whoever hands a host an old one gains no more than that time.
public struct RevocationList: Hashable, Sendable {
    /// Seconds since 1970 after which the list says nothing, and a policy that names it accepts nothing.
    public var expires: Int64
    /// Fingerprints.
    public var keys: Set<Digest>
    /// Root digests of cargos, and payloads of delegations.
    public var digests: Set<Digest>

    /// Most bytes of a list.
    public static let maximumSize = 4 << 20

    public init(expires: Int64, keys: Set<Digest> = [], digests: Set<Digest> = []) {
        self.expires = expires
        self.keys = keys
        self.digests = digests
    }

    /// A DSSE envelope as canonical JSON.
    public func signed(by key: SigningKey) throws -> [UInt8] {
        func list(_ digests: Set<Digest>) -> JSONValue { .array(digests.sorted().map { .string($0.description) }) }
        let payload = CanonicalJSON.encode(
            .object([
                "version": .integer(1), "expires": .string(Timestamp.text(expires)), "keys": list(keys),
                "digests": list(digests),
            ]))
        return try DSSE.sign(payload: payload, type: MediaType.revocations, key: key).json()
    }

    /// Reads an envelope that one of `keys` signed. Throws `Refusal`.
    public init(envelope json: [UInt8], keys: [PublicKey]) throws {
        let envelope: DSSEEnvelope
        do { envelope = try DSSEEnvelope(json: json, limit: RevocationList.maximumSize) } catch {
            throw Refusal("revocations", "it is no DSSE envelope; `longshore key revoke --list` writes one")
        }
        guard envelope.payloadType == MediaType.revocations else {
            throw Refusal("revocations", "it holds no revocation list; `longshore key revoke --list` writes one")
        }
        let payload: [UInt8]
        do {
            payload = try DSSE.verify(envelope, type: MediaType.revocations, keys: keys).payload
        } catch let refusal as Refusal where refusal.rule == "unknown-key" {
            throw Refusal("revocations", "no key that may sign it did; get it again from its owner")
        }
        guard let value = try? StrictJSON.parse(payload, limit: RevocationList.maximumSize),
            let members = try? Members(value, at: "the list", allowed: ["version", "expires", "keys", "digests"]),
            members["version"] == .integer(1), case .string(let text) = members["expires"],
            let expires = Timestamp.seconds(text), let listed = try? members.digests("keys"),
            let digests = try? members.digests("digests")
        else { throw Refusal("revocations", "what was signed is no revocation list of version 1") }
        self.init(expires: expires, keys: Set(listed), digests: Set(digests))
    }
}

extension TrustPolicy {
    /// Whether a key's signatures count no more, by this file or by a list.
    public func isRevoked(key: PublicKey) -> Bool {
        let fingerprint = key.fingerprint
        return revokedKeys.contains(fingerprint) || revocations.contains { $0.keys.contains(fingerprint) }
    }

    public func isRevoked(digest: Digest) -> Bool {
        revokedDigests.contains(digest) || revocations.contains { $0.digests.contains(digest) }
    }

    /// Reads the lists that the policy names; one that cannot be read makes it refuse everything.
    mutating func loadRevocations(from folder: FilePath) {
        revocations = []
        revocationFailure = nil
        for source in revocationSources {
            let path = folder.pushing(FilePath(source.file))
            do {
                let bytes = try File.contents(of: path, limit: RevocationList.maximumSize)
                revocations.append(try RevocationList(envelope: bytes, keys: source.keys))
            } catch let refusal as Refusal {
                revocationFailure = Refusal(refusal.rule, "the revocation list \(path) does not count: \(refusal.message)")
            } catch {
                revocationFailure = Refusal(
                    "revocations",
                    "the revocation list \(path) cannot be read (\(error)); put it there, or take it out of the trust file"
                )
            }
        }
    }

    /// Refuses while a list that the policy names is missing, wrong or past its time (docs/rules.md 5).
    func checkRevocations(now: Int64) throws {
        if let revocationFailure { throw revocationFailure }
        guard revocations.count == revocationSources.count else {
            throw Refusal("revocations", "the revocation lists of the trust file were not read")
        }
        if let stale = revocations.map(\.expires).min(), stale <= now {
            throw Refusal(
                "stale-revocations", "a revocation list ended at \(Timestamp.text(stale)); get a newer one from its owner")
        }
    }
}
