import ArgumentParser
import CargoArchive
import CargoArtifact
import CargoPacking
import CargoSigning
import SystemPackage

/// Adds signatures to an archive.
struct Sign: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Sign an archive; a signature that the key made before is replaced.")

    @Argument(help: "A .cargo file; it is rewritten as a whole.")
    var file: String

    @OptionGroup var signing: SigningOptions

    @Flag(help: "Print JSON.")
    var json = false

    private struct Answer: Encodable {
        var path: String
        var digest: Digest
        var signatures: Int
    }

    func validate() throws {
        guard !signing.key.isEmpty else { throw ValidationError("name the key with --key NAME.") }
    }

    func run() throws {
        let archive = try CargoArchive(path: FilePath(file))
        // Nobody signs what is damaged.
        try archive.checkBlobs(threads: 2)
        let claims = try signing.options.claims(try archive.config())
        var signatures = archive.signatures
        for name in signing.key {
            let key = try ConfigFolder.signingKey(name)
            signatures.removeAll { SigstoreBundle.isSigned($0.bundle, by: key.publicKey) }
            let bundle = try key.bundle(root: archive.root.digest, claims: claims)
            signatures.append(try SignatureArtifact(bundle: bundle, root: archive.root))
        }
        try archive.rewritten(signatures: signatures).write(to: FilePath(file))
        if json {
            try Streams.json(Answer(path: file, digest: archive.root.digest, signatures: signatures.count))
        } else {
            Streams.result(archive.root.digest.description)
            Streams.note("\(file) carries \(signatures.count) signature\(signatures.count == 1 ? "" : "s")")
        }
    }
}
