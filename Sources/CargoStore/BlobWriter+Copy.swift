internal import CargoArtifact
public import CargoFiles
internal import Synchronization

extension BlobWriter {
    /// Appends a range of a file, read and written on a second thread while this one hashes.
    ///
    /// What is hashed is what is written: both take the same buffers. Four buffers of 1 MiB are used. Holes of the
    /// source stay holes.
    public func copy(from source: File, at offset: Int64, count: Int64) throws {
        try source.read(from: offset, count: count) { try write($0) }
    }
}
