import ArgumentParser
import CargoArtifact
import CargoPacking
import CargoSigning
import SystemPackage

/// Turns a folder into an archive.
struct Pack: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Pack a folder with a cargo.yaml into NAME-VERSION.cargo.",
        discussion: """
            The same folder gives the same bytes. With --key, or a key in LONGSHORE_SIGNING_KEY, the cargo is signed in the \
            same pass.
            """)

    @Argument(help: "The folder.")
    var folder: String

    @OptionGroup var destination: ArchiveOutput

    @OptionGroup var signing: SigningOptions

    @Option(help: "Pack this suspicious path all the same. Repeatable.")
    var allow: [String] = []

    func run() throws {
        var packer = CargoPacker(source: FilePath(folder))
        packer.allowed = Set(allow)
        let signers = try signing.signers()
        packer.keys = signers.map(\.key)
        packer.delegations = try signing.delegations(of: signers, for: try packer.readSource().config.name)
        packer.signature = signing.options
        let packed = try packer.pack(to: destination.output.map { FilePath($0) })
        try destination.tell(
            packed.path, digest: packed.digest, size: packed.size,
            note: "packed \(packed.config.name) \(packed.config.version), \(packed.size) bytes, \(packed.digest)"
                + (packer.keys.isEmpty ? ", not signed" : ""))
    }
}
