internal import CargoArchive
internal import CargoArtifact
internal import CargoFiles
internal import SystemPackage

/// The layers of a cargo that is being packed, with the files that their bytes come from.
struct LayerSet {
    private let folder: Folder
    private let scratch: Folder
    private var layers: [Descriptor] = []
    private var table = ChunkTable(chunkSize: ChunkTable.chunkSize, layers: [])
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
        var tree = try SourceTree(folder, wanted: source.files, allowed: allowed)
        var raw: [(path: String, type: String)] = []
        for path in source.model?.weights ?? [] { raw.append((path, MediaType.weight)) }
        if config.kind == .wasm { for path in modules(in: tree) { raw.append((path, MediaType.wasm)) } }
        tree.remove(Set(raw.map(\.path)))
        for (path, type) in raw { try addFile(path, type: type) }
        if !tree.entries.isEmpty { try addTree(tree) }
        if !table.layers.isEmpty { try addTable() }
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
            table.layers.append(ChunkTable.Layer(digest: digest, size: status.size, chunks: chunks))
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
                annotations: [
                    "dev.longshore.unpacked.bytes": String(unpacked.bytes),
                    "dev.longshore.unpacked.entries": String(unpacked.entries),
                ]),
            from: temporary.file)
        if size > ChunkTable.chunkSize {
            table.layers.append(ChunkTable.Layer(digest: digest, size: size, chunks: chunks))
        }
    }

    private mutating func addTable() throws {
        let bytes = try CanonicalJSON.encode(table)
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
    private static func hash(_ file: File, size: Int64) throws -> (Digest, [String]) {
        var whole = ContentHash()
        var chunk = ContentHash()
        var inChunk: Int64 = 0
        var chunks: [String] = []
        let wantsChunks = size > ChunkTable.chunkSize
        // Pieces are 1 MiB, which divides a chunk.
        try file.read(from: 0, count: size) { bytes in
            whole.update(bytes)
            guard wantsChunks else { return }
            chunk.update(bytes)
            inChunk += Int64(bytes.count)
            if inChunk == ChunkTable.chunkSize {
                chunks.append(chunk.digest().hex)
                chunk = ContentHash()
                inChunk = 0
            }
        }
        if inChunk > 0 { chunks.append(chunk.digest().hex) }
        return (whole.digest(), chunks)
    }
}
