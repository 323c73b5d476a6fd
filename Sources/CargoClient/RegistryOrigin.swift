public import CargoArtifact
public import CargoStore
public import CargoTransfer
import FoundationEssentials

/// One cargo of a registry as the store wants to see it.
public struct RegistryOrigin: CargoOrigin {
    private let registry: RegistryClient
    private let reference: String
    private let progress: @Sendable (Descriptor, TransferProgress) -> Void

    /// The most signatures and delegations of one cargo that are looked at.
    static let maximumSignatures = 64

    /// `progress` hears of large blobs, at most four times a second each.
    public init(
        _ registry: RegistryClient, reference: CargoReference,
        progress: @escaping @Sendable (Descriptor, TransferProgress) -> Void = { _, _ in }
    ) {
        self.registry = registry
        self.reference = reference.tagOrDigest
        self.progress = progress
    }

    /// What a person knows a blob by: its file, else the beginning of its digest.
    public static func name(of blob: Descriptor) -> String {
        blob.annotations?["org.opencontainers.image.title"] ?? String(blob.digest.hex.prefix(12))
    }

    public func manifest() async throws -> [UInt8] { try await registry.manifest(reference) }

    public func signatureManifests(of root: Digest) async throws -> [[UInt8]] {
        var manifests: [[UInt8]] = []
        for kind in SignatureArtifact.Kind.allCases {
            let descriptors = try await registry.referrers(of: root, artifactType: kind.artifactType)
            for descriptor in descriptors.prefix(RegistryOrigin.maximumSignatures - manifests.count) {
                manifests.append(try await registry.manifest(descriptor.digest.description))
            }
        }
        return manifests
    }

    public func blob(_ descriptor: Descriptor, into sink: (UnsafeRawBufferPointer) throws -> Void) async throws {
        // The manifests inside an index are manifests to a registry too, and no blobs (distribution specification, "Pulling manifests").
        if [MediaType.imageManifest, MediaType.imageIndex].contains(descriptor.mediaType) {
            return try (try await registry.manifest(descriptor.digest.description)).withUnsafeBytes(sink)
        }
        try await registry.blob(descriptor, into: sink)
    }

    public func fetch(_ descriptor: Descriptor, chunks: ChunkSums?, into store: BlobStore) async throws -> Bool {
        try await registry.fetch(descriptor, chunks: chunks, into: store) { progress(descriptor, $0) }
    }
}
