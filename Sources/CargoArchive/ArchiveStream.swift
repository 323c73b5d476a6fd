public import CargoArtifact
public import CargoFiles

/// An archive that comes through a pipe: its documents are in memory before the first byte of a layer is taken.
///
/// One pass can check only what lies as `longshore pack` writes it; anything else is refused. No signature was checked when it
/// is open. One thread at a time.
public final class ArchiveStream {
    public let documents: ArchiveDocuments
    /// The blobs that came before the layers, each with its bytes.
    public let early: [(Descriptor, [UInt8])]
    private let tar: TarReader

    /// Most bytes of all documents together.
    private static let documentBudget: Int64 = 32 << 20

    /// Reads `file` from where it stands up to the last document before the layers. Blocks.
    public init(_ file: File) throws {
        let tar = TarReader(file, length: nil)
        let layout = try ArchiveStream.named("oci-layout", limit: 4096, in: tar)
        let index = try ArchiveStream.named("index.json", limit: CargoLayout.maximumDocument, in: tar)
        var budget = ArchiveStream.documentBudget
        var order: [Digest] = []
        var arrived: [Digest: [UInt8]] = [:]
        // A document that is not here yet is read on to.
        let documents = try ArchiveDocuments(layout: layout, index: index) { descriptor in
            while arrived[descriptor.digest] == nil {
                guard let entry = try ArchiveStream.next(tar) else { throw ArchiveDocuments.missing(descriptor.digest) }
                guard let digest = Digest(hex: entry.name.dropFirst(13)) else { throw ArchiveStream.outOfOrder }
                // A layer before a document: what it would be checked by has not come yet.
                guard entry.size <= min(Int64(CargoLayout.maximumDocument), budget) else { throw ArchiveStream.outOfOrder }
                budget -= entry.size
                var content: [UInt8] = []
                try tar.read { content += $0 }
                guard Digest(of: content) == digest else { throw CargoArchive.damaged(digest) }
                guard arrived.updateValue(content, forKey: digest) == nil else {
                    throw TarReader.malformed("the blob \(digest) is in it twice")
                }
                order.append(digest)
            }
            guard let found = arrived[descriptor.digest], Int64(found.count) == descriptor.size else {
                throw ArchiveDocuments.wrongSize(descriptor, Int64(arrived[descriptor.digest]?.count ?? 0))
            }
            return found
        }
        guard order == documents.blobs.prefix(order.count).map(\.digest) else { throw ArchiveStream.outOfOrder }
        self.documents = documents
        early = documents.blobs.prefix(order.count).compactMap { blob in arrived[blob.digest].map { (blob, $0) } }
        self.tar = tar
    }

    /// Hands each blob that follows the documents to `body`, which may have its content by calling what it is given, once.
    ///
    /// Returns when the archive has ended as it must; `body` compares each content with its digest. Use once.
    public func readLayers(
        _ body: (Descriptor, _ read: ((UnsafeRawBufferPointer) throws -> Void) throws -> Void) throws -> Void
    ) throws {
        for blob in documents.blobs.dropFirst(early.count) {
            guard let entry = try ArchiveStream.next(tar) else { throw ArchiveDocuments.missing(blob.digest) }
            guard entry.name == "blobs/sha256/" + blob.digest.hex else { throw ArchiveStream.outOfOrder }
            guard entry.size == blob.size else { throw ArchiveDocuments.wrongSize(blob, entry.size) }
            try body(blob, tar.read)
        }
        guard try ArchiveStream.next(tar) == nil else { throw ArchiveDocuments.extraBlob }
    }

    private static let outOfOrder = Refusal(
        "order", "a pipe is read once, and the parts of this archive lie in another order; save it to a file first")

    private static func next(_ tar: TarReader) throws -> TarReader.Entry? {
        let entry = try tar.next()
        guard tar.isCanonical else { throw CargoArchive.changed }
        return entry
    }

    private static func named(_ name: String, limit: Int, in tar: TarReader) throws -> [UInt8] {
        guard let entry = try next(tar), entry.name == name else { throw outOfOrder }
        guard entry.size <= Int64(limit) else { throw TarReader.malformed("\(name) is too long") }
        var bytes: [UInt8] = []
        try tar.read { bytes += $0 }
        return bytes
    }
}
