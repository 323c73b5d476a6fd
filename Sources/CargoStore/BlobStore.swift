public import CargoArtifact
public import CargoFiles
internal import Glibc
public import SystemPackage

/// Content under its SHA-256: `blobs/sha256/HEX`, read-only files in folders of mode 0700.
///
/// Nothing stands under a digest until its whole content has that digest and is on disk (docs/rules.md 6), so
/// many processes may share one store without locks: whoever is second finds, or replaces the same by the same.
public final class BlobStore: Sendable {
    public let root: FilePath
    /// `blobs/sha256`.
    let blobs: Folder
    /// `tmp`: content on its way in. Each file is locked by whoever writes it.
    let temporary: Folder
    /// `partial`: large blobs on their way in, which outlive a kill. Each file is locked by whoever fetches it.
    public let partials: Folder

    /// Opens the store, making its folders (0700) where they are missing, and removes what killed writers left.
    public init(root: FilePath) throws {
        self.root = root
        let folder = try Folder.open(root, create: 0o700)
        try folder.makeFolder("blobs")
        try folder.makeFolder("tmp")
        try folder.makeFolder("partial")
        let outer = try folder.folder("blobs")
        try outer.makeFolder("sha256")
        blobs = try outer.folder("sha256")
        temporary = try folder.folder("tmp")
        partials = try folder.folder("partial")
        try sweep()
    }

    public func path(of digest: Digest) -> FilePath { root.appending("blobs").appending("sha256").appending(digest.hex) }

    /// Bytes, or nil when it is not here.
    public func size(of digest: Digest) -> Int64? {
        guard let status = try? blobs.status(digest.hex), status.kind == .regular else { return nil }
        return status.size
    }

    public func open(_ digest: Digest) throws -> File { try blobs.open(digest.hex) }

    /// A small blob whole, refused above `limit` bytes; its content is checked against its name again.
    public func contents(of digest: Digest, limit: Int) throws -> [UInt8] {
        let bytes = try open(digest).contents(limit: limit)
        guard Digest(of: bytes) == digest else {
            throw Refusal("digest-mismatch", "the stored blob \(digest) was changed on disk; run `cargo-run cache verify`")
        }
        return bytes
    }

    /// Starts a new blob.
    public func writer() throws -> BlobWriter { try BlobWriter(store: self) }

    /// Stores bytes from memory and returns their digest.
    @discardableResult
    public func store(_ bytes: [UInt8], expecting digest: Digest? = nil) throws -> Digest {
        let digest = digest ?? Digest(of: bytes)
        if size(of: digest) == Int64(bytes.count), Digest(of: bytes) == digest { return digest }
        let writer = try self.writer()
        try bytes.withUnsafeBytes { try writer.write($0) }
        return try writer.finish(expecting: digest, size: Int64(bytes.count)).0
    }

    /// Puts a file of `partials` in its place: fsync, rename, fsync of the folder.
    ///
    /// The caller has compared the SHA-256 of its whole content with `digest` while it arrived, and still holds its lock.
    public func adopt(_ file: File, named name: String, as digest: Digest, size: Int64) throws {
        guard try file.status().size == size else {
            throw Refusal("size-mismatch", "the file of \(digest) has not the \(size) bytes that were announced; fetch it again")
        }
        try file.setPermissions(0o444)
        try file.sync()
        try partials.rename(name, to: digest.hex, in: blobs)
        try blobs.sync()
    }

    /// Removes partial blobs that nobody fetches now and nobody fetched for so many seconds, and journals without one.
    ///
    /// Returns how many blobs.
    func removePartials(unusedFor seconds: Int64, now: Int64 = Int64(time(nil))) throws -> Int {
        var removed = 0
        for digest in Set(try partials.entries(limit: .max).compactMap { Digest(hex: $0.prefix(64)) }) {
            let (partial, journal) = (digest.hex + ".part", digest.hex + ".journal")
            if let status = try partials.status(partial) {
                guard status.modified / 1_000_000_000 <= now - seconds, let file = try? partials.open(partial, .readWrite),
                    try file.tryLock(.exclusive), try partials.status(partial)?.inode == file.status().inode
                else { continue }
                // While it is locked, so that nobody begins with a journal whose partial blob is gone.
                try partials.remove(journal)
                if try partials.remove(partial) { removed += 1 }
            } else {
                try partials.remove(journal)
            }
        }
        return removed
    }

    /// Removes a blob; false when it was not here.
    @discardableResult
    public func remove(_ digest: Digest) throws -> Bool { try blobs.remove(digest.hex) }

    /// Every digest here, sorted.
    public func digests() throws -> [Digest] {
        try blobs.entries(limit: .max).compactMap { Digest(hex: $0) }
    }

    /// Removes temporary files whose writers are gone: a file that can be locked has none.
    private func sweep() throws {
        for name in try temporary.entries(limit: .max) {
            guard let status = try? temporary.status(name), status.kind == .regular else {
                try? removeAbandonedFolder(name)
                continue
            }
            guard let file = try? temporary.open(name, .readOnly), (try? file.tryLock(.exclusive)) == true else { continue }
            _ = try? temporary.remove(name)
        }
    }

    private func removeAbandonedFolder(_ name: String) throws {
        let folder = try temporary.folder(name)
        if try folder.tryLock(.exclusive) { try temporary.removeTree(name) }
    }
}
