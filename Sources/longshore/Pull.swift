import ArgumentParser
import CargoArtifact
import CargoClient
import SystemPackage

/// Downloads a cargo as the archive that was pushed, byte for byte.
struct Pull: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Download a cargo from the coordinator's registry as a .cargo file.",
        discussion: """
            Every digest is checked; signatures are judged by 'verify' and by 'cargo-run'. A pull that was interrupted goes on \
            where it was when it is called again.
            """)

    @Argument(help: "publisher/name:version or publisher/name@sha256:…")
    var reference: String

    @OptionGroup var destination: ArchiveOutput

    @OptionGroup var coordinator: CoordinatorOptions

    func validate() throws {
        guard CargoReference(reference) != nil else {
            throw ValidationError("'\(reference)' is neither publisher/name:version nor publisher/name@sha256:….")
        }
    }

    func run() async throws {
        guard let reference = CargoReference(reference) else { return }
        let registry = RegistryClient(try coordinator.client(), name: reference.name)
        let cargo = try await RemoteCargo(reference, registry)
        let target = FilePath(destination.output ?? "\(reference.name.name)-\(cargo.config.version).cargo")
        let pulled = try await ArchivePull(cargo: cargo, registry: registry, target: target).run()
        let count = cargo.signatures.documents(.signature).count
        try destination.tell(
            target, digest: cargo.root.digest, size: pulled.size,
            note: (pulled.wasHere ? "was here, and is whole: " : "pulled ")
                + "\(reference) with \(count) signature\(count == 1 ? "" : "s"): \(cargo.root.digest)")
    }
}
