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
        try await asClientErrors {
            _ = try await Transfer.fetch(
                request(blob, chunks), in: store.partials, isPublished: { store.size(of: blob.digest) == blob.size },
                publish: { file, name in try store.adopt(file, named: name, as: blob.digest, size: blob.size) },
                progress: progress)
        }
        return true
    }

    /// The same into its place in a file that the caller alone holds: an archive that is being pulled.
    ///
    /// After a failure or a kill `journal`, a file of `folder`, says what is here; it is the caller's to remove.
    public func fetch(
        _ blob: Descriptor, chunks: ChunkSums?, into file: File, at offset: Int64, journal: String, in folder: Folder,
        progress: @escaping @Sendable (TransferProgress) -> Void = { _ in }
    ) async throws -> Bool {
        guard mayTransfer(blob) else { return false }
        try await asClientErrors {
            _ = try await Transfer.fill(
                request(blob, chunks), file: file, at: offset, journal: journal, in: folder, hasPartial: true, progress: progress)
        }
        return true
    }

    private func mayTransfer(_ blob: Descriptor) -> Bool { blob.size >= RegistryClient.leastTransfer && Transfer.isAvailable }

    private func request(_ blob: Descriptor, _ chunks: ChunkSums?) -> TransferRequest {
        TransferRequest(
            url: "\(transport.base)\(root)/blobs/\(blob.digest)", bearer: transport.token, digest: blob.digest, size: blob.size,
            chunks: chunks)
    }

    private func asClientErrors(_ transfer: () async throws -> Void) async throws {
        do { try await transfer() } catch let failure as TransferFailure {
            switch failure.code {
            case .status: throw ClientError(status: failure.status ?? 0, code: "bad_answer", message: failure.message)
            case .outOfPatience, .connection, .unavailable: throw ClientError.unreachable(transport.base, failure.message)
            case .answer: throw ClientError.badAnswer(failure.message)
            }
        }
    }
}
