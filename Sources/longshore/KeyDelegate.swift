import ArgumentParser
import CargoArtifact
import CargoFiles
import CargoKeys
import CargoSigning
import SystemPackage

/// Lets a release key sign in the name of a root key.
struct KeyDelegate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delegate", abstract: "Let a release key sign some names until some time, by signing it with a root key.",
        discussion: """
            The root key can stay offline: hosts trust it once ('key trust ROOT --root --for …'), and release keys change \
            without them. The delegation is written beside the release key, where 'pack' and 'sign' find it and put it into \
            the archives that the key signs.
            """)

    @Argument(help: "The release key's public half: a name in keys/, or the path of a .pub file.")
    var release: String

    @OptionGroup var root: RootKeyOptions

    @Option(name: .customLong("for"), help: "A name or prefix, such as 'acme/tiny-chat' or 'acme/*'. Repeatable.")
    var names: [String]

    @Option(help: "The delegation ends then: a span such as 90d, or a time such as 2030-12-31T00:00:00Z.")
    var expires: Expiry

    @Option(
        name: .shortAndLong, help: ArgumentHelp("Default: NAME.delegation beside the release key.", valueName: "file"))
    var output: String?

    @Flag(help: "Print JSON.")
    var json = false

    private struct Answer: Encodable {
        var path: String
        var digest: Digest
        var key: Digest
        var names: [String]
        var expires: String
    }

    func validate() throws {
        guard !names.isEmpty, names.allSatisfy(TrustPolicy.isPattern) else {
            throw ValidationError("--for takes a name such as 'acme/tiny-chat' or a prefix such as 'acme/*'.")
        }
    }

    func run() throws {
        let keyring = root.passphrase.keyring
        let key = try keyring.publicKey(release)
        guard expires.seconds > Timestamp.now() else { throw ValidationError("--expires lies in the past.") }
        let rootKey = try root.signingKey()
        guard rootKey.publicKey != key else { throw ValidationError("the root key and the release key are the same.") }
        let delegation = Delegation(key: key, names: names, expires: expires.seconds)
        let envelope = try delegation.signed(by: rootKey)
        let path = output.map { FilePath($0) } ?? keyring.delegationFile(release) ?? beside(FilePath(release))
        let parent = path.removingLastComponent()
        try Folder.open(parent.isEmpty ? "." : parent).writeDurably(
            path.lastComponent?.string ?? "delegation", envelope, permissions: 0o644)
        let digest = try Delegation.digest(of: envelope)
        let until = Timestamp.text(delegation.expires)
        if json {
            try Streams.json(Answer(path: path.string, digest: digest, key: key.fingerprint, names: names, expires: until))
        } else {
            Streams.result(path.string)
            Streams.note(
                "\(key.fingerprint) may sign \(names.joined(separator: ", ")) until \(until); `longshore key revoke \(digest)` takes it back"
            )
        }
    }

    private func beside(_ path: FilePath) -> FilePath {
        var path = path
        path.extension = "delegation"
        return path
    }
}

/// The key that signs delegations and revocation lists.
struct RootKeyOptions: ParsableArguments {
    @Option(help: "The root key: a name in keys/, or a path. Default: LONGSHORE_SIGNING_KEY (PEM).")
    var key: String?

    @OptionGroup var passphrase: PassphraseOptions

    func signingKey() throws -> SigningKey {
        if let key { return try passphrase.keyring.signingKey(key) }
        guard let found = try passphrase.keyring.environmentKey() else {
            throw ValidationError("name the root key with --key NAME, or set \(Keyring.variable).")
        }
        return found
    }
}
