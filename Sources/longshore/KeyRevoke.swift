import ArgumentParser
import CargoArchive
import CargoArtifact
import CargoFiles
import CargoKeys
import CargoSigning
import SystemPackage

/// Takes trust away from keys, delegations and cargos.
struct KeyRevoke: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "Trust a key, a delegation or one cargo no more.",
        discussion: """
            Adds to the trust file of this machine; or with --list to a signed list, which hosts ask when their trust file \
            names it ('key trust ROOT --revocations FILE'). A list must be signed anew before it ends: the same command \
            without anything to revoke does so.
            """)

    @Argument(
        help: """
            Names in keys/, .pub, .delegation or .cargo files; or a sha256:… of whatever is to be refused: a key's \
            fingerprint, a cargo's or a delegation's digest.
            """)
    var targets: [String] = []

    @Option(help: ArgumentHelp("Write the signed list FILE instead of the trust file.", valueName: "file"))
    var list: String?

    @OptionGroup var root: RootKeyOptions

    @Option(help: "The list ends then: a span such as 30d, or a time such as 2030-12-31T00:00:00Z.")
    var expires: Expiry?

    @Option(help: "Default: trust.json in the configuration folder.")
    var trust: String?

    @Flag(help: "Print JSON.")
    var json = false

    private struct Answer: Encodable {
        var path: String
        var keys: [Digest]
        var digests: [Digest]
        var expires: String?
    }

    func validate() throws {
        if list == nil {
            guard !targets.isEmpty else { throw ValidationError("name what is to be revoked.") }
            guard root.key == nil, expires == nil else { throw ValidationError("--key and --expires belong to --list FILE.") }
        } else {
            guard expires != nil else { throw ValidationError("say with --expires until when the list counts, such as 30d.") }
            guard trust == nil else { throw ValidationError("--trust and --list are two ways; choose one.") }
        }
    }

    func run() throws {
        var keys: Set<Digest> = []
        var digests: Set<Digest> = []
        for target in targets {
            if let digest = Digest(target) {
                // Nothing has both: the digest counts for what it is of.
                keys.insert(digest)
                digests.insert(digest)
            } else if target.hasSuffix(".delegation") {
                digests.insert(
                    try Delegation.digest(of: try File.contents(of: FilePath(target), limit: CargoLayout.maximumDocument)))
            } else if target.hasSuffix(".cargo") {
                digests.insert(try CargoArchive(path: FilePath(target)).root.digest)
            } else {
                keys.insert(try PassphraseOptions.keyringForReading.publicKey(target).fingerprint)
            }
        }
        let path: String
        if let list, let expires {
            path = list
            try write(list, expires: expires.seconds, &keys, &digests)
        } else {
            path = (trust.map { FilePath($0) } ?? ConfigFolder.trustFile).string
            try TrustPolicy.change(FilePath(path)) { policy in
                policy.revokedKeys.formUnion(keys)
                policy.revokedDigests.formUnion(digests)
            }
        }
        if json {
            let until = list == nil ? nil : expires.map { Timestamp.text($0.seconds) }
            try Streams.json(Answer(path: path, keys: keys.sorted(), digests: digests.sorted(), expires: until))
        } else {
            Streams.result(path)
            if list != nil, let expires {
                Streams.note("the list revokes \(keys.union(digests).count) and counts until \(Timestamp.text(expires.seconds))")
            } else {
                Streams.note("revoked \(keys.union(digests).sorted().map(\.description).joined(separator: ", "))")
            }
        }
    }

    /// Adds to the list as it stands, which the same key must have signed.
    private func write(_ list: String, expires: Int64, _ keys: inout Set<Digest>, _ digests: inout Set<Digest>) throws {
        guard expires > Timestamp.now() else { throw ValidationError("--expires lies in the past.") }
        let path = FilePath(list)
        guard let name = path.lastComponent?.string else { throw ValidationError("--list takes the path of a file.") }
        let parent = path.removingLastComponent()
        let folder = try Folder.open(parent.isEmpty ? "." : parent)
        let key = try root.signingKey()
        if try folder.status(name) != nil {
            let bytes = try folder.open(name).contents(limit: RevocationList.maximumSize)
            let old: RevocationList
            do { old = try RevocationList(envelope: bytes, keys: [key.publicKey]) } catch let refusal as Refusal {
                throw KeyFailure("\(list) cannot be added to: \(refusal.message)")
            }
            keys.formUnion(old.keys)
            digests.formUnion(old.digests)
        }
        let signed = try RevocationList(expires: expires, keys: keys, digests: digests).signed(by: key)
        try folder.writeDurably(name, signed, permissions: 0o644)
    }
}
