public import CargoArtifact
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
        guard blob.size >= RegistryClient.leastTransfer, Transfer.isAvailable else { return false }
        let request = TransferRequest(
            url: "\(transport.base)\(root)/blobs/\(blob.digest)", bearer: transport.token, digest: blob.digest, size: blob.size,
            chunks: chunks)
        do {
            _ = try await Transfer.fetch(
                request, in: store.partials, isPublished: { store.size(of: blob.digest) == blob.size },
                publish: { file, name in try store.adopt(file, named: name, as: blob.digest, size: blob.size) },
                progress: progress)
            return true
        } catch let failure as TransferFailure {
            throw RegistryClient.error(failure, base: transport.base)
        }
    }

    private static func error(_ failure: TransferFailure, base: String) -> ClientError {
        switch failure.code {
        case .status: ClientError(status: failure.status ?? 0, code: "bad_answer", message: failure.message)
        case .outOfPatience, .connection, .unavailable: .unreachable(base, failure.message)
        case .answer: .badAnswer(failure.message)
        }
    }
}
