public import CargoArtifact

/// What the small documents of an archive say: each compared with its digest, and `index.json` with what follows from them.
///
/// No signature was checked.
public struct ArchiveDocuments: Sendable {
    public let root: Descriptor
    public let rootBytes: [UInt8]
    public let content: RootContent
    /// The cargo's manifest: the root, or for the container kind one of the root's.
    public let manifest: ImageManifest
    /// Signatures and the delegations that they stand on.
    public let signatures: [SignatureArtifact]
    /// The version under which `index.json` names the cargo; it must equal the signed one.
    public let version: String
    /// Every blob of the archive in canonical order.
    public let blobs: [Descriptor]
    private let configBytes: [UInt8]

    /// `read` gives a document whose bytes have the descriptor's digest.
    init(layout: [UInt8], index indexBytes: [UInt8], read: (Descriptor) throws -> [UInt8]) throws {
        guard layout == CargoLayout.ociLayout else { throw Refusal("oci-layout", "oci-layout is not as it must be") }
        let index = try StrictJSON.decode(ImageIndex.self, from: indexBytes, limit: CargoLayout.maximumDocument)
        guard let first = index.manifests.first else { throw Refusal("index", "index.json names no cargo") }
        guard index.manifests.count <= CargoLayout.maximumSignatures + 1 else {
            throw Refusal("index", "index.json names more than \(CargoLayout.maximumSignatures) signatures")
        }
        root = Descriptor(mediaType: first.mediaType, digest: first.digest, size: first.size)
        rootBytes = try read(root)
        content = try RootContent(root: rootBytes, mediaType: root.mediaType, blob: read)
        guard let cargo = content.cargo else { throw Refusal("not-a-cargo", "the archive holds no cargo manifest") }
        manifest = cargo
        var signatures: [SignatureArtifact] = []
        for descriptor in index.manifests.dropFirst() {
            let bytes = try read(descriptor)
            let manifest = try StrictJSON.decode(ImageManifest.self, from: bytes, limit: CargoLayout.maximumDocument)
            guard let kind = SignatureArtifact.Kind(manifest), let layer = manifest.layers.first else {
                throw Refusal("index", "index.json names a second manifest that is no signature")
            }
            let signature = try SignatureArtifact(kind, bundle: try read(layer), root: root)
            guard signature.manifest == bytes else {
                throw Refusal("signature-manifest", "a signature manifest is not as it follows from its bundle and the cargo")
            }
            signatures.append(signature)
        }
        if !signatures.isEmpty { _ = try read(SignatureArtifact.emptyConfig) }
        self.signatures = signatures
        version = first.annotations?[CargoLayout.refName] ?? ""
        guard try CargoLayout.index(root: root, version: version, signatures: signatures) == indexBytes else {
            throw Refusal("index", "index.json holds something that does not follow from the cargo and its signatures")
        }
        blobs = CargoLayout.order(root: root, content: content, signatures: signatures)
        configBytes = try read(cargo.config)
    }

    /// The cargo's config, parsed; its name and version are well-formed and the version is the archive's.
    public func config() throws -> CargoConfig { try CargoConfig.read(configBytes, referenceVersion: version) }

    static func missing(_ digest: Digest) -> Refusal {
        Refusal("missing-blob", "the blob \(digest) is missing from the archive")
    }

    static func wrongSize(_ blob: Descriptor, _ size: Int64) -> Refusal {
        Refusal("size-mismatch", "the blob \(blob.digest) has \(size) bytes where its descriptor says \(blob.size)")
    }

    static let extraBlob = Refusal("extra-blob", "the archive holds a blob that neither the cargo nor a signature names")
}
