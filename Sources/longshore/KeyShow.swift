import ArgumentParser
import CargoArtifact
import CargoKeys
import CargoSigning
import SystemPackage

/// Prints a public key, for handing it on.
struct KeyShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Print a public key as PEM, for whoever is to trust it.", aliases: ["export"])

    @Argument(help: "A name in keys/, or the path of a .pub file.")
    var name: String

    @Flag(help: "Print JSON.")
    var json = false

    private struct Answer: Encodable {
        var type: String
        var fingerprint: Digest
        var hint: String
        var pem: String
    }

    func run() throws {
        let key = try PassphraseOptions.keyringForReading.publicKey(name)
        if json {
            try Streams.json(Answer(type: key.type.rawValue, fingerprint: key.fingerprint, hint: key.hint, pem: key.pem))
        } else {
            Streams.write(Array(key.pem.utf8), to: .standardOutput)
            Streams.note("\(key.type.rawValue) \(key.fingerprint)")
        }
    }
}
