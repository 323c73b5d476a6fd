import ArgumentParser
import CargoArtifact
import CargoKeys
import CargoSigning

/// Lists the keys of this machine.
struct KeyList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the keys in the configuration folder.",
        discussion: "The third column says whether the private key is here: plain, protected by a passphrase, or absent.")

    @Flag(help: "Print one JSON object a line.")
    var json = false

    private struct Answer: Encodable {
        struct Right: Encodable {
            var names: [String]
            var expires: String
        }

        var name: String
        var type: String
        var privateKey: Keyring.Entry.Secret
        var fingerprint: Digest
        var delegation: Right?

        enum CodingKeys: String, CodingKey {
            case name, type, fingerprint, delegation
            case privateKey = "private_key"
        }
    }

    func run() throws {
        let (keys, broken) = try PassphraseOptions.keyringForReading.entries()
        let widths = (keys.map(\.name.count).max() ?? 0, KeyType.allCases.map(\.rawValue.count).max() ?? 0, "protected".count)
        func padded(_ text: String, _ width: Int) -> String {
            text + String(repeating: " ", count: max(0, width - text.count) + 2)
        }
        for entry in keys {
            let until = entry.delegation.map { Timestamp.text($0.expires) }
            if json {
                try Streams.json(
                    Answer(
                        name: entry.name, type: entry.key.type.rawValue, privateKey: entry.secret,
                        fingerprint: entry.key.fingerprint,
                        delegation: entry.delegation.map { .init(names: $0.names, expires: until ?? "") }))
            } else {
                Streams.result(
                    padded(entry.name, widths.0) + padded(entry.key.type.rawValue, widths.1)
                        + padded(entry.secret.rawValue, widths.2) + entry.key.fingerprint.description
                        + (entry.delegation.map { "  may sign \($0.names.joined(separator: ", ")) until \(until ?? "")" } ?? ""))
            }
        }
        for sentence in broken { Streams.note(sentence) }
        if !broken.isEmpty { throw ExitCode(1) }
        if keys.isEmpty { Streams.note("there are no keys in \(ConfigFolder.keys); `longshore key create NAME` makes one") }
    }
}
