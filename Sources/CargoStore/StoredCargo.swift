public import CargoArtifact
internal import CargoFiles
public import SystemPackage

/// A verified cargo on disk, ready to run.
public struct StoredCargo: Sendable {
    /// A part of `/cargo`: an unpacked tree at its root, or one file at `path` inside it.
    public enum Part: Hashable, Sendable {
        case tree(FilePath)
        case file(path: String, blob: FilePath)
    }

    /// The image that a container cargo carries.
    public struct Image: Hashable, Sendable {
        public struct Layer: Hashable, Sendable {
            public let descriptor: Descriptor
            /// A gzipped tar.
            public let blob: FilePath
        }

        public let manifest: ImageManifest
        /// The image's config, whose digest is its identity.
        public let config: FilePath
        /// The lowest first.
        public let layers: [Layer]
    }

    /// Digest of the root manifest.
    public let digest: Digest
    public let manifest: ImageManifest
    public let config: CargoConfig
    /// In the order in which they are laid over each other.
    public let parts: [Part]
    /// Set for container cargos with a bundled image.
    public let image: Image?
    /// Keeps its files in the store while this value lives.
    let lease: CargoLease?

    public init(digest: Digest, manifest: ImageManifest, config: CargoConfig, parts: [Part], image: Image? = nil) {
        self.init(digest: digest, manifest: manifest, config: config, parts: parts, image: image, lease: nil)
    }

    init(digest: Digest, manifest: ImageManifest, config: CargoConfig, parts: [Part], image: Image?, lease: CargoLease?) {
        self.digest = digest
        self.manifest = manifest
        self.config = config
        self.parts = parts
        self.image = image
        self.lease = lease
    }
}

/// A cargo in use: `gc` and `rm` leave it alone until the last lease of it is let go of or its process ends.
final class CargoLease: Sendable {
    private let file: File

    init(_ file: File) { self.file = file }
}

/// What a layer becomes inside `/cargo`.
enum LayerRole: Hashable {
    /// A gzipped tar, unpacked into a tree.
    case tree
    /// One file at this path.
    case file(String)
    /// Nothing: a chunk table.
    case none

    static let title = "org.opencontainers.image.title"
    static let modelPath = "org.cncf.model.filepath"

    init(_ layer: Descriptor) throws {
        switch layer.mediaType {
        case MediaType.chunks: self = .none
        case MediaType.files: self = .tree
        case MediaType.weight, MediaType.wasm, MediaType.rawFile:
            let annotations = layer.annotations ?? [:]
            guard let path = annotations[LayerRole.modelPath] ?? annotations[LayerRole.title] else {
                throw Refusal("layer-path", "the layer \(layer.digest) does not say which file it is")
            }
            self = .file(try SafePath(path).text)
        default:
            throw Refusal("media-type", "a layer of type '\(layer.mediaType.prefix(100))' is unknown; use a newer longshore")
        }
    }
}
