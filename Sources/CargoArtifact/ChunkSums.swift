/// SHA-256 sums of a blob's consecutive pieces: for ranges, resume and repair, never in place of its whole digest (docs/rules.md 6).
public struct ChunkSums: Hashable, Sendable {
    /// Bytes of a piece where nothing else is said.
    public static let defaultPieceSize: Int64 = 16 << 20

    /// Bytes of every piece but the last, which may be shorter.
    public let pieceSize: Int64
    /// One for each piece, in order.
    public let sums: [Digest]

    /// nil when the number of sums does not fit a blob of `size` bytes.
    public init?(pieceSize: Int64 = defaultPieceSize, sums: [Digest], size: Int64) {
        guard pieceSize > 0, pieceSize <= 1 << 30, size >= 0, sums.count == (size == 0 ? 0 : (size - 1) / pieceSize + 1) else {
            return nil
        }
        self.pieceSize = pieceSize
        self.sums = sums
    }
}
