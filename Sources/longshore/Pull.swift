import ArgumentParser
import CargoArchive
import CargoArtifact
import CargoClient
import CargoFiles
import CargoWire
import FoundationEssentials
import SystemPackage

/// Downloads a cargo as the archive that was pushed, byte for byte.
struct Pull: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Download a cargo from the coordinator's registry as a .cargo file.",
        discussion: "Every digest is checked; signatures are judged by 'verify' and by 'cargo-run'.")

    @Argument(help: "publisher/name:version or publisher/name@sha256:…")
    var reference: String

    @Option(name: .shortAndLong, help: ArgumentHelp("Default: NAME-VERSION.cargo in this folder.", valueName: "file"))
    var output: String?

    @OptionGroup var coordinator: CoordinatorOptions

    @Flag(help: "Print JSON.")
    var json = false

    private struct Answer: Encodable {
        var path: String
        var digest: Digest
        var size: Int64
    }

    private struct Kind: Decodable { var mediaType: String }

    func validate() throws {
        guard CargoReference(reference) != nil else {
            throw ValidationError("'\(reference)' is neither publisher/name:version nor publisher/name@sha256:….")
        }
    }

    func run() async throws {
        guard let reference = CargoReference(reference) else { return }
        let registry = RegistryClient(try coordinator.client(), name: reference.name)
        let rootBytes = try await registry.manifest(reference.tagOrDigest)
        let kind = try StrictJSON.decode(Kind.self, from: rootBytes, limit: CargoLayout.maximumDocument)
        let root = Descriptor(mediaType: kind.mediaType, digest: Digest(of: rootBytes), size: Int64(rootBytes.count))
        let content = try await self.content(root, rootBytes, registry)
        guard let manifest = content.cargo else { throw Refusal("not-a-cargo", "\(reference) holds no cargo manifest") }
        let config = try CargoConfig.read(try await small(manifest.config, registry), referenceVersion: nil)
        guard config.name == reference.name.description else {
            throw Refusal("other-name", "\(reference) is the cargo \(printable(config.name)); it was not kept")
        }
        let signatures = try await self.signatures(root, registry)
        let target = FilePath(output ?? "\(reference.name.name)-\(config.version).cargo")
        let size = try await write(
            Parts(root: root, rootBytes: rootBytes, content: content, version: config.version, signatures: signatures),
            to: target, registry)
        if json {
            try Streams.json(Answer(path: target.string, digest: root.digest, size: size))
        } else {
            Streams.note(
                "pulled \(reference) with \(signatures.count) signature\(signatures.count == 1 ? "" : "s"): \(root.digest)")
            Streams.result(target.string)
        }
    }

    private struct Parts {
        var root: Descriptor
        var rootBytes: [UInt8]
        var content: RootContent
        var version: String
        var signatures: [SignatureArtifact]
    }

    private func small(_ descriptor: Descriptor, _ registry: RegistryClient) async throws -> [UInt8] {
        guard descriptor.size <= Int64(CargoLayout.maximumDocument) else {
            throw Refusal("size-mismatch", "the document \(descriptor.digest) is too long")
        }
        var bytes: [UInt8] = []
        try await registry.blob(descriptor) { bytes.append(contentsOf: $0) }
        return bytes
    }

    private func content(_ root: Descriptor, _ bytes: [UInt8], _ registry: RegistryClient) async throws -> RootContent {
        var inner: [Digest: [UInt8]] = [:]
        if root.mediaType == MediaType.imageIndex {
            let index = try StrictJSON.decode(ImageIndex.self, from: bytes, limit: CargoLayout.maximumDocument)
            for manifest in index.manifests.prefix(2) {
                inner[manifest.digest] = try await registry.manifest(manifest.digest.description)
            }
        }
        return try RootContent(root: bytes, mediaType: root.mediaType) { descriptor in
            guard let bytes = inner[descriptor.digest] else {
                throw Refusal("missing-blob", "the registry lacks the manifest \(descriptor.digest)")
            }
            return bytes
        }
    }

    private func signatures(_ root: Descriptor, _ registry: RegistryClient) async throws -> [SignatureArtifact] {
        var signatures: [SignatureArtifact] = []
        let origin = RegistryOrigin(registry, reference: CargoReference(name: registry.name, selector: .digest(root.digest)))
        for bytes in try await origin.signatureManifests(of: root.digest) {
            let manifest = try StrictJSON.decode(ImageManifest.self, from: bytes, limit: CargoLayout.maximumDocument)
            guard manifest.layers.count == 1, let layer = manifest.layers.first, layer.mediaType == MediaType.sigstoreBundle
            else { continue }
            let signature = try SignatureArtifact(bundle: try await small(layer, registry), root: root)
            // One that another tool attached in another form has no place in an archive of ours.
            if signature.manifest == bytes { signatures.append(signature) }
        }
        return signatures
    }

    /// Layers are downloaded beside the target and then copied (by reflink where the file system can) into their places.
    private func write(_ parts: Parts, to target: FilePath, _ registry: RegistryClient) async throws -> Int64 {
        let parent = target.removingLastComponent()
        let folder = try Folder.open(parent.isEmpty ? "." : parent)
        var files: [Digest: File] = [:]
        for descriptor in CargoLayout.order(root: parts.root, content: parts.content, signatures: parts.signatures)
        where !isKnown(descriptor, parts) {
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
            root: parts.root, rootBytes: parts.rootBytes, content: parts.content, version: parts.version,
            signatures: parts.signatures
        ) { descriptor in
            guard let file = files[descriptor.digest] else {
                throw Refusal("missing-blob", "the registry lacks the blob \(descriptor.digest)")
            }
            return .file(file, offset: 0, size: descriptor.size)
        }
        return try writer.write(to: target)
    }

    /// What the writer has from the root and the signatures.
    private func isKnown(_ descriptor: Descriptor, _ parts: Parts) -> Bool {
        descriptor.digest == parts.root.digest || descriptor.digest == SignatureArtifact.emptyConfig.digest
            || parts.signatures.contains {
                $0.descriptor.digest == descriptor.digest || $0.bundleDescriptor.digest == descriptor.digest
            }
    }
}
