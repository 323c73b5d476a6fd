import ArgumentParser
import CargoArchive
import CargoArtifact
import CargoClient
import CargoFiles
import SystemPackage

/// Downloads a cargo as the archive that was pushed, byte for byte.
struct Pull: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Download a cargo from the coordinator's registry as a .cargo file.",
        discussion: "Every digest is checked; signatures are judged by 'verify' and by 'cargo-run'.")

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
        let size = try await write(cargo, to: target, registry)
        let count = cargo.signatures.documents(.signature).count
        try destination.tell(
            target, digest: cargo.root.digest, size: size,
            note: "pulled \(reference) with \(count) signature\(count == 1 ? "" : "s"): \(cargo.root.digest)")
    }

    /// Layers are downloaded beside the target and then copied (by reflink where the file system can) into their places.
    private func write(_ cargo: RemoteCargo, to target: FilePath, _ registry: RegistryClient) async throws -> Int64 {
        let parent = target.removingLastComponent()
        let folder = try Folder.open(parent.isEmpty ? "." : parent)
        var files: [Digest: File] = [:]
        for descriptor in CargoLayout.order(root: cargo.root, content: cargo.content, signatures: cargo.signatures)
        where !isKnown(descriptor, cargo) {
            let (name, file) = try folder.makeTemporary(permissions: 0o600)
            // The open file is enough: it needs no name, and none is left behind however this ends.
            _ = try folder.remove(name)
            var at: Int64 = 0
            try await registry.blob(descriptor) { bytes in
                try file.write(bytes, at: at)
                at += Int64(bytes.count)
            }
            files[descriptor.digest] = file
        }
        let writer = try ArchiveWriter(
            root: cargo.root, rootBytes: cargo.rootBytes, content: cargo.content, version: cargo.config.version,
            signatures: cargo.signatures
        ) { descriptor in
            guard let file = files[descriptor.digest] else {
                throw Refusal("missing-blob", "the registry lacks the blob \(descriptor.digest)")
            }
            return .file(file, offset: 0, size: descriptor.size)
        }
        return try writer.write(to: target)
    }

    /// What the writer has from the root and the signatures.
    private func isKnown(_ descriptor: Descriptor, _ cargo: RemoteCargo) -> Bool {
        descriptor.digest == cargo.root.digest || descriptor.digest == SignatureArtifact.emptyConfig.digest
            || cargo.signatures.contains {
                $0.descriptor.digest == descriptor.digest || $0.bundleDescriptor.digest == descriptor.digest
            }
    }
}
