/// What of an archive follows from what is signed: `oci-layout`, `index.json`, signature manifests, order.
///
/// A reader derives these bytes again and compares them, so that nothing in an archive is there unsigned.
public enum CargoLayout {
    /// The content of `oci-layout` (image specification 1.1, image-layout.md).
    public static let ociLayout = Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)

    /// Most bytes of `index.json`, of a manifest, a config or a signature bundle.
    public static let maximumDocument = 4 << 20
    /// Most signatures and delegations of one cargo.
    public static let maximumSignatures = 64
    /// Most layers of one cargo.
    public static let maximumLayers = 4096

    public static let refName = "org.opencontainers.image.ref.name"

    /// The bytes of `index.json`: the root first, then its signatures and delegations sorted by digest.
    public static func index(root: Descriptor, version: String, signatures: [SignatureArtifact]) throws -> [UInt8] {
        var entry = Descriptor(mediaType: root.mediaType, digest: root.digest, size: root.size)
        // cosign's own layouts name their image so; without it `cosign verify --local-image` finds nothing.
        entry.annotations = [refName: version, "kind": "dev.cosignproject.cosign/image"]
        let sorted = signatures.sorted { $0.descriptor.digest < $1.descriptor.digest }
        return try CanonicalJSON.encode(ImageIndex(manifests: [entry] + sorted.map(\.descriptor)))
    }

    /// The blobs of an archive in their order: signatures, root, manifests, configs, layers; each digest once.
    public static func order(root: Descriptor, content: RootContent, signatures: [SignatureArtifact]) -> [Descriptor] {
        var order: [Descriptor] = []
        for signature in signatures.sorted(by: { $0.descriptor.digest < $1.descriptor.digest }) {
            order += [signature.descriptor, signature.bundleDescriptor]
        }
        if !signatures.isEmpty { order.append(SignatureArtifact.emptyConfig) }
        order.append(root)
        if case .index(let index, _) = content { order += index.manifests }
        for manifest in content.manifests { order.append(manifest.config) }
        for manifest in content.manifests { order += manifest.layers }
        var seen: Set<Digest> = []
        return order.filter { seen.insert($0.digest).inserted }
    }
}

/// What the signed digest stands for: one manifest, or for the container kind an index of an image and a cargo manifest.
public enum RootContent: Hashable, Sendable {
    case manifest(ImageManifest)
    /// The manifests in the index's order; the last one is the cargo's.
    case index(ImageIndex, [ImageManifest])

    /// In the order of the archive.
    public var manifests: [ImageManifest] {
        switch self {
        case .manifest(let manifest): [manifest]
        case .index(_, let manifests): manifests
        }
    }

    /// The manifest whose config is the cargo's.
    public var cargo: ImageManifest? {
        manifests.last { $0.artifactType == MediaType.cargo || $0.config.mediaType == MediaType.cargoConfig }
    }

    /// Reads a root blob; `blob` gives the bytes of the manifests that an index names.
    public init(root: [UInt8], mediaType: String, blob: (Descriptor) throws -> [UInt8]) throws {
        switch mediaType {
        case MediaType.imageManifest:
            self = .manifest(try RootContent.manifest(root))
        case MediaType.imageIndex:
            let index = try StrictJSON.decode(ImageIndex.self, from: root, limit: CargoLayout.maximumDocument)
            guard index.schemaVersion == 2, index.mediaType == MediaType.imageIndex, index.manifests.count == 2,
                index.manifests.allSatisfy({ $0.mediaType == MediaType.imageManifest })
            else {
                throw Refusal("root-index", "the root index must hold exactly an image manifest and a cargo manifest")
            }
            self = .index(index, try index.manifests.map { try RootContent.manifest(try blob($0)) })
        default:
            throw Refusal("media-type", "'\(mediaType)' is neither an OCI image manifest nor an image index")
        }
        guard cargo != nil else {
            throw Refusal("not-a-cargo", "the archive holds no manifest with a cargo's config; pack it with `longshore pack`")
        }
    }

    private static func manifest(_ bytes: [UInt8]) throws -> ImageManifest {
        let manifest = try StrictJSON.decode(ImageManifest.self, from: bytes, limit: CargoLayout.maximumDocument)
        guard manifest.schemaVersion == 2, manifest.mediaType == MediaType.imageManifest else {
            throw Refusal("media-type", "the manifest is not an OCI image manifest of schema version 2")
        }
        guard manifest.layers.count <= CargoLayout.maximumLayers else {
            throw Refusal("too-many-layers", "the manifest has more than \(CargoLayout.maximumLayers) layers")
        }
        guard (manifest.layers + [manifest.config]).allSatisfy({ $0.size >= 0 && $0.size < 1 << 53 }) else {
            throw Refusal("size", "a descriptor's size is negative or too large")
        }
        return manifest
    }
}

/// A signature, or the delegation that gives its key the right to sign, as it lies beside a cargo: an OCI manifest whose
/// `subject` is the root and whose one layer is the signed document.
///
/// Its bytes follow from document and root alone (cosign's bundle specification), so a reader can compare them.
public struct SignatureArtifact: Hashable, Sendable {
    /// What the document is.
    public enum Kind: CaseIterable, Sendable {
        /// A Sigstore bundle v0.3 in JSON.
        case signature
        /// The DSSE envelope of a delegation in JSON.
        case delegation

        /// Of the signature manifest.
        public var artifactType: String {
            switch self {
            case .signature: MediaType.sigstoreBundle
            case .delegation: MediaType.delegation
            }
        }

        /// Of the document.
        public var mediaType: String {
            switch self {
            case .signature: MediaType.sigstoreBundle
            case .delegation: MediaType.envelope
            }
        }

        fileprivate var annotations: [String: String]? {
            switch self {
            case .signature:
                [
                    "dev.sigstore.bundle.content": "dsse-envelope",
                    "dev.sigstore.bundle.predicateType": SignatureArtifact.predicateType,
                ]
            case .delegation: nil
            }
        }

        /// Nil for a manifest that is neither: another tool's referrer.
        public init?(_ manifest: ImageManifest) {
            guard manifest.layers.count == 1, let layer = manifest.layers.first,
                let kind = Kind.allCases.first(where: {
                    $0.artifactType == manifest.artifactType && $0.mediaType == layer.mediaType
                })
            else { return nil }
            self = kind
        }
    }

    public static let emptyConfigBytes = Array("{}".utf8)
    public static let emptyConfig = Descriptor(mediaType: MediaType.empty, digest: Digest(of: emptyConfigBytes), size: 2)
    public static let predicateType = "https://sigstore.dev/cosign/sign/v1"

    public let kind: Kind
    /// The document.
    public let bundle: [UInt8]
    public let bundleDescriptor: Descriptor
    /// The signature manifest's bytes.
    public let manifest: [UInt8]
    /// As it stands in `index.json` and in a registry's answer to a referrers request.
    public let descriptor: Descriptor

    public init(_ kind: Kind = .signature, bundle: [UInt8], root: Descriptor) throws {
        self.kind = kind
        self.bundle = bundle
        bundleDescriptor = Descriptor(mediaType: kind.mediaType, digest: Digest(of: bundle), size: Int64(bundle.count))
        manifest = try CanonicalJSON.encode(
            ImageManifest(
                artifactType: kind.artifactType, config: SignatureArtifact.emptyConfig, layers: [bundleDescriptor],
                subject: Descriptor(mediaType: root.mediaType, digest: root.digest, size: root.size),
                annotations: kind.annotations))
        descriptor = Descriptor(
            mediaType: MediaType.imageManifest, digest: Digest(of: manifest), size: Int64(manifest.count),
            annotations: kind.annotations, artifactType: kind.artifactType)
    }
}

extension Sequence<SignatureArtifact> {
    /// The documents of one kind.
    public func documents(_ kind: SignatureArtifact.Kind) -> [[UInt8]] { filter { $0.kind == kind }.map(\.bundle) }
}
