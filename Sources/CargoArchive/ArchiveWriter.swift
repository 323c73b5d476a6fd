public import CargoArtifact
public import CargoFiles
public import SystemPackage

/// Writes an archive from parts that exist already: for packing, signing again, and pulling.
///
/// The same parts give the same bytes, wherever and whenever.
public struct ArchiveWriter: Sendable {
    /// Where a blob's bytes come from.
    public enum Source: Sendable {
        case bytes([UInt8])
        /// `size` bytes of `file` from `offset`.
        case file(File, offset: Int64, size: Int64)
        /// The caller of `write(into:)` puts them where it says.
        case later(size: Int64)

        var size: Int64 {
            switch self {
            case .bytes(let bytes): Int64(bytes.count)
            case .file(_, _, let size), .later(let size): size
            }
        }
    }

    private let root: Descriptor
    private let version: String
    private let signatures: [SignatureArtifact]
    private let blobs: [(Descriptor, Source)]

    /// `source` gives every blob that the root reaches, except the root and the signatures.
    public init(
        root: Descriptor, rootBytes: [UInt8], content: RootContent, version: String, signatures: [SignatureArtifact],
        source: (Descriptor) throws -> Source
    ) throws {
        self.root = root
        self.version = version
        self.signatures = signatures
        var known: [Digest: [UInt8]] = [root.digest: rootBytes]
        known[SignatureArtifact.emptyConfig.digest] = SignatureArtifact.emptyConfigBytes
        for signature in signatures {
            known[signature.descriptor.digest] = signature.manifest
            known[signature.bundleDescriptor.digest] = signature.bundle
        }
        blobs = try CargoLayout.order(root: root, content: content, signatures: signatures).map { descriptor in
            let source = try known[descriptor.digest].map(Source.bytes) ?? source(descriptor)
            guard source.size == descriptor.size else {
                throw Refusal("size-mismatch", "the blob \(descriptor.digest) has \(source.size) bytes, not \(descriptor.size)")
            }
            return (descriptor, source)
        }
    }

    /// Writes beside `path` and renames into place; an existing file is replaced as a whole.
    /// Returns the archive's bytes.
    @discardableResult
    public func write(to path: FilePath) throws -> Int64 {
        guard let name = path.lastComponent?.string else { throw FileFailure("write", path.string, .isDirectory) }
        let parent = path.removingLastComponent()
        let folder = try Folder.open(parent.isEmpty ? "." : parent)
        let temporary = try folder.makeTemporary(permissions: 0o644)
        do {
            let size = try write(into: temporary.file).size
            try temporary.file.sync()
            try folder.rename(temporary.name, to: name)
            try folder.sync()
            return size
        } catch {
            _ = try? folder.remove(temporary.name)
            throw error
        }
    }

    /// Writes all that is known into a file that is empty, or that this same archive was being written into.
    ///
    /// Returns the archive's bytes, and where the blobs belong that come later.
    public func write(into file: File) throws -> (size: Int64, later: [(blob: Descriptor, offset: Int64)]) {
        let index = try self.index()
        let parts: [(String, Source)] =
            [("oci-layout", .bytes(CargoLayout.ociLayout)), ("index.json", .bytes(index))]
            + blobs.map { ("blobs/sha256/" + $0.digest.hex, $1) }
        var plan = ArchivePlan()
        for (name, source) in parts { plan.add(name, size: source.size) }
        // Padding and end are what stays unwritten: zeros.
        try file.truncate(to: plan.total)
        var later: [(blob: Descriptor, offset: Int64)] = []
        for (position, (entry, part)) in zip(plan.entries, parts).enumerated() {
            try file.write(entry.headerBytes, at: entry.header)
            switch part.1 {
            case .bytes(let bytes): try file.write(bytes, at: entry.offset)
            case .file(let source, let offset, let size):
                try file.copy(from: source, at: offset, count: size, to: entry.offset)
            case .later: later.append((blobs[position - 2].0, entry.offset))
            }
        }
        return (plan.total, later)
    }

    /// The bytes of `index.json`, from which every other byte of the archive follows.
    public func index() throws -> [UInt8] { try CargoLayout.index(root: root, version: version, signatures: signatures) }
}

extension CargoArchive {
    /// A writer of the same cargo with other signatures.
    public func rewritten(signatures: [SignatureArtifact]) throws -> ArchiveWriter {
        try ArchiveWriter(
            root: root, rootBytes: documents.rootBytes, content: documents.content, version: documents.version,
            signatures: signatures
        ) { descriptor in
            guard let range = range(of: descriptor.digest) else {
                throw Refusal("missing-blob", "the blob \(descriptor.digest) is missing from the archive")
            }
            return .file(file, offset: range.offset, size: range.size)
        }
    }
}
