import CargoArchive
import CargoArtifact
import CargoClient
import CargoFiles
import SystemPackage

/// A cargo of a registry on its way into an archive on disk.
///
/// Every blob is fetched into its own place in the one file, which lies hidden beside the target until all of it is there: a
/// transfer that was killed goes on from it, and whoever pulls the same to the same place at the same time waits and shares it.
struct ArchivePull {
    let cargo: RemoteCargo
    let registry: RegistryClient
    let target: FilePath

    /// Between two looks at what another process is fetching.
    private static let look = Duration.milliseconds(100)

    /// What came of it.
    struct Outcome {
        var size: Int64
        /// The same archive stood there before, and is whole.
        var wasHere: Bool
    }

    /// Throws `Refusal` when something is not what its digest says; nothing of it is kept then.
    func run() async throws -> Outcome {
        guard let name = target.lastComponent?.string else { throw FileFailure("write", target.string, .isDirectory) }
        let parent = target.removingLastComponent()
        let folder = try Folder.open(parent.isEmpty ? "." : parent)
        let writer = try ArchiveWriter(
            root: cargo.root, rootBytes: cargo.rootBytes, content: cargo.content, version: cargo.config.version,
            signatures: cargo.signatures
        ) { .later(size: $0.size) }
        // Index and target name all that the partial file can hold: what another pull left has another name.
        let partial = ".\(name.prefix(100)).\(Digest(of: try writer.index()).hex.prefix(16)).part"
        let file = try await claim(partial, in: folder)
        if let size = try wholeArchive(in: folder, name) {
            try folder.remove(partial)
            return Outcome(size: size, wasHere: true)
        }
        let (size, later) = try writer.write(into: file)
        let journals = later.map { partial + "-" + $0.blob.digest.hex.prefix(16) }
        do {
            try await fetch(later, journals, into: file, in: folder)
        } catch {
            if error is Refusal { for name in journals + [partial] { _ = try? folder.remove(name) } }
            throw error
        }
        try file.sync()
        try folder.rename(partial, to: name)
        for name in journals { try folder.remove(name) }
        try folder.sync()
        return Outcome(size: size, wasHere: false)
    }

    /// The partial file, held by this process alone.
    private func claim(_ partial: String, in folder: Folder) async throws -> File {
        while true {
            let file = try folder.open(partial, .readWrite, options: .create, permissions: 0o644)
            if try file.tryLock(.exclusive) {
                // Else it was put in its place between the two calls.
                if try folder.status(partial)?.inode == file.status().inode { return file }
                continue
            }
            try await Task.sleep(for: ArchivePull.look)
        }
    }

    /// The bytes of the archive at the target if it is this one, whole.
    private func wholeArchive(in folder: Folder, _ name: String) throws -> Int64? {
        guard try folder.status(name)?.kind == .regular, let archive = try? CargoArchive(file: try folder.open(name)),
            archive.root == cargo.root, Set(archive.signatures) == Set(cargo.signatures),
            (try? archive.checkCanonical()) != nil, (try? archive.checkBlobs(threads: 2)) != nil
        else { return nil }
        return archive.status.size
    }

    private func fetch(
        _ blobs: [(blob: Descriptor, offset: Int64)], _ journals: [String], into file: File, in folder: Folder
    ) async throws {
        let meter = TransferMeter()
        defer { meter.end() }
        var table: ChunkTable?
        for ((blob, offset), journal) in zip(blobs, journals) {
            let name = RegistryOrigin.name(of: blob)
            let isFetched = try await registry.fetch(
                blob, chunks: table?.sums(of: blob), into: file, at: offset, journal: journal, in: folder
            ) { meter.show(name, $0) }
            if !isFetched {
                var at = offset
                try await registry.blob(blob) { bytes in
                    try file.write(bytes, at: at)
                    at += Int64(bytes.count)
                }
            }
            // It stands before the layers that it speaks of. One that is broken costs the repair by pieces, nothing else.
            if blob.mediaType == MediaType.chunks, blob.size <= Int64(ChunkTable.maximumSize) {
                table = try? ChunkTable(json: try file.bytes(at: offset, count: Int(blob.size)))
            }
        }
    }
}
