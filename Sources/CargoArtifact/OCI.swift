/// An OCI content descriptor (image specification 1.1, descriptor.md).
public struct Descriptor: Hashable, Sendable, Codable {
    public var mediaType: String
    public var digest: Digest
    /// Bytes.
    public var size: Int64
    public var annotations: [String: String]?
    public var artifactType: String?
    public var platform: Platform?

    /// What an entry of an image index runs on (image-index.md); `unknown/unknown` for what is no image.
    public struct Platform: Hashable, Sendable, Codable {
        public var architecture: String
        public var os: String

        public init(architecture: String, os: String) {
            self.architecture = architecture
            self.os = os
        }

        public static let unknown = Platform(architecture: "unknown", os: "unknown")
    }

    public init(
        mediaType: String, digest: Digest, size: Int64, annotations: [String: String]? = nil, artifactType: String? = nil,
        platform: Platform? = nil
    ) {
        self.mediaType = mediaType
        self.digest = digest
        self.size = size
        self.annotations = annotations
        self.artifactType = artifactType
        self.platform = platform
    }
}

/// An OCI image manifest (image specification 1.1, manifest.md): a cargo, or a signature of one.
public struct ImageManifest: Hashable, Sendable, Codable {
    public var schemaVersion: Int
    public var mediaType: String
    public var artifactType: String?
    public var config: Descriptor
    public var layers: [Descriptor]
    public var subject: Descriptor?
    public var annotations: [String: String]?

    public init(
        artifactType: String?, config: Descriptor, layers: [Descriptor], subject: Descriptor? = nil,
        annotations: [String: String]? = nil
    ) {
        schemaVersion = 2
        mediaType = MediaType.imageManifest
        self.artifactType = artifactType
        self.config = config
        self.layers = layers
        self.subject = subject
        self.annotations = annotations
    }
}

/// An OCI image index (image specification 1.1, image-index.md).
public struct ImageIndex: Hashable, Sendable, Codable {
    public var schemaVersion: Int
    public var mediaType: String
    public var manifests: [Descriptor]
    public var annotations: [String: String]?

    public init(manifests: [Descriptor], annotations: [String: String]? = nil) {
        schemaVersion = 2
        mediaType = MediaType.imageIndex
        self.manifests = manifests
        self.annotations = annotations
    }
}

/// The media types of a cargo.
public enum MediaType {
    public static let imageIndex = "application/vnd.oci.image.index.v1+json"
    public static let imageManifest = "application/vnd.oci.image.manifest.v1+json"
    public static let imageConfig = "application/vnd.oci.image.config.v1+json"
    public static let empty = "application/vnd.oci.empty.v1+json"
    public static let cargo = "application/vnd.longshore.cargo.v1+json"
    public static let cargoConfig = "application/vnd.longshore.cargo.config.v1+json"
    public static let chunks = "application/vnd.longshore.chunks.v1"
    public static let files = "application/vnd.oci.image.layer.v1.tar+gzip"
    public static let weight = "application/vnd.cncf.model.weight.v1.raw"
    /// One file as it is, other than weights: its path stands in the layer's title.
    public static let rawFile = "application/octet-stream"
    public static let wasm = "application/wasm"
    public static let sigstoreBundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
    /// One DSSE envelope in JSON.
    public static let envelope = "application/vnd.dsse.envelope.v1+json"
    /// What a publisher's root key signs to let a release key sign.
    public static let delegation = "application/vnd.longshore.delegation.v1+json"
    /// What says that keys and digests count no more.
    public static let revocations = "application/vnd.longshore.revocations.v1+json"
    public static let inTotoStatement = "application/vnd.in-toto+json"
}
