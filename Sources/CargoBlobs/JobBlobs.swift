public import CargoArtifact
public import CargoStore

/// The blobs of jobs (inputs, uploads, outputs, ended logs), by the SHA-256 of their content, wherever they lie.
///
/// A blob arrives in `staging`, where it is hashed and put on disk, and `settle` brings it to its place. Implementations pass
/// one conformance suite. All calls block: they belong on threads that may (`blocking`).
public protocol JobBlobs: Sendable {
    /// The local folder in which blobs arrive.
    var staging: BlobStore { get }
    /// Bytes of a blob at most.
    var largest: Int64 { get }
    /// Brings a blob from `staging` to its place: once it returns, the blob survives the loss of power here.
    func settle(_ digest: Digest, size: Int64) throws
    /// Bytes, or nil where there is no such blob.
    func size(of digest: Digest) throws -> Int64?
    /// Exactly these bytes of a blob, at most `BlobsBounds.piece` at once.
    func bytes(of digest: Digest, _ range: Range<Int64>) throws -> [UInt8]
    /// No error where there is no such blob.
    func remove(_ digest: Digest) throws
}

extension JobBlobs {
    /// Keeps bytes from memory.
    public func store(_ bytes: [UInt8], as digest: Digest) throws {
        try staging.store(bytes, expecting: digest)
        try settle(digest, size: Int64(bytes.count))
    }
}

/// What holds for every place.
public enum BlobsBounds {
    /// Bytes read at once, at most.
    public static let piece: Int64 = 4 << 20
}

/// Why a place for blobs did not do what was asked.
public struct BlobsFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String

    init(_ description: String) { self.description = description }
}
