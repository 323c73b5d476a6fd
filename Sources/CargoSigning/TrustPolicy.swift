public import CargoArtifact
internal import CargoFiles
public import SystemPackage

/// A trust file that says something it must not; the sentence names the place.
public struct TrustFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = "trust policy: " + description }
}

/// Which keys may sign which names (`trust.json`). What it does not allow is refused.
public struct TrustPolicy: Hashable, Sendable {
    /// Keys of which `threshold` distinct ones must have signed a cargo whose name fits one of `names`.
    public struct Rule: Hashable, Sendable {
        /// `publisher/name`, or a prefix and `*`.
        public var names: [String]
        public var keys: [PublicKey]
        /// Keys that sign no cargos but delegations: all the release keys of one root count as one.
        public var roots: [PublicKey]
        public var threshold: Int
        /// Seconds since 1970 after which the rule allows nothing.
        public var notAfter: Int64?

        public init(
            names: [String], keys: [PublicKey], roots: [PublicKey] = [], threshold: Int = 1, notAfter: Int64? = nil
        ) {
            self.names = names
            self.keys = keys
            self.roots = roots
            self.threshold = threshold
            self.notAfter = notAfter
        }
    }

    /// What a refusal means.
    public enum Mode: String, Hashable, Sendable, CaseIterable {
        /// Nothing runs.
        case strict
        /// The same, but `cargo-run --unsigned` says what would have been refused. Agents are strict all the same.
        case audit
    }

    /// Where a signed list of what was revoked lies, and who may sign it.
    public struct RevocationSource: Hashable, Sendable {
        /// A path, from the trust file's folder when it is relative.
        public var file: String
        /// One of these must have signed the list.
        public var keys: [PublicKey]

        public init(file: String, keys: [PublicKey]) {
            self.file = file
            self.keys = keys
        }
    }

    /// Most bytes of a trust file.
    public static let maximumSize = 4 << 20
    /// Most revocation lists of one policy.
    public static let maximumLists = 16

    public var rules: [Rule]
    /// Fingerprints of keys whose signatures count no more.
    public var revokedKeys: Set<Digest>
    /// Digests that are refused whoever signed them: roots of cargos, and payloads of delegations.
    public var revokedDigests: Set<Digest>
    public var mode: Mode = .strict
    public var revocationSources: [RevocationSource] = []
    /// What the sources gave when the policy was loaded.
    public internal(set) var revocations: [RevocationList] = []
    /// Why a source gave nothing: then everything is refused (docs/rules.md 5).
    public internal(set) var revocationFailure: Refusal?

    public init(rules: [Rule] = [], revokedKeys: Set<Digest> = [], revokedDigests: Set<Digest> = []) {
        self.rules = rules
        self.revokedKeys = revokedKeys
        self.revokedDigests = revokedDigests
    }

    /// Reads a trust file and the revocation lists that it names. Throws a `Refusal` for a file that is broken.
    public init(contentsOf path: FilePath) throws {
        let bytes = try File.contents(of: path, limit: TrustPolicy.maximumSize)
        do { try self.init(json: bytes) } catch let failure as TrustFailure {
            throw Refusal("trust-file", "\(path) cannot be read, so nobody is trusted: \(failure)")
        }
        loadRevocations(from: path.removingLastComponent())
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

extension SigningKey {
    /// A Sigstore bundle, as JSON, that claims `claims` of a root digest.
    public func bundle(root: Digest, claims: ReleaseClaims) throws -> [UInt8] {
        let statement = try CanonicalJSON.encode(Statement(root: root, claims: claims))
        let envelope = try DSSE.sign(payload: statement, type: MediaType.inTotoStatement, key: self)
        return try SigstoreBundle(envelope: envelope, key: publicKey).json()
    }
}
