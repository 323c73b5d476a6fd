/// Sums of the 16 MiB pieces of large layers, for ranges, resume and repair; never in place of a blob's own digest.
///
/// A blob of type `MediaType.chunks`: canonical JSON, `{"blobs": {"sha256:…": ["HEX", …]}, "chunk_size": …, "version": 1}`.
public struct ChunkTable: Hashable, Sendable {
    /// Bytes of each chunk that `pack` sums; the last one of a blob is shorter.
    public static let chunkSize: Int64 = 16 << 20
    /// Most bytes of a table: a blob of 1 TiB has 65,536 chunks.
    public static let maximumSize = 16 << 20

    public var chunkSize: Int64
    public private(set) var blobs: [Digest: [Digest]] = [:]

    public init(chunkSize: Int64 = ChunkTable.chunkSize) { self.chunkSize = chunkSize }

    /// The sums of a blob's chunks in order; nil when the table does not speak of it.
    public subscript(blob: Digest) -> [Digest]? {
        get { blobs[blob] }
        set { blobs[blob] = newValue }
    }

    /// The sums of a blob's pieces, as a transfer wants them; nil where the table has none that fit.
    public func sums(of blob: Descriptor) -> ChunkSums? {
        self[blob.digest].flatMap { ChunkSums(pieceSize: chunkSize, sums: $0, size: blob.size) }
    }

    private struct Stored: Codable {
        var version: Int
        var chunkSize: Int64
        var blobs: [String: [String]]

        enum CodingKeys: String, CodingKey {
            case version
            case chunkSize = "chunk_size"
            case blobs
        }
    }

    public init(json: [UInt8]) throws {
        let refusal = Refusal("chunk-table", "the cargo's chunk table is broken; pack it again")
        guard let stored = try? StrictJSON.decode(Stored.self, from: json, limit: ChunkTable.maximumSize), stored.version == 1,
            (1 << 16...1 << 30).contains(stored.chunkSize)
        else { throw refusal }
        chunkSize = stored.chunkSize
        for (name, sums) in stored.blobs {
            let chunks = sums.compactMap { Digest(hex: $0) }
            guard let digest = Digest(name), chunks.count == sums.count else { throw refusal }
            blobs[digest] = chunks
        }
    }

    public func json() throws -> [UInt8] {
        let names = Dictionary(uniqueKeysWithValues: blobs.map { ($0.key.description, $0.value.map(\.hex)) })
        return try CanonicalJSON.encode(Stored(version: 1, chunkSize: chunkSize, blobs: names))
    }
}
