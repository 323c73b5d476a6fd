public import CargoArtifact
public import CargoFiles
public import SystemPackage

/// An archive on disk, opened for reading: its table of contents, and what its small documents say.
///
/// Opening reads headers and small documents alone, never a layer. Each document was compared with its digest
/// and `index.json` with what follows from them; no signature was checked and no layer hashed.
public final class CargoArchive: Sendable {
    /// Where a blob lies in `file`.
    public struct Range: Hashable, Sendable {
        public let offset: Int64
        public let size: Int64
    }

    public let file: File
    /// Of the file before the first byte of it was read.
    public let status: FileStatus
    public let documents: ArchiveDocuments
    private let ranges: [Digest: Range]
    private let isCanonical: Bool

    public var root: Descriptor { documents.root }
    public var manifest: ImageManifest { documents.manifest }
    public var signatures: [SignatureArtifact] { documents.signatures }
    /// Every blob of the archive in canonical order.
    public var blobs: [Descriptor] { documents.blobs }

    public convenience init(path: FilePath) throws { try self.init(file: try File.open(path)) }

    public init(file: File) throws {
        self.file = file
        status = try file.status()
        guard status.kind == .regular else {
            throw Refusal("archive", "\(file.path) is not a regular file; save it to disk first")
        }
        let tar = TarReader(file, length: status.size)
        var named: [String: Range] = [:]
        var ranges: [Digest: Range] = [:]
        while let entry = try tar.next() {
            let range = Range(offset: entry.offset, size: entry.size)
            let digest = Digest(hex: entry.name.dropFirst(13))
            let before = digest.map { ranges.updateValue(range, forKey: $0) } ?? named.updateValue(range, forKey: entry.name)
            guard before == nil else { throw TarReader.malformed("'\(entry.name)' is in it twice") }
        }
        isCanonical = tar.isCanonical
        self.ranges = ranges
        guard let layout = named["oci-layout"], let index = named["index.json"] else {
            throw TarReader.malformed("oci-layout or index.json is missing")
        }
        guard index.size <= Int64(CargoLayout.maximumDocument) else { throw TarReader.malformed("index.json is too long") }
        documents = try ArchiveDocuments(
            layout: file.bytes(at: layout.offset, count: Int(min(layout.size, 4096))),
            index: file.bytes(at: index.offset, count: Int(index.size))
        ) { try CargoArchive.document($0, ranges[$0.digest], in: file) }
        for blob in documents.blobs {
            guard let range = ranges[blob.digest] else { throw ArchiveDocuments.missing(blob.digest) }
            guard range.size == blob.size else { throw ArchiveDocuments.wrongSize(blob, range.size) }
        }
        guard ranges.count == documents.blobs.count else { throw ArchiveDocuments.extraBlob }
    }

    public func range(of digest: Digest) -> Range? { ranges[digest] }

    /// The cargo's config, parsed; its name and version are well-formed and the version is the archive's.
    public func config() throws -> CargoConfig { try documents.config() }

    /// A small blob whole, compared with its digest.
    public func document(_ descriptor: Descriptor) throws -> [UInt8] {
        try CargoArchive.document(descriptor, ranges[descriptor.digest], in: file)
    }

    private static func document(_ descriptor: Descriptor, _ range: Range?, in file: File) throws -> [UInt8] {
        guard let range else { throw ArchiveDocuments.missing(descriptor.digest) }
        guard range.size == descriptor.size, range.size <= Int64(CargoLayout.maximumDocument) else {
            throw ArchiveDocuments.wrongSize(descriptor, range.size)
        }
        let bytes = try file.bytes(at: range.offset, count: Int(range.size))
        guard Digest(of: bytes) == descriptor.digest else { throw damaged(descriptor.digest) }
        return bytes
    }

    /// Reads a blob in order in bounded pieces, without comparing it with its digest.
    public func read(_ digest: Digest, into sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        guard let range = ranges[digest] else { throw ArchiveDocuments.missing(digest) }
        try file.read(from: range.offset, count: range.size, into: sink)
    }

    /// Refuses a tar whose headers, padding or end are not what `longshore pack` writes for the same files, in whatever order
    /// they lie: nothing in the file but its contents may say anything.
    public func checkCanonical() throws {
        guard isCanonical else { throw CargoArchive.changed }
    }

    /// Hashes every blob and compares it with its digest, `threads` of them at a time.
    public func checkBlobs(threads: Int) throws {
        try inParallel(blobs.count, threads: threads) { [self] index in try check(blobs[index]) }
    }

    /// Hashes a blob and compares it with its digest.
    public func check(_ blob: Descriptor) throws {
        try CargoArchive.check(blob) { try read(blob.digest, into: $0) }
    }

    /// The same for a content that is read by `read`.
    public static func check(
        _ blob: Descriptor, _ read: ((UnsafeRawBufferPointer) throws -> Void) throws -> Void
    ) throws {
        var hash = ContentHash()
        try read { hash.update($0) }
        guard hash.digest() == blob.digest else { throw damaged(blob.digest) }
    }

    static let changed = Refusal(
        "layout", "the tar around the cargo was changed or written by another tool; pack or pull it again")

    static func damaged(_ digest: Digest) -> Refusal {
        Refusal("digest-mismatch", "the blob \(digest) in the archive was damaged or changed")
    }
}
