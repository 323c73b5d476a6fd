import ArgumentParser
import CargoArtifact
import CargoFiles
import CargoSigning
import SystemPackage

/// Adds a rule to the trust file.
struct KeyTrust: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trust", abstract: "Trust public keys for the names that they may sign.",
        discussion: "Several key files make one rule; with --threshold that many of them must have signed.")

    @Argument(help: "Public key files.")
    var files: [String]

    @Option(name: .customLong("for"), help: "A name or prefix, such as 'acme/tiny-chat' or 'acme/*'. Repeatable.")
    var names: [String]

    @Option(help: "How many distinct keys must have signed.")
    var threshold = 1

    @Option(help: "The rule ends then, such as 2030-12-31T00:00:00Z.")
    var notAfter: String?

    @Option(help: "Default: trust.json in the configuration folder.")
    var trust: String?

    @Flag(help: "Print JSON.")
    var json = false

    private struct Answer: Encodable {
        var path: String
        var names: [String]
        var keys: [Digest]
        var threshold: Int
    }

    func validate() throws {
        guard !files.isEmpty else { throw ValidationError("name at least one public key file.") }
        guard !names.isEmpty, names.allSatisfy(TrustPolicy.isPattern) else {
            throw ValidationError("--for takes a name such as 'acme/tiny-chat' or a prefix such as 'acme/*'.")
        }
        if let notAfter, Timestamp.seconds(notAfter) == nil {
            throw ValidationError("--not-after takes a time such as 2030-12-31T00:00:00Z.")
        }
    }

    func run() throws {
        let keys = try files.map { try KeyFile.readPublic(FilePath($0)) }
        guard (1...Set(keys).count).contains(threshold) else {
            throw ValidationError("--threshold must be 1 to \(Set(keys).count), the number of distinct keys.")
        }
        let path = trust.map { FilePath($0) } ?? ConfigFolder.trustFile
        let rule = TrustPolicy.Rule(
            names: names, keys: keys, threshold: threshold, notAfter: notAfter.flatMap(Timestamp.seconds))
        try TrustPolicy.change(path) { policy in
            if !policy.rules.contains(rule) { policy.rules.append(rule) }
        }
        if json {
            try Streams.json(Answer(path: path.string, names: names, keys: keys.map(\.fingerprint), threshold: threshold))
        } else {
            Streams.result(path.string)
            Streams.note(
                "\(names.joined(separator: ", ")) may be signed by \(keys.map(\.fingerprint.description).joined(separator: ", "))"
            )
        }
    }
}
