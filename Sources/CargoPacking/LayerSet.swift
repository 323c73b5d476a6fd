internal import CargoArchive
internal import CargoArtifact
internal import CargoFiles
internal import SystemPackage

/// The layers of a cargo that is being packed, with the files that their bytes come from.
struct LayerSet {
    private let folder: Folder
    private let scratch: Folder
    private var layers: [Descriptor] = []
    private var table = ChunkTable()
    private var sources: [Digest: ArchiveWriter.Source] = [:]
    /// Files that were hashed and must not have changed when the archive is written.
    private var watched: [(File, FileStatus)] = []

    init(source: Folder, scratch: Folder) throws {
        folder = source
        self.scratch = scratch
    }

    /// In the manifest's order: the chunk table first.
    var descriptors: [Descriptor] { layers }

    func source(of digest: Digest) -> ArchiveWriter.Source? { sources[digest] }

    mutating func add(_ source: CargoSource, config: inout CargoConfig, allowed: Set<String>) throws {
        var image: String?
        if case .bundled(let path) = source.image { image = path }
        var tree = try SourceTree(folder, wanted: source.files, allowed: allowed, leavingOut: image)
        var raw: [(path: String, type: String)] = []
        if let image { tree.remove([image]) }
        if let model = source.model {
            let files = try ModelFiles(model, kind: config.kind, folder: folder)
            for path in files.paths { raw.append((path, MediaType.weight)) }
            files.fill(&config)
        }
        if config.kind == .wasm { for path in modules(in: tree) { raw.append((path, MediaType.wasm)) } }
        let named = Set(raw.map(\.path))
        for (path, entry) in tree.entries where !named.contains(path) {
            // A large file gains nothing from compression that its chunks, sharing and a warm start do not give more of.
            // Exec bits live in tars alone, so a large program stays in one.
            if case .file(executable: false, let size) = entry, size > ChunkTable.chunkSize {
                raw.append((path, MediaType.rawFile))
            }
        }
        tree.remove(Set(raw.map(\.path)))
        for (path, type) in raw { try addFile(path, type: type) }
        if !tree.entries.isEmpty { try addTree(tree) }
        if source.model != nil { config.model = modelPack(config) }
        if !table.blobs.isEmpty { try addTable() }
    }

    /// CNCF ModelPack's config (model-spec, config.md), with what is known of the layers.
    private func modelPack(_ config: CargoConfig) -> JSONValue {
        var descriptor: [String: JSONValue] = [
            "name": .string(config.name), "version": .string(config.version),
            "vendor": .string(String(config.name.prefix { $0 != "/" })),
        ]
        if let description = config.description { descriptor["description"] = .string(description) }
        if let licenses = config.licenses { descriptor["licenses"] = .array(licenses.map(JSONValue.string)) }
        let weights = layers.filter { $0.mediaType == MediaType.weight }
        return .object([
            "descriptor": .object(descriptor), "config": config.model ?? .object([:]),
            "modelfs": .object([
                "type": .string("layers"), "diffIds": .array(weights.map { .string($0.digest.description) }),
            ]),
        ])
    }

    private func modules(in tree: SourceTree) -> [String] {
        tree.entries.compactMap { path, entry in
            if case .file = entry, path.hasSuffix(".wasm") { path } else { nil }
        }
    }

    private mutating func addFile(_ path: String, type: String) throws {
        let file: File
        do { file = try folder.open(path) } catch let failure as FileFailure {
            throw SourceFailure(path, "cannot be packed: \(failure.errno)")
        }
        let status = try file.status()
        guard status.kind == .regular else { throw SourceFailure(path, "is no regular file") }
        let (digest, chunks) = try LayerSet.hash(file, size: status.size)
        watched.append((file, status))
        append(
            Descriptor(
                mediaType: type, digest: digest, size: status.size,
                annotations: ["org.cncf.model.filepath": path, "org.opencontainers.image.title": path]),
            from: file)
        if status.size > ChunkTable.chunkSize {
            table[digest] = chunks
        }
    }

    private mutating func addTree(_ tree: SourceTree) throws {
        let temporary = try scratch.makeTemporary()
        // Without a name from here on: nothing is left behind whatever happens.
        try scratch.remove(temporary.name)
        let unpacked = try TreeLayer.write(tree, to: temporary.file)
        let size = try temporary.file.status().size
        let (digest, chunks) = try LayerSet.hash(temporary.file, size: size)
        append(
            Descriptor(
                mediaType: MediaType.files, digest: digest, size: size,
                annotations: LayerSet.unpackedAnnotations(unpacked.bytes, unpacked.entries)),
            from: temporary.file)
        if size > ChunkTable.chunkSize {
            table[digest] = chunks
        }
    }

    /// The manifest of a bundled image, OCI 1.0 fields only; its blobs become sources here.
    mutating func addImage(_ path: String) throws -> (manifest: [UInt8], platform: Descriptor.Platform) {
        let image = try CarriedImage(path, in: folder) {
            let temporary = try scratch.makeTemporary()
            try scratch.remove(temporary.name)
            return temporary.file
        }
        var layers: [Descriptor] = []
        for file in image.layers {
            let size = try file.status().size
            let (digest, _) = try LayerSet.hash(file, size: size)
            let unpacked = try LayerContents.measure(file)
            layers.append(
                Descriptor(
                    mediaType: MediaType.files, digest: digest, size: size,
                    annotations: LayerSet.unpackedAnnotations(unpacked.bytes, unpacked.entries)))
            sources[digest] = .file(file, offset: 0, size: size)
        }
        let config = Descriptor(
            mediaType: MediaType.imageConfig, digest: Digest(of: image.config), size: Int64(image.config.count))
        sources[config.digest] = .bytes(image.config)
        let manifest = try CanonicalJSON.encode(ImageManifest(artifactType: nil, config: config, layers: layers))
        return (manifest, image.platform)
    }

    /// What a layer declares to unpack to, at which a host stops.
    private static func unpackedAnnotations(_ bytes: Int64, _ entries: Int) -> [String: String] {
        ["dev.longshore.unpacked.bytes": String(bytes), "dev.longshore.unpacked.entries": String(entries)]
    }

    private mutating func addTable() throws {
        let bytes = try table.json()
        let descriptor = Descriptor(mediaType: MediaType.chunks, digest: Digest(of: bytes), size: Int64(bytes.count))
        layers.insert(descriptor, at: 0)
        sources[descriptor.digest] = .bytes(bytes)
    }

    private mutating func append(_ descriptor: Descriptor, from file: File) {
        layers.append(descriptor)
        sources[descriptor.digest] = .file(file, offset: 0, size: descriptor.size)
    }

    /// Refuses an archive whose sources changed between hashing and writing.
    func checkUnchanged() throws {
        for (file, status) in watched where try file.status().fingerprint != status.fingerprint {
            throw SourceFailure(file.path.string, "changed while it was packed; pack again")
        }
    }

    /// The digest of a file, and the sums of its chunks.
    private static func hash(_ file: File, size: Int64) throws -> (Digest, [Digest]) {
        var whole = ContentHash()
        var chunk = ContentHash()
        var inChunk: Int64 = 0
        var chunks: [Digest] = []
        let wantsChunks = size > ChunkTable.chunkSize
        // Pieces are 1 MiB, which divides a chunk.
        try file.read(from: 0, count: size) { bytes in
            whole.update(bytes)
            guard wantsChunks else { return }
            chunk.update(bytes)
            inChunk += Int64(bytes.count)
            if inChunk == ChunkTable.chunkSize {
                chunks.append(chunk.digest())
                chunk = ContentHash()
                inChunk = 0
            }
        }
        if inChunk > 0 { chunks.append(chunk.digest()) }
        return (whole.digest(), chunks)
    }
}
