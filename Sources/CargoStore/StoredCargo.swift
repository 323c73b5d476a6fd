public import CargoArtifact
public import SystemPackage

/// A verified cargo on disk, ready to run.
public struct StoredCargo: Sendable {
    /// A part of `/cargo`: an unpacked tree at its root, or one file at `path` inside it.
    public enum Part: Hashable, Sendable {
        case tree(FilePath)
        case file(path: String, blob: FilePath)
    }

    /// Digest of the root manifest.
    public let digest: Digest
    public let manifest: ImageManifest
    public let config: CargoConfig
    /// In the order in which they are laid over each other.
    public let parts: [Part]

    public init(digest: Digest, manifest: ImageManifest, config: CargoConfig, parts: [Part]) {
        self.digest = digest
        self.manifest = manifest
        self.config = config
        self.parts = parts
    }
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
