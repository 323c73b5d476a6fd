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
    public let root: Descriptor
    public let rootBytes: [UInt8]
    public let content: RootContent
    /// The cargo's manifest: the root, or for the container kind one of the root's.
    public let manifest: ImageManifest
    /// Signatures and the delegations that they stand on.
    public let signatures: [SignatureArtifact]
    /// Every blob of the archive in canonical order.
    public let blobs: [Descriptor]
    private let ranges: [Digest: Range]
    private let entries: [TarScan.Entry]
    private let end: Int64

    public convenience init(path: FilePath) throws { try self.init(file: try File.open(path)) }

    public init(file: File) throws {
        guard try file.status().kind == .regular else {
            throw Refusal("archive", "\(file.path) is not a regular file; write it to disk first")
        }
        self.file = file
        (entries, end) = try TarScan.entries(of: file)
        var documents: [String: TarScan.Entry] = [:]
        var ranges: [Digest: Range] = [:]
        for entry in entries {
            if let digest = Digest(hex: entry.name.dropFirst(13)) {
                guard ranges.updateValue(Range(offset: entry.offset, size: entry.size), forKey: digest) == nil else {
                    throw TarScan.malformed("the blob \(digest) is in it twice")
                }
            } else if documents.updateValue(entry, forKey: entry.name) != nil {
                throw TarScan.malformed("'\(entry.name)' is in it twice")
            }
        }
        self.ranges = ranges
        guard let layout = documents["oci-layout"], let indexEntry = documents["index.json"] else {
            throw TarScan.malformed("oci-layout or index.json is missing")
        }
        let layoutBytes = try file.bytes(at: layout.offset, count: Int(min(layout.size, 4096)))
        guard layoutBytes == CargoLayout.ociLayout else { throw Refusal("oci-layout", "oci-layout is not as it must be") }
        guard indexEntry.size <= Int64(CargoLayout.maximumDocument) else { throw TarScan.malformed("index.json is too long") }
        let indexBytes = try file.bytes(at: indexEntry.offset, count: Int(indexEntry.size))
        let read: (Descriptor) throws -> [UInt8] = { descriptor in
            try CargoArchive.document(descriptor, ranges[descriptor.digest], in: file)
        }
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
        let version = first.annotations?[CargoLayout.refName] ?? ""
        guard try CargoLayout.index(root: root, version: version, signatures: signatures) == indexBytes else {
            throw Refusal("index", "index.json holds something that does not follow from the cargo and its signatures")
        }
        referenceVersion = version
        blobs = CargoLayout.order(root: root, content: content, signatures: signatures)
        for blob in blobs {
            guard let range = ranges[blob.digest] else {
                throw Refusal("missing-blob", "the blob \(blob.digest) is missing from the archive")
            }
            guard range.size == blob.size else {
                throw Refusal(
                    "size-mismatch", "the blob \(blob.digest) has \(range.size) bytes where its descriptor says \(blob.size)")
            }
        }
        guard ranges.count == blobs.count else {
            throw Refusal("extra-blob", "the archive holds a blob that neither the cargo nor a signature names")
        }
    }

    /// The version under which `index.json` names the cargo; it must equal the signed one.
    public let referenceVersion: String

    public func range(of digest: Digest) -> Range? { ranges[digest] }

    /// The cargo's config, parsed; its name and version are well-formed and the version is the archive's.
    public func config() throws -> CargoConfig {
        try CargoConfig.read(try document(manifest.config), referenceVersion: referenceVersion)
    }

    /// A small blob whole, compared with its digest.
    public func document(_ descriptor: Descriptor) throws -> [UInt8] {
        try CargoArchive.document(descriptor, ranges[descriptor.digest], in: file)
    }

    private static func document(_ descriptor: Descriptor, _ range: Range?, in file: File) throws -> [UInt8] {
        guard let range else { throw Refusal("missing-blob", "the blob \(descriptor.digest) is missing from the archive") }
        guard range.size == descriptor.size, range.size <= Int64(CargoLayout.maximumDocument) else {
            throw Refusal("size-mismatch", "the document \(descriptor.digest) has another size than its descriptor says")
        }
        let bytes = try file.bytes(at: range.offset, count: Int(range.size))
        guard Digest(of: bytes) == descriptor.digest else {
            throw Refusal("digest-mismatch", "the document \(descriptor.digest) was damaged or changed")
        }
        return bytes
    }

    /// Reads a blob in order in bounded pieces, without comparing it with its digest.
    public func read(_ digest: Digest, into sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        guard let range = ranges[digest] else { throw Refusal("missing-blob", "the blob \(digest) is missing from the archive") }
        try file.read(from: range.offset, count: range.size, into: sink)
    }

    /// Compares headers, padding and end of the tar with what `longshore pack` writes for the same files, in whatever order
    /// they lie: nothing in the file but its contents may say anything.
    public func checkCanonical() throws {
        let refusal = Refusal("layout", "the tar around the cargo was changed or written by another tool; pack or pull it again")
        var position: Int64 = 0
        for entry in entries {
            let header = TarHeader.bytes(name: entry.name, size: entry.size, at: position)
            guard entry.header == position, entry.offset == position + Int64(header.count),
                try file.bytes(at: position, count: header.count) == header
            else { throw refusal }
            let padding = try file.bytes(at: entry.offset + entry.size, count: TarHeader.padding(after: entry.size))
            guard padding.allSatisfy({ $0 == 0 }) else { throw refusal }
            position = entry.offset + entry.size + Int64(padding.count)
        }
        guard end == position, try file.status().size == position + Int64(TarHeader.trailer) else { throw refusal }
        guard try file.bytes(at: position, count: TarHeader.trailer).allSatisfy({ $0 == 0 }) else { throw refusal }
    }

    /// Hashes every blob and compares it with its digest, `threads` of them at a time.
    public func checkBlobs(threads: Int) throws {
        try inParallel(blobs.count, threads: threads) { [self] index in
            var hash = ContentHash()
            try read(blobs[index].digest) { hash.update($0) }
            guard hash.digest() == blobs[index].digest else {
                throw Refusal("digest-mismatch", "the blob \(blobs[index].digest) was damaged or changed")
            }
        }
    }
}
