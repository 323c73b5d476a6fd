public import CargoArtifact

/// What a publisher claims about a cargo by signing its root digest.
public struct ReleaseClaims: Hashable, Sendable {
    public var name: String
    public var version: String
    /// Rises with every release of a name, so that an old one cannot be passed off as the newest (docs/rules.md 5).
    public var counter: Int64
    /// Seconds since 1970 after which the signature counts no more.
    public var expires: Int64?

    public init(name: String, version: String, counter: Int64, expires: Int64? = nil) {
        self.name = name
        self.version = version
        self.counter = counter
        self.expires = expires
    }
}

/// An in-toto Statement v1 about one digest, as `cosign sign` makes them.
public struct Statement: Hashable, Sendable, Codable {
    public struct Subject: Hashable, Sendable, Codable {
        public var digest: [String: String]
        public var annotations: [String: String]?
    }

    /// An object without members.
    public struct Empty: Hashable, Sendable, Codable {}

    public var type: String
    public var subject: [Subject]
    public var predicateType: String
    public var predicate: Empty

    static let statementType = "https://in-toto.io/Statement/v1"

    enum CodingKeys: String, CodingKey {
        case type = "_type"
        case subject, predicateType, predicate
    }

    public init(root: Digest, claims: ReleaseClaims) {
        type = Statement.statementType
        var annotations = [
            "dev.longshore.name": claims.name, "dev.longshore.version": claims.version,
            "dev.longshore.counter": String(claims.counter),
        ]
        if let expires = claims.expires { annotations["dev.longshore.expires"] = Timestamp.text(expires) }
        subject = [Subject(digest: ["sha256": root.hex], annotations: annotations)]
        predicateType = SignatureArtifact.predicateType
        predicate = Empty()
    }

    /// Reads a payload that was verified, and its claims about `root`.
    static func claims(in payload: [UInt8], about root: Digest) throws -> ReleaseClaims {
        let statement: Statement
        do {
            statement = try StrictJSON.decode(from: payload, limit: CargoLayout.maximumDocument)
        } catch {
            throw Refusal("statement", "the signed statement is not a valid in-toto statement")
        }
        guard statement.type == statementType, statement.predicateType == SignatureArtifact.predicateType,
            statement.subject.count == 1, let subject = statement.subject.first
        else { throw Refusal("statement", "the signed statement is not a signature of one cargo") }
        guard subject.digest == ["sha256": root.hex] else {
            throw Refusal("signature-digest", "the signature is for another content than this cargo")
        }
        let annotations = subject.annotations ?? [:]
        guard let name = annotations["dev.longshore.name"], CargoName(name) != nil,
            let version = annotations["dev.longshore.version"], CargoVersion(version) != nil
        else { throw Refusal("statement", "the signature names no cargo and version; sign it with `longshore sign`") }
        guard let counter = annotations["dev.longshore.counter"].flatMap({ Int64($0) }), counter >= 0, counter < 1 << 53 else {
            throw Refusal("statement", "the signature's release counter is missing or not a number")
        }
        var expires: Int64?
        if let text = annotations["dev.longshore.expires"] {
            guard let time = Timestamp.seconds(text) else { throw Refusal("statement", "the signature's expiry is no time") }
            expires = time
        }
        return ReleaseClaims(name: name, version: version, counter: counter, expires: expires)
    }
}

extension ReleaseClaims {
    /// The release counter that follows from a semantic version, so that packing twice signs the same bytes:
    /// 100,000 minor versions a major one, 100,000 patches a minor one. Nil when a number is larger.
    public static func counter(version: String) -> Int64? {
        let numbers = version.prefix { $0 != "-" }.split(separator: ".").compactMap { Int64($0) }
        guard numbers.count == 3, numbers[0] < 900_000, numbers[1] < 100_000, numbers[2] < 100_000 else { return nil }
        return numbers[0] * 10_000_000_000 + numbers[1] * 100_000 + numbers[2]
    }
}
