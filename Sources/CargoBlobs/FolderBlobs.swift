public import CargoArtifact
import CargoFiles
public import CargoStore

/// Blobs in the coordinator's own folder: they arrive where they stay.
public struct FolderBlobs: JobBlobs {
    public let staging: BlobStore
    public let largest: Int64 = 1 << 40

    public init(_ store: BlobStore) { staging = store }

    public func settle(_ digest: Digest, size: Int64) throws {}
    public func size(of digest: Digest) throws -> Int64? { staging.size(of: digest) }

    public func bytes(of digest: Digest, _ range: Range<Int64>) throws -> [UInt8] {
        try staging.open(digest).bytes(at: range.lowerBound, count: range.count)
    }

    public func remove(_ digest: Digest) throws { try staging.remove(digest) }
}
