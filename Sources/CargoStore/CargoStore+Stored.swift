public import CargoArtifact
internal import CargoFiles

extension CargoStore {
    /// A cargo that is here, its signatures checked by the policy of this moment; nothing is fetched.
    @concurrent public func cargo(_ digest: Digest, policy: VerificationPolicy) async throws -> StoredCargo {
        try await ingest(from: NoOrigin(digest: digest), digest: digest, as: nil, policy: policy)
    }

    /// What the cargos here say about themselves. Blocks.
    public func configs() throws -> [(digest: Digest, config: CargoConfig)] {
        try cargos.entries(limit: .max).compactMap { name in
            guard let digest = Digest(hex: name), let record = record(digest),
                let blob = record.blobs.first(where: { $0.mediaType == MediaType.cargoConfig }),
                let config = try? CargoConfig.read(blobs.contents(of: blob.digest, limit: CargoLayout.maximumDocument))
            else { return nil }
            return (digest, config)
        }
    }
}

/// Has nothing: what is not stored is not there.
private struct NoOrigin: CargoOrigin {
    let digest: Digest

    private var refusal: Refusal { Refusal("not-stored", "\(digest) is not whole in the store; add or pull it again") }

    func manifest() throws -> [UInt8] { throw refusal }
    func signatureManifests(of root: Digest) -> [[UInt8]] { [] }
    func blob(_ descriptor: Descriptor, into sink: (UnsafeRawBufferPointer) throws -> Void) throws { throw refusal }
}
