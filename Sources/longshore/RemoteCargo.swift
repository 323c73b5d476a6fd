import CargoArtifact
import CargoClient

/// The small documents of a cargo at a registry: everything but its layers.
struct RemoteCargo {
    let root: Descriptor
    let rootBytes: [UInt8]
    let content: RootContent
    let manifest: ImageManifest
    let config: CargoConfig
    let signatures: [SignatureArtifact]

    private struct Kind: Decodable { var mediaType: String }

    /// Every digest is checked, no signature. Throws `Refusal` for what is no cargo of that name.
    init(_ reference: CargoReference, _ registry: RegistryClient) async throws {
        rootBytes = try await registry.manifest(reference.tagOrDigest)
        let kind = try StrictJSON.decode(Kind.self, from: rootBytes, limit: CargoLayout.maximumDocument)
        root = Descriptor(mediaType: kind.mediaType, digest: Digest(of: rootBytes), size: Int64(rootBytes.count))
        content = try await RemoteCargo.content(root, rootBytes, registry)
        guard let manifest = content.cargo else { throw Refusal("not-a-cargo", "\(reference) holds no cargo manifest") }
        self.manifest = manifest
        config = try CargoConfig.read(try await RemoteCargo.small(manifest.config, registry), referenceVersion: nil)
        try reference.check(config)
        signatures = try await RemoteCargo.signatures(root, registry)
    }

    private static func small(_ descriptor: Descriptor, _ registry: RegistryClient) async throws -> [UInt8] {
        guard descriptor.size <= Int64(CargoLayout.maximumDocument) else {
            throw Refusal("size-mismatch", "the document \(descriptor.digest) is too long")
        }
        var bytes: [UInt8] = []
        try await registry.blob(descriptor) { bytes.append(contentsOf: $0) }
        return bytes
    }

    private static func content(_ root: Descriptor, _ bytes: [UInt8], _ registry: RegistryClient) async throws -> RootContent {
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

    private static func signatures(_ root: Descriptor, _ registry: RegistryClient) async throws -> [SignatureArtifact] {
        var signatures: [SignatureArtifact] = []
        let origin = RegistryOrigin(registry, reference: CargoReference(name: registry.name, selector: .digest(root.digest)))
        for bytes in try await origin.signatureManifests(of: root.digest) {
            let manifest = try StrictJSON.decode(ImageManifest.self, from: bytes, limit: CargoLayout.maximumDocument)
            guard let kind = SignatureArtifact.Kind(manifest), let layer = manifest.layers.first else { continue }
            let signature = try SignatureArtifact(kind, bundle: try await small(layer, registry), root: root)
            // One that another tool attached in another form has no place in an archive of ours.
            if signature.manifest == bytes { signatures.append(signature) }
        }
        return signatures
    }
}
