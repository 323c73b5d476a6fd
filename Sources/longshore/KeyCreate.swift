public import ArgumentParser
import CargoArtifact
public import CargoSigning
import SystemPackage

/// Makes a key pair.
struct KeyCreate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Make a key pair: keys/NAME.key (readable by you alone) and keys/NAME.pub.")

    @Argument(help: "Letters, digits, '-' and '_'.")
    var name: String

    @Option(help: "ed25519 or p256.")
    var type: KeyType = .ed25519

    @Flag(help: "Print JSON.")
    var json = false

    private struct Answer: Encodable {
        var name: String
        var type: String
        var path: String
        var publicKey: String
        var fingerprint: Digest
    }

    func validate() throws {
        let isPlain = name.utf8.allSatisfy {
            (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 45 || $0 == 95
        }
        guard isPlain, (1...64).contains(name.utf8.count), !name.hasPrefix("-") else {
            throw ValidationError("a key's name is letters, digits, '-' and '_', at most 64.")
        }
    }

    func run() throws {
        let key = SigningKey(type: type)
        try KeyFile.write(key, name: name, folder: ConfigFolder.keys)
        let path = ConfigFolder.keys.appending(name + ".pub").string
        if json {
            try Streams.json(
                Answer(
                    name: name, type: type.rawValue, path: ConfigFolder.keys.appending(name + ".key").string, publicKey: path,
                    fingerprint: key.publicKey.fingerprint))
        } else {
            Streams.result(path)
            Streams.note("made the \(type.rawValue) key '\(name)', \(key.publicKey.fingerprint)")
        }
    }
}

extension KeyType: ExpressibleByArgument {}
