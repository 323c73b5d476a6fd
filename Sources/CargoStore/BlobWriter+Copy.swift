internal import CargoArtifact
public import CargoFiles

extension BlobWriter {
    /// Smaller ranges are copied on the calling thread.
    private static let worthwhile: Int64 = 4 << 20
    /// Blocks that file systems share are a multiple of no more than this.
    private static let block: Int64 = 4096

    /// Appends a range of a file, read and written on other threads while this one hashes.
    ///
    /// What is hashed is what is stored: where the file system shares blocks this file's own are read back, else hash and
    /// disk take the same buffers. Holes of the source stay holes. No other call may write to this blob meanwhile.
    public func copy(from source: File, at offset: Int64, count: Int64) throws {
        guard count >= BlobWriter.worthwhile, size == 0 else {
            try source.read(from: offset, count: count) { try write($0) }
            return
        }
        let pipeline: PiecePipeline
        if try share(source, at: offset, count: count) {
            pipeline = PiecePipeline(reading: file, offset: 0, count: count)
        } else {
            // Size first: a hole at the end writes nothing.
            try file.truncate(to: count)
            pipeline = PiecePipeline(reading: source, offset: offset, count: count, writing: file, direct: direct)
        }
        try pipeline.run { append(hashing: $0) }
    }

    /// Shares whole blocks and copies the last part of one.
    private func share(_ source: File, at offset: Int64, count: Int64) throws -> Bool {
        let whole = count - count % BlobWriter.block
        guard offset % BlobWriter.block == 0, file.share(from: source, at: offset, count: whole, to: 0) else { return false }
        try file.write(try source.bytes(at: offset + whole, count: Int(count - whole)), at: whole)
        return true
    }
}
