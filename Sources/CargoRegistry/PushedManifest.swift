import CargoArtifact
import CargoStore
import FoundationEssentials

/// A manifest or index on its way into the registry.
struct PushedManifest {
    private enum Content {
        case image(ImageManifest)
        case index(ImageIndex)
    }

    let mediaType: String
    private let content: Content
    private let size: Int

    private struct Head: Decodable {
        var mediaType: String?
    }

    init(_ bytes: [UInt8], contentType: String?) throws {
        do {
            let head = try StrictJSON.decode(Head.self, from: bytes, limit: RegistryIndex.largestManifest)
            let mediaType = head.mediaType ?? contentType ?? MediaType.imageManifest
            switch mediaType {
            case MediaType.imageManifest:
                content = .image(try JSONDecoder().decode(ImageManifest.self, from: Data(bytes)))
            case MediaType.imageIndex:
                content = .index(try JSONDecoder().decode(ImageIndex.self, from: Data(bytes)))
            default:
                throw RegistryError(415, "MANIFEST_INVALID", "Only OCI image manifests and indexes are stored here.")
            }
            self.mediaType = mediaType
            size = bytes.count
        } catch let error as DecodingError {
            throw RegistryError(400, "MANIFEST_INVALID", "The manifest lacks a field or has one of another type: \(error)")
        }
    }

    var subject: CargoArtifact.Digest? {
        guard case .image(let manifest) = content else { return nil }
        return manifest.subject?.digest
    }

    /// Everything that it names must be here; a cargo's tag must be its signed version, its name this name.
    func check(in index: RegistryIndex, _ name: CargoName, tag: CargoVersion?) throws {
        switch content {
        case .image(let manifest):
            for descriptor in [manifest.config] + manifest.layers {
                guard try index.hasBlob(descriptor.digest, in: name), index.blobs.size(of: descriptor.digest) == descriptor.size
                else {
                    throw RegistryError(
                        400, "MANIFEST_BLOB_UNKNOWN",
                        "The manifest names \(descriptor.digest) of \(descriptor.size) bytes; push it first.")
                }
            }
            guard let tag, manifest.config.mediaType == MediaType.cargoConfig else { return }
            let bytes = try index.blobs.contents(of: manifest.config.digest, limit: 1 << 20)
            let config = try StrictJSON.decode(CargoConfig.self, from: bytes, limit: 1 << 20)
            guard config.name == name.description, config.version == tag.description else {
                throw RegistryError(
                    400, "MANIFEST_INVALID",
                    "This cargo is \(config.name):\(config.version); it cannot be pushed as \(name):\(tag).")
            }
        case .index(let list):
            for descriptor in list.manifests where try index.manifest(name, descriptor.digest) == nil {
                throw RegistryError(400, "MANIFEST_BLOB_UNKNOWN", "The index names \(descriptor.digest); push it first.")
            }
        }
    }

    /// What `referrers` will list for the subject.
    func referrer(of digest: CargoArtifact.Digest) throws -> (subject: CargoArtifact.Digest, descriptor: [UInt8])? {
        guard case .image(let manifest) = content, let subject = manifest.subject else { return nil }
        var descriptor = Descriptor(mediaType: mediaType, digest: digest, size: Int64(size), annotations: manifest.annotations)
        descriptor.artifactType = manifest.artifactType ?? manifest.config.mediaType
        return (subject.digest, Array(try JSONEncoder().encode(descriptor)))
    }
}
