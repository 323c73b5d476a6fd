import ArgumentParser
import CargoArchive
import CargoArtifact
import CargoClient
import FoundationEssentials
import SystemPackage

/// Uploads an archive to the coordinator's registry.
struct Push: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Upload a cargo to the coordinator's registry.",
        discussion: """
            Blobs that are there already are not sent again. The name and version must be those that the cargo itself \
            carries; the tag appears last, when everything that it stands for is there.
            """)

    @Argument(help: "A .cargo file.")
    var file: String

    @Argument(help: "publisher/name:version")
    var reference: String

    @OptionGroup var coordinator: CoordinatorOptions

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard let reference = CargoReference(reference), case .version = reference.selector else {
            throw ValidationError("'\(reference)' is not publisher/name:version.")
        }
    }

    private struct Answer: Encodable {
        var reference: String
        var digest: Digest
        var blobs: Int
        var sent: Int
    }

    func run() async throws {
        guard let reference = CargoReference(reference), case .version(let version) = reference.selector else { return }
        let archive = try CargoArchive(path: FilePath(file))
        let config = try archive.config()
        guard config.name == reference.name.description, config.version == version.description else {
            throw Refusal(
                "other-name",
                "\(file) is \(printable(config.name)):\(printable(config.version)); push it under that name or pack it again")
        }
        let registry = RegistryClient(try coordinator.client(), name: reference.name)
        let manifests = Set([archive.root.digest] + archive.signatures.map(\.descriptor.digest))
        let inner = archive.blobs.filter { isManifest($0) && !manifests.contains($0.digest) }
        var sent = 0
        let blobs = archive.blobs.filter { !isManifest($0) }
        for blob in blobs {
            guard let range = archive.range(of: blob.digest) else { continue }
            if try await registry.push(blob: blob, from: archive.file, offset: range.offset) { sent += 1 }
        }
        for manifest in inner {
            try await registry.push(
                manifest: try archive.document(manifest), mediaType: manifest.mediaType, as: manifest.digest.description)
        }
        let root = archive.root
        try await registry.push(manifest: archive.documents.rootBytes, mediaType: root.mediaType, as: root.digest.description)
        for signature in archive.signatures {
            try await registry.push(
                manifest: signature.manifest, mediaType: MediaType.imageManifest, as: signature.descriptor.digest.description)
        }
        // The tag comes last: whoever sees it finds cargo and signatures.
        try await registry.push(manifest: archive.documents.rootBytes, mediaType: root.mediaType, as: version.description)
        if json {
            try Streams.json(Answer(reference: reference.description, digest: root.digest, blobs: blobs.count, sent: sent))
        } else {
            Streams.note("pushed \(reference): \(sent) of \(blobs.count) blobs were new")
            Streams.result(root.digest.description)
        }
    }

    private func isManifest(_ blob: Descriptor) -> Bool {
        blob.mediaType == MediaType.imageManifest || blob.mediaType == MediaType.imageIndex
    }
}
