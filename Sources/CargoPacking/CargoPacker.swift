internal import CargoArchive
public import CargoArtifact
internal import CargoFiles
public import CargoSigning
public import SystemPackage

/// What packing made.
public struct PackedCargo: Hashable, Sendable {
    public let path: FilePath
    /// The root manifest's.
    public let digest: Digest
    /// Bytes of the archive.
    public let size: Int64
    public let config: CargoConfig
}

/// How a packed cargo is signed.
public struct SignatureOptions: Sendable {
    /// The release counter; nil takes the one that follows from the version.
    public var counter: Int64?
    /// Seconds since 1970 after which the signature counts no more.
    public var expires: Int64?

    public init(counter: Int64? = nil, expires: Int64? = nil) {
        self.counter = counter
        self.expires = expires
    }

    public func claims(_ config: CargoConfig) throws -> ReleaseClaims {
        guard let counter = counter ?? ReleaseClaims.counter(version: config.version) else {
            throw SourceFailure(
                YAMLValue.file, "version: its numbers are too large for a release counter; give one with --counter")
        }
        return ReleaseClaims(name: config.name, version: config.version, counter: counter, expires: expires)
    }
}

/// Turns a source folder into an archive. The same source gives the same bytes.
public struct CargoPacker: Sendable {
    public let source: FilePath
    /// Suspicious paths that are packed all the same.
    public var allowed: Set<String> = []
    public var keys: [SigningKey] = []
    /// Envelopes of the delegations that the keys stand on.
    public var delegations: [[UInt8]] = []
    public var signature = SignatureOptions()

    public init(source: FilePath) { self.source = source }

    /// `NAME-VERSION.cargo` for a config.
    public static func fileName(_ config: CargoConfig) -> String {
        (config.name.split(separator: "/").last.map(String.init) ?? config.name) + "-" + config.version + ".cargo"
    }

    /// The config that `cargo.yaml` alone gives, without reading anything else.
    public func readSource() throws -> CargoSource {
        let folder = try Folder.open(source)
        guard try folder.status(YAMLValue.file) != nil else {
            throw SourceFailure(
                source.appending(YAMLValue.file).string, "is missing; `longshore init DIR --kind process` makes one")
        }
        let bytes = try folder.open(YAMLValue.file).contents(limit: YAMLValue.limit)
        guard let text = String(validating: bytes, as: UTF8.self) else { throw SourceFailure(YAMLValue.file, "is not UTF-8") }
        return try CargoSource(yaml: text)
    }

    /// Packs into `output`, by default `NAME-VERSION.cargo` in the working folder. Blocks.
    public func pack(to output: FilePath? = nil) throws -> PackedCargo {
        let source = try readSource()
        let output = output ?? FilePath(CargoPacker.fileName(source.config))
        let parent = output.removingLastComponent()
        var layers = try LayerSet(
            source: try Folder.open(self.source), scratch: try Folder.open(parent.isEmpty ? "." : parent))
        var config = source.config
        try layers.add(source, config: &config, allowed: allowed)
        let configBytes = try CanonicalJSON.encode(config)
        let manifest = ImageManifest(
            artifactType: MediaType.cargo,
            config: Descriptor(mediaType: MediaType.cargoConfig, digest: Digest(of: configBytes), size: Int64(configBytes.count)),
            layers: layers.descriptors, annotations: CargoPacker.annotations(config))
        var documents = [manifest.config.digest: configBytes]
        let (root, rootBytes, content) = try CargoPacker.root(manifest, source: source, layers: &layers, documents: &documents)
        let claims = try signature.claims(config)
        let signatures =
            try keys.map { try SignatureArtifact(bundle: try $0.bundle(root: root.digest, claims: claims), root: root) }
            + delegations.map { try SignatureArtifact(.delegation, bundle: $0, root: root) }
        let writer = try ArchiveWriter(
            root: root, rootBytes: rootBytes, content: content, version: config.version, signatures: signatures
        ) { descriptor in
            if let bytes = documents[descriptor.digest] { return .bytes(bytes) }
            guard let source = layers.source(of: descriptor.digest) else {
                preconditionFailure("every layer of a manifest was added with its source")
            }
            return source
        }
        let size = try writer.write(to: output)
        do { try layers.checkUnchanged() } catch {
            if let name = output.lastComponent?.string { _ = try? Folder.open(parent.isEmpty ? "." : parent).remove(name) }
            throw error
        }
        return PackedCargo(path: output, digest: root.digest, size: size, config: config)
    }

    /// The document whose digest is signed: the cargo's manifest, or with a bundled image an index of both.
    private static func root(
        _ cargo: ImageManifest, source: CargoSource, layers: inout LayerSet, documents: inout [Digest: [UInt8]]
    ) throws -> (Descriptor, [UInt8], RootContent) {
        let bytes = try CanonicalJSON.encode(cargo)
        let own = Descriptor(mediaType: MediaType.imageManifest, digest: Digest(of: bytes), size: Int64(bytes.count))
        guard case .bundled(let path) = source.image else { return (own, bytes, .manifest(cargo)) }
        let image = try layers.addImage(path)
        var entries = [
            Descriptor(mediaType: MediaType.imageManifest, digest: Digest(of: image.manifest), size: Int64(image.manifest.count)),
            own,
        ]
        entries[0].platform = image.platform
        entries[1].platform = .unknown
        let index = ImageIndex(manifests: entries)
        let indexBytes = try CanonicalJSON.encode(index)
        documents[own.digest] = bytes
        documents[entries[0].digest] = image.manifest
        let manifest: ImageManifest = try StrictJSON.decode(from: image.manifest, limit: CargoLayout.maximumDocument)
        return (
            Descriptor(mediaType: MediaType.imageIndex, digest: Digest(of: indexBytes), size: Int64(indexBytes.count)),
            indexBytes,
            .index(index, [manifest, cargo])
        )
    }

    private static func annotations(_ config: CargoConfig) -> [String: String] {
        var annotations = ["org.opencontainers.image.title": config.name, "org.opencontainers.image.version": config.version]
        if let description = config.description { annotations["org.opencontainers.image.description"] = description }
        if let licenses = config.licenses {
            annotations["org.opencontainers.image.licenses"] = licenses.joined(separator: " AND ")
        }
        return annotations
    }
}
