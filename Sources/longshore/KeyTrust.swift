import ArgumentParser
import CargoArtifact
import CargoKeys
import CargoSigning
import FoundationEssentials
import SystemPackage

/// Adds a rule to the trust file.
struct KeyTrust: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trust", abstract: "Trust public keys for the names that they may sign.",
        discussion: """
            Several keys make one rule; with --threshold that many of them must have signed. With --root they sign no cargos \
            themselves but let other keys sign ('key delegate'); all keys behind one root count as one.

            --revocations names a signed list of what these keys revoked ('key revoke --list'). While that list is missing or \
            past its time nothing is accepted.
            """)

    @Argument(help: "Names in keys/, or the paths of .pub files.")
    var files: [String]

    @Option(name: .customLong("for"), help: "A name or prefix, such as 'acme/tiny-chat' or 'acme/*'. Repeatable.")
    var names: [String] = []

    @Flag(help: "The keys are root keys.")
    var root = false

    @Option(help: "How many distinct keys must have signed.")
    var threshold = 1

    @Option(help: "The rule ends then: a span such as 90d, or a time such as 2030-12-31T00:00:00Z.")
    var notAfter: Expiry?

    @Option(help: ArgumentHelp("Ask this list, signed by one of the keys, what was revoked.", valueName: "file"))
    var revocations: String?

    @Option(help: "Default: trust.json in the configuration folder.")
    var trust: String?

    @Flag(help: "Print JSON.")
    var json = false

    private struct Answer: Encodable {
        var path: String
        var names: [String]
        var keys: [Digest]
        var threshold: Int
        var root: Bool
        var revocations: String?
    }

    func validate() throws {
        guard !files.isEmpty else { throw ValidationError("name at least one public key.") }
        guard !names.isEmpty || revocations != nil else {
            throw ValidationError("say with --for which names the keys may sign, such as 'acme/*'.")
        }
        guard names.allSatisfy(TrustPolicy.isPattern) else {
            throw ValidationError("--for takes a name such as 'acme/tiny-chat' or a prefix such as 'acme/*'.")
        }
    }

    func run() throws {
        let keys = try files.map { try PassphraseOptions.keyringForReading.publicKey($0) }
        guard (1...Set(keys).count).contains(threshold) else {
            throw ValidationError("--threshold must be 1 to \(Set(keys).count), the number of distinct keys.")
        }
        let path = trust.map { FilePath($0) } ?? ConfigFolder.trustFile
        let rule = TrustPolicy.Rule(
            names: names, keys: root ? [] : keys, roots: root ? keys : [], threshold: threshold, notAfter: notAfter?.seconds)
        // A relative path in the trust file is one from its folder, not from where a command is run.
        let source = revocations.map { file in
            TrustPolicy.RevocationSource(
                file: FilePath(FileManager.default.currentDirectoryPath).pushing(FilePath(file)).string, keys: keys)
        }
        try TrustPolicy.change(path) { policy in
            if !names.isEmpty, !policy.rules.contains(rule) { policy.rules.append(rule) }
            if let source {
                policy.revocationSources.removeAll { $0.file == source.file }
                policy.revocationSources.append(source)
            }
        }
        let prints = keys.map(\.fingerprint)
        if json {
            try Streams.json(
                Answer(
                    path: path.string, names: names, keys: prints, threshold: threshold, root: root, revocations: source?.file))
            return
        }
        Streams.result(path.string)
        let who = prints.map(\.description).joined(separator: ", ")
        if !names.isEmpty {
            let what = names.joined(separator: ", ")
            Streams.note(root ? "keys that \(who) delegates to may sign \(what)" : "\(what) may be signed by \(who)")
        }
        if let source { Streams.note("what \(who) revoked in \(source.file) is refused") }
    }
}
