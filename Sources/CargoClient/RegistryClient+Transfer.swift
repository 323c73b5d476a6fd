public import CargoArtifact
public import CargoFiles
public import CargoStore
public import CargoTransfer

extension RegistryClient {
    /// Smaller blobs come in one piece over the connection that is open already.
    public static let leastTransfer: Int64 = 8 << 20

    /// Brings a large blob into the store in parallel ranges, resumed after a kill and joined by all who want the same.
    ///
    /// False, with nothing done, for small blobs and where libcurl is missing: `blob(_:into:)` does it then.
    public func fetch(
        _ blob: Descriptor, chunks: ChunkSums?, into store: BlobStore,
        progress: @escaping @Sendable (TransferProgress) -> Void = { _ in }
    ) async throws -> Bool {
        guard mayTransfer(blob) else { return false }
        try await transfer(
            blob, chunks: chunks, in: store.partials, isPublished: { store.size(of: blob.digest) == blob.size },
            publish: { file, name in try store.adopt(file, named: name, as: blob.digest, size: blob.size) }, progress: progress)
        return true
    }

    /// The same into a file of `folder` that is named after the digest in hexadecimal, for who has no store.
    ///
    /// What is there under that name is taken as it is: the folder must be the caller's own.
    public func fetch(
        _ blob: Descriptor, chunks: ChunkSums?, into folder: Folder,
        progress: @escaping @Sendable (TransferProgress) -> Void = { _ in }
    ) async throws -> File? {
        guard mayTransfer(blob) else { return nil }
        try await transfer(
            blob, chunks: chunks, in: folder, isPublished: { try folder.status(blob.digest.hex)?.size == blob.size },
            publish: { _, name in try folder.rename(name, to: blob.digest.hex) }, progress: progress)
        return try folder.open(blob.digest.hex)
    }

    private func mayTransfer(_ blob: Descriptor) -> Bool { blob.size >= RegistryClient.leastTransfer && Transfer.isAvailable }

    private func transfer(
        _ blob: Descriptor, chunks: ChunkSums?, in folder: Folder, isPublished: @Sendable () throws -> Bool,
        publish: @Sendable (File, String) throws -> Void, progress: @escaping @Sendable (TransferProgress) -> Void
    ) async throws {
        let request = TransferRequest(
            url: "\(transport.base)\(root)/blobs/\(blob.digest)", bearer: transport.token, digest: blob.digest, size: blob.size,
            chunks: chunks)
        do {
            _ = try await Transfer.fetch(request, in: folder, isPublished: isPublished, publish: publish, progress: progress)
        } catch let failure as TransferFailure {
            switch failure.code {
            case .status: throw ClientError(status: failure.status ?? 0, code: "bad_answer", message: failure.message)
            case .outOfPatience, .connection, .unavailable: throw ClientError.unreachable(transport.base, failure.message)
            case .answer: throw ClientError.badAnswer(failure.message)
            }
        }
    }
}
