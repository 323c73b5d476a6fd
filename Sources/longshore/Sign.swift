import ArgumentParser
import CargoArchive
import CargoArtifact
import CargoKeys
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

    func run() throws {
        let signers = try signing.signers()
        guard !signers.isEmpty else { throw ValidationError("name the key with --key NAME, or set \(Keyring.variable).") }
        let archive = try CargoArchive(path: FilePath(file))
        // Nobody signs what is damaged.
        try archive.checkBlobs(threads: 2)
        let config = try archive.config()
        let claims = try signing.options.claims(config)
        let root = archive.root
        var signatures = archive.signatures
        for signer in signers {
            signatures.removeAll { isReplaced($0, by: signer.key.publicKey) }
            signatures.append(try SignatureArtifact(bundle: try signer.key.bundle(root: root.digest, claims: claims), root: root))
        }
        for envelope in try signing.delegations(of: signers, for: config.name) {
            signatures.append(try SignatureArtifact(.delegation, bundle: envelope, root: root))
        }
        try archive.rewritten(signatures: signatures).write(to: FilePath(file))
        let count = signatures.documents(.signature).count
        if json {
            try Streams.json(Answer(path: file, digest: root.digest, signatures: count))
        } else {
            Streams.result(root.digest.description)
            Streams.note("\(file) carries \(count) signature\(count == 1 ? "" : "s")")
        }
    }

    /// Whether an artifact is the key's own signature of before, or a delegation to it.
    private func isReplaced(_ artifact: SignatureArtifact, by key: PublicKey) -> Bool {
        switch artifact.kind {
        case .signature: SigstoreBundle.isSigned(artifact.bundle, by: key)
        case .delegation: (try? Delegation(unverified: artifact.bundle))?.key == key
        }
    }
}
