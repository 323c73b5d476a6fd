public import CargoArtifact

/// Sums of the 16 MiB pieces of large layers, for ranges, resume and repair; never in place of a blob's own digest.
public struct ChunkTable: Hashable, Sendable, Codable {
    public static let chunkSize: Int64 = 16 << 20

    public struct Layer: Hashable, Sendable, Codable {
        public var digest: Digest
        public var size: Int64
        /// SHA-256 in hexadecimal, one per started chunk.
        public var chunks: [String]
    }

    public var chunkSize: Int64
    public var layers: [Layer]
}
