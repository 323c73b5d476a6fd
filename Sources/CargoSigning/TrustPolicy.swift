public import CargoArtifact
internal import CargoFiles
public import SystemPackage

/// A trust file that says something it must not; the sentence names the place.
public struct TrustFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = "trust policy: " + description }
}

/// Which keys may sign which names (DESIGN.md section 4, `trust.json`). What it does not allow is refused.
public struct TrustPolicy: Hashable, Sendable {
    /// Keys of which `threshold` distinct ones must have signed a cargo whose name fits one of `names`.
    public struct Rule: Hashable, Sendable {
        /// `publisher/name`, or a prefix and `*`.
        public var names: [String]
        public var keys: [PublicKey]
        public var threshold: Int
        /// Seconds since 1970 after which the rule allows nothing.
        public var notAfter: Int64?

        public init(names: [String], keys: [PublicKey], threshold: Int = 1, notAfter: Int64? = nil) {
            self.names = names
            self.keys = keys
            self.threshold = threshold
            self.notAfter = notAfter
        }
    }

    /// Most bytes of a trust file.
    public static let maximumSize = 4 << 20

    public var rules: [Rule]
    /// Fingerprints of keys whose signatures count no more.
    public var revokedKeys: Set<Digest>
    /// Root digests that are refused whoever signed them.
    public var revokedDigests: Set<Digest>

    public init(rules: [Rule] = [], revokedKeys: Set<Digest> = [], revokedDigests: Set<Digest> = []) {
        self.rules = rules
        self.revokedKeys = revokedKeys
        self.revokedDigests = revokedDigests
    }

    /// Reads a trust file.
    public init(contentsOf path: FilePath) throws {
        try self.init(json: try File.contents(of: path, limit: TrustPolicy.maximumSize))
    }

    /// How well `pattern` fits: the length of what is fixed, an exact name above every prefix; nil when it does not.
    static func fit(_ pattern: String, _ name: String) -> Int? {
        if pattern.hasSuffix("*") {
            let prefix = pattern.utf8.dropLast()
            return name.utf8.starts(with: prefix) ? prefix.count : nil
        }
        return pattern.utf8.elementsEqual(name.utf8) ? Int.max : nil
    }

    /// The rules for a name: those whose pattern fits best. A wider rule never speaks for a name that has its own.
    public func rules(for name: String) -> [Rule] {
        let fits = rules.map { rule in rule.names.compactMap { TrustPolicy.fit($0, name) }.max() }
        guard let best = fits.compactMap({ $0 }).max() else { return [] }
        return zip(rules, fits).filter { $0.1 == best }.map(\.0)
    }
}

/// A cargo whose signatures a policy accepted.
public struct VerifiedRelease: Hashable, Sendable {
    public let root: Digest
    public let claims: ReleaseClaims
    /// The distinct keys that counted.
    public let signers: [PublicKey]
}

extension TrustPolicy {
    /// Checks the signatures of a root digest against this policy.
    ///
    /// `bundles` are Sigstore bundles as JSON, unverified; `now` is seconds since 1970; `leastCounter` is the highest
    /// release counter seen of a name, for which a lower one is a rollback (nil: pinned digest, no check).
    /// Throws a `Refusal` whose rule says which check failed.
    public func verify(
        root: Digest, bundles: [[UInt8]], now: Int64 = Timestamp.now(), leastCounter: (String) -> Int64? = { _ in nil }
    ) throws -> VerifiedRelease {
        guard !revokedDigests.contains(root) else {
            throw Refusal("revoked-digest", "\(root) was revoked; ask its publisher for a newer version")
        }
        guard !bundles.isEmpty else {
            throw Refusal("unsigned", "the cargo is not signed; sign it with `longshore sign FILE --key NAME`")
        }
        guard bundles.count <= CargoLayout.maximumSignatures else {
            throw Refusal("signature-format", "the cargo has more than \(CargoLayout.maximumSignatures) signatures")
        }
        var signers: [ReleaseClaims: [PublicKey]] = [:]
        var failure: Refusal?
        let keys = rules.flatMap(\.keys)
        for bundle in bundles {
            do {
                let envelope = try SigstoreBundle(json: bundle).dsseEnvelope
                let verified = try DSSE.verify(envelope, type: MediaType.inTotoStatement, keys: keys)
                let claims = try Statement.claims(in: verified.payload, about: root)
                signers[claims, default: []] += verified.signers
            } catch let refusal as Refusal {
                failure = failure ?? refusal
            }
        }
        var accepted: [VerifiedRelease] = []
        for (claims, keys) in signers {
            do {
                let counted = try accept(claims, signers: keys, now: now)
                if let least = leastCounter(claims.name), claims.counter < least {
                    throw Refusal(
                        "rollback",
                        "\(claims.name) \(claims.version) is release \(claims.counter), older than \(least) seen before")
                }
                accepted.append(VerifiedRelease(root: root, claims: claims, signers: counted))
            } catch let refusal as Refusal {
                failure = refusal
            }
        }
        guard let newest = accepted.max(by: { $0.claims.counter < $1.claims.counter }) else {
            throw failure ?? Refusal("unknown-key", "no trusted key signed this cargo")
        }
        return newest
    }

    /// The signers that count for these claims, if a rule accepts them.
    private func accept(_ claims: ReleaseClaims, signers: [PublicKey], now: Int64) throws -> [PublicKey] {
        if let expires = claims.expires, expires <= now {
            throw Refusal("expired-signature", "the signature expired at \(Timestamp.text(expires)); ask for a newer version")
        }
        let candidates = rules(for: claims.name)
        guard !candidates.isEmpty else {
            throw Refusal(
                "no-rule", "no rule speaks for '\(claims.name)'; `longshore key trust KEY.pub --for '\(claims.name)'` adds one")
        }
        var failure = Refusal("unknown-key", "no key that may sign '\(claims.name)' signed this cargo")
        for rule in candidates {
            let own = Set(signers).intersection(rule.keys)
            let valid = own.filter { !revokedKeys.contains($0.fingerprint) }
            if own.isEmpty { continue }
            if let notAfter = rule.notAfter, notAfter <= now {
                failure = Refusal("expired-rule", "the rule for '\(claims.name)' ended at \(Timestamp.text(notAfter))")
            } else if valid.isEmpty {
                failure = Refusal("revoked-key", "every key that signed this cargo was revoked")
            } else if valid.count < rule.threshold {
                failure = Refusal(
                    "threshold", "'\(claims.name)' needs signatures of \(rule.threshold) keys, and \(valid.count) counted")
            } else {
                return valid.sorted { $0.fingerprint < $1.fingerprint }
            }
        }
        throw failure
    }
}

extension SigningKey {
    /// A Sigstore bundle, as JSON, that claims `claims` of a root digest.
    public func bundle(root: Digest, claims: ReleaseClaims) throws -> [UInt8] {
        let statement = try CanonicalJSON.encode(Statement(root: root, claims: claims))
        let envelope = try DSSE.sign(payload: statement, type: MediaType.inTotoStatement, key: self)
        return try SigstoreBundle(envelope: envelope, key: publicKey).json()
    }
}
