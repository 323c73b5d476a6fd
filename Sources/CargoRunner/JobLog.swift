internal import CargoArtifact

/// The account of a job's combined log: offsets, digest and the bound.
struct JobLog {
    let limit: Int64
    /// Bytes passed on.
    private(set) var bytes: Int64 = 0
    private(set) var isTruncated = false
    private var hash = ContentHash()

    init(limit: Int64) { self.limit = limit }

    var digest: Digest { hash.digest() }

    /// The event for the next bytes of a stream, or nil when the bound leaves nothing of them.
    mutating func take(_ stream: RunEvent.Stream, _ piece: [UInt8]) -> RunEvent? {
        let room = Int(min(Int64(piece.count), max(0, limit - bytes)))
        if room < piece.count { isTruncated = true }
        guard room > 0 else { return nil }
        let kept = room == piece.count ? piece : Array(piece[..<room])
        hash.update(kept)
        defer { bytes += Int64(kept.count) }
        return .log(stream, offset: bytes, bytes: kept)
    }
}
