internal import CargoArtifact
internal import CargoFiles
public import SystemPackage

extension TrustPolicy {
    /// Reads the bytes of a trust file. Everything unknown in it is refused: a misspelt restriction must not be
    /// read as none.
    public init(json: [UInt8]) throws {
        let value: JSONValue
        do {
            value = try StrictJSON.parse(json, limit: TrustPolicy.maximumSize)
        } catch {
            throw TrustFailure("\(error)")
        }
        let top = try Members(value, at: "the file", allowed: ["version", "mode", "rules", "revoked", "revocations"])
        guard top["version"] == .integer(1) else { throw TrustFailure("version must be 1") }
        var rules: [Rule] = []
        for (index, value) in try top.array("rules").enumerated() { rules.append(try Rule(value, at: "rules[\(index)]")) }
        self.init(rules: rules)
        if let revoked = top["revoked"] {
            let members = try Members(revoked, at: "revoked", allowed: ["keys", "digests"])
            revokedKeys = Set(try members.digests("keys"))
            revokedDigests = Set(try members.digests("digests"))
        }
        if let value = top["mode"] {
            guard case .string(let text) = value, let mode = Mode(rawValue: text) else {
                throw TrustFailure("mode must be \"strict\" or \"audit\"")
            }
            self.mode = mode
        }
        let sources = try top.array("revocations")
        guard sources.count <= TrustPolicy.maximumLists else {
            throw TrustFailure("revocations names more than \(TrustPolicy.maximumLists) lists")
        }
        for (index, value) in sources.enumerated() {
            revocationSources.append(try RevocationSource(value, at: "revocations[\(index)]"))
        }
    }

    /// Canonical JSON that reads back as the same policy.
    public func json() -> [UInt8] {
        let list = rules.map { rule in
            var members: [String: JSONValue] = [
                "names": .array(rule.names.map(JSONValue.string)),
                "keys": .array(rule.keys.map { .string($0.pem) }),
                "threshold": .integer(Int64(rule.threshold)),
            ]
            if !rule.roots.isEmpty { members["roots"] = .array(rule.roots.map { .string($0.pem) }) }
            if let notAfter = rule.notAfter { members["not_after"] = .string(Timestamp.text(notAfter)) }
            return JSONValue.object(members)
        }
        let revoked: JSONValue = .object([
            "keys": .array(revokedKeys.sorted().map { .string($0.description) }),
            "digests": .array(revokedDigests.sorted().map { .string($0.description) }),
        ])
        var top: [String: JSONValue] = ["version": .integer(1), "rules": .array(list), "revoked": revoked]
        if mode != .strict { top["mode"] = .string(mode.rawValue) }
        if !revocationSources.isEmpty {
            top["revocations"] = .array(
                revocationSources.map { source in
                    .object(["file": .string(source.file), "keys": .array(source.keys.map { .string($0.pem) })])
                })
        }
        return CanonicalJSON.encode(.object(top)) + [0x0A]
    }

    /// Changes a trust file as a whole, making it (0600) where it is missing. Two changes at once wait for each other.
    public static func change(_ path: FilePath, _ body: (inout TrustPolicy) throws -> Void) throws {
        guard let name = path.lastComponent?.string else { throw TrustFailure("\(path) is no file") }
        let parent = path.removingLastComponent()
        let folder = try Folder.open(parent.isEmpty ? "." : parent, create: 0o700)
        let lock = try folder.open("." + name + ".lock", .readWrite, options: .create)
        try lock.lock(.exclusive)
        var policy = TrustPolicy()
        if try folder.status(name) != nil {
            policy = try TrustPolicy(json: try folder.open(name).contents(limit: TrustPolicy.maximumSize))
        }
        try body(&policy)
        try folder.writeDurably(name, policy.json())
        try lock.unlock()
    }

    /// Whether `text` may stand in `names`.
    public static func isPattern(_ text: String) -> Bool {
        if CargoName(text) != nil { return true }
        guard text.hasSuffix("*") else { return false }
        let prefix = text.dropLast()
        return prefix.utf8.count <= 128 && prefix.split(separator: "/", omittingEmptySubsequences: false).count <= 2
            && prefix.utf8.allSatisfy { (48...57).contains($0) || (97...122).contains($0) || [45, 46, 47, 95].contains($0) }
    }
}

extension TrustPolicy.Rule {
    fileprivate init(_ value: JSONValue, at place: String) throws {
        let members = try Members(value, at: place, allowed: ["names", "keys", "roots", "threshold", "not_after"])
        let names = try members.strings("names")
        guard !names.isEmpty, names.allSatisfy(TrustPolicy.isPattern) else {
            throw TrustFailure("\(place).names must list names such as 'acme/tiny-chat' or prefixes such as 'acme/*'")
        }
        let keys = try members.publicKeys("keys")
        let roots = try members.publicKeys("roots")
        let distinct = Set(keys + roots).count
        guard distinct > 0 else { throw TrustFailure("\(place) names neither keys nor roots") }
        guard case .integer(let threshold) = members["threshold"] ?? .integer(1), threshold >= 1, threshold <= distinct else {
            throw TrustFailure("\(place).threshold must be 1 to \(distinct), the number of distinct keys")
        }
        var notAfter: Int64?
        if let value = members["not_after"] {
            guard case .string(let text) = value, let time = Timestamp.seconds(text) else {
                throw TrustFailure("\(place).not_after must be a time such as 2030-12-31T00:00:00Z")
            }
            notAfter = time
        }
        self.init(names: names, keys: keys, roots: roots, threshold: Int(threshold), notAfter: notAfter)
    }
}

extension TrustPolicy.RevocationSource {
    fileprivate init(_ value: JSONValue, at place: String) throws {
        let members = try Members(value, at: place, allowed: ["file", "keys"])
        guard case .string(let file) = members["file"], !file.isEmpty, file.utf8.count <= 4096, !file.utf8.contains(0) else {
            throw TrustFailure("\(place).file must be the path of a signed revocation list")
        }
        let keys = try members.publicKeys("keys")
        guard !keys.isEmpty else { throw TrustFailure("\(place).keys is empty") }
        self.init(file: file, keys: keys)
    }
}

/// The members of an object with a closed set of keys.
struct Members {
    private let members: [String: JSONValue]
    private let place: String

    init(_ value: JSONValue, at place: String, allowed: Set<String>) throws {
        guard case .object(let members) = value else { throw TrustFailure("\(place) must be an object") }
        for key in members.keys.sorted() where !allowed.contains(key) {
            throw TrustFailure("\(place): '\(key)' is unknown; known are \(allowed.sorted().joined(separator: ", "))")
        }
        self.members = members
        self.place = place
    }

    subscript(key: String) -> JSONValue? { members[key] }

    func array(_ key: String) throws -> [JSONValue] {
        switch members[key] {
        case nil: return []
        case .array(let elements): return elements
        default: throw TrustFailure("\(place): '\(key)' must be a list")
        }
    }

    func strings(_ key: String) throws -> [String] {
        try array(key).map { element in
            guard case .string(let text) = element else { throw TrustFailure("\(place): '\(key)' must list texts") }
            return text
        }
    }

    /// Each as PEM, or as base64 of its SubjectPublicKeyInfo.
    func publicKeys(_ key: String) throws -> [PublicKey] {
        try strings(key).enumerated().map { index, text in
            do {
                return try text.hasPrefix("-----") ? PublicKey(pem: text) : PublicKey(der: Base64.decode(text) ?? [])
            } catch {
                throw TrustFailure("\(place).\(key)[\(index)]: \(error)")
            }
        }
    }

    func digests(_ key: String) throws -> [Digest] {
        try strings(key).map { text in
            guard let digest = Digest(text) else {
                throw TrustFailure("\(place): '\(text.prefix(80))' in '\(key)' is not sha256: and 64 hexadecimal digits")
            }
            return digest
        }
    }
}
