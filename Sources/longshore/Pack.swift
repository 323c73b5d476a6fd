import ArgumentParser
import CargoArtifact
import CargoPacking
import CargoSigning
import SystemPackage

/// Turns a folder into an archive.
struct Pack: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Pack a folder with a cargo.yaml into NAME-VERSION.cargo.",
        discussion: "The same folder gives the same bytes. With --key the cargo is signed in the same pass.")

    @Argument(help: "The folder.")
    var folder: String

    @Option(name: .shortAndLong, help: ArgumentHelp("Default: NAME-VERSION.cargo in this folder.", valueName: "file"))
    var output: String?

    @OptionGroup var signing: SigningOptions

    @Option(help: "Pack this suspicious path all the same. Repeatable.")
    var allow: [String] = []

    @Flag(help: "Print JSON.")
    var json = false

    private struct Answer: Encodable {
        var path: String
        var digest: Digest
        var size: Int64
    }

    func run() throws {
        var packer = CargoPacker(source: FilePath(folder))
        packer.allowed = Set(allow)
        packer.keys = try signing.key.map(ConfigFolder.signingKey)
        packer.signature = signing.options
        let packed = try packer.pack(to: output.map { FilePath($0) })
        if json {
            try Streams.json(Answer(path: packed.path.string, digest: packed.digest, size: packed.size))
        } else {
            Streams.result(packed.path.string)
            Streams.note(
                "packed \(packed.config.name) \(packed.config.version), \(packed.size) bytes, \(packed.digest)"
                    + (packer.keys.isEmpty ? ", not signed" : ""))
        }
    }
}
