internal import CargoArchive
public import CargoArtifact
internal import CargoFiles
internal import CargoSigning
internal import SystemPackage

extension CargoStore {
    /// The same from a registry. Nothing of a layer is fetched before the signatures hold; a blob that is here is
    /// not fetched again, and one cargo is fetched once however many ask for it. What calls itself otherwise than `reference`
    /// is refused.
    @concurrent
    public func ingest(
        from origin: some CargoOrigin, digest: Digest, as reference: CargoReference, policy: VerificationPolicy,
        guardingRollback: Bool = false
    ) async throws -> StoredCargo {
        let lock = try await waitingLock(digest.hex)
        defer { try? lock.unlock() }
        let lease = try lease(digest)
        let growing = try await waitingLock(CargoStore.growth, .shared)
        defer { try? growing.unlock() }
        let documents = try await Documents(store: self, origin: origin, digest: digest)
        let claimed = try policy.verify(root: digest, signatures: documents.signatures) {
            guardingRollback ? index.counter(of: $0) : nil
        }
        let config = try CargoConfig.read(try await documents.fetch(documents.cargo.config))
        try reference.check(config)
        let release = try policy.check(claimed, config)
        for layer in documents.cargo.layers { _ = try LayerRole(layer) }
        let order = CargoLayout.order(root: documents.root, content: documents.content, signatures: documents.signatures)
        if try await !blocking({ [self] in try isComplete(digest, blobs: order, manifest: documents.cargo) }) {
            for (bytes, descriptor) in documents.known {
                try await blocking { [self] in
                    try blobs.store(bytes, expecting: descriptor.digest)
                    try noteVerified(descriptor.digest)
                }
            }
            for blob in order where try await !blocking({ [self] in try isVerified(blob) }) {
                try await fetch(blob, of: documents.cargo, from: origin)
            }
            try await blocking { [self] in try complete(digest, blobs: order, manifest: documents.cargo) }
        }
        return try await blocking { [self] in
            try note(release)
            try use(digest)
            return try stored(root: digest, content: documents.content, config: config, lease: lease)
        }
    }

    private func fetch(_ blob: Descriptor, of manifest: ImageManifest, from origin: some CargoOrigin) async throws {
        if try await origin.fetch(blob, chunks: chunks(of: blob, in: manifest), into: blobs) {
            return try await blocking { [self] in try noteVerified(blob.digest) }
        }
        let writer = try blobs.writer()
        defer { writer.discard() }
        try await origin.blob(blob) { bytes in
            guard writer.size + Int64(bytes.count) <= blob.size else {
                throw Refusal("size-mismatch", "the registry sent more than the \(blob.size) bytes of \(blob.digest)")
            }
            try writer.write(bytes)
        }
        try await blocking { [self] in
            try writer.finish(expecting: blob.digest, size: blob.size)
            try noteVerified(blob.digest)
        }
    }

    /// Waits for a lock without holding a thread; asks again every 20 ms.
    private func waitingLock(_ name: String, _ kind: FileLock = .exclusive) async throws -> File {
        let file = try locks.open(name, .readWrite, options: .create)
        while try !file.tryLock(kind) { try await Task.sleep(for: .milliseconds(20)) }
        return file
    }
}

/// The small documents of a cargo at a registry, or of one that is stored already.
private struct Documents<Origin: CargoOrigin>: Sendable {
    let origin: Origin
    let store: CargoStore
    let root: Descriptor
    let content: RootContent
    let cargo: ImageManifest
    let signatures: [SignatureArtifact]
    /// Documents in memory that belong into the store.
    let known: [([UInt8], Descriptor)]

    init(store: CargoStore, origin: Origin, digest: Digest) async throws {
        self.store = store
        self.origin = origin
        let bytes: [UInt8]
        if let stored = try? store.blobs.contents(of: digest, limit: CargoLayout.maximumDocument) {
            bytes = stored
        } else {
            bytes = try await origin.manifest()
        }
        guard Digest(of: bytes) == digest else {
            throw Refusal("digest-mismatch", "the registry's manifest is not \(digest)")
        }
        let kind: MediaTypeOnly = try StrictJSON.decode(from: bytes, limit: CargoLayout.maximumDocument)
        root = Descriptor(mediaType: kind.mediaType, digest: digest, size: Int64(bytes.count))
        var known = [(bytes, root)]
        var inner: [Digest: [UInt8]] = [:]
        if kind.mediaType == MediaType.imageIndex {
            let index: ImageIndex = try StrictJSON.decode(from: bytes, limit: CargoLayout.maximumDocument)
            for manifest in index.manifests.prefix(2) {
                let bytes = try await Documents.fetch(manifest, store: store, origin: origin)
                inner[manifest.digest] = bytes
                known.append((bytes, manifest))
            }
        }
        content = try RootContent(root: bytes, mediaType: kind.mediaType) { descriptor in
            guard let bytes = inner[descriptor.digest] else {
                throw Refusal("missing-blob", "the manifest \(descriptor.digest) is missing")
            }
            return bytes
        }
        guard let cargo = content.cargo else { throw Refusal("not-a-cargo", "\(digest) is no cargo") }
        self.cargo = cargo
        var signatures: [SignatureArtifact] = []
        for bytes in try await Documents.signatureManifests(store: store, origin: origin, digest: digest) {
            // A registry may hold referrers of other kinds; what is no signature of ours says nothing.
            guard let manifest = try? StrictJSON.decode(ImageManifest.self, from: bytes, limit: CargoLayout.maximumDocument),
                let kind = SignatureArtifact.Kind(manifest), let layer = manifest.layers.first
            else { continue }
            let bundle = try await Documents.fetch(layer, store: store, origin: origin)
            let signature = try SignatureArtifact(kind, bundle: bundle, root: root)
            guard !signatures.contains(signature) else { continue }
            signatures.append(signature)
            known += [
                (signature.manifest, signature.descriptor), (bundle, signature.bundleDescriptor),
                (SignatureArtifact.emptyConfigBytes, SignatureArtifact.emptyConfig),
            ]
        }
        self.signatures = signatures
        self.known = known
    }

    func fetch(_ descriptor: Descriptor) async throws -> [UInt8] {
        try await Documents.fetch(descriptor, store: store, origin: origin)
    }

    /// From the store when this cargo is complete there, else from the registry.
    private static func signatureManifests(store: CargoStore, origin: Origin, digest: Digest) async throws -> [[UInt8]] {
        let types = SignatureArtifact.Kind.allCases.map(\.artifactType)
        let stored = (store.record(digest)?.blobs ?? []).filter { $0.artifactType.map(types.contains) ?? false }
        if !stored.isEmpty {
            return try stored.map { try store.blobs.contents(of: $0.digest, limit: CargoLayout.maximumDocument) }
        }
        return Array(try await origin.signatureManifests(of: digest).prefix(CargoLayout.maximumSignatures))
    }

    /// A small document, compared with its digest.
    private static func fetch(_ descriptor: Descriptor, store: CargoStore, origin: Origin) async throws -> [UInt8] {
        let limit = CargoLayout.maximumDocument
        guard (0...Int64(limit)).contains(descriptor.size) else {
            throw Refusal("size-mismatch", "the document \(descriptor.digest) is larger than \(limit) bytes")
        }
        if let stored = try? store.blobs.contents(of: descriptor.digest, limit: limit) { return stored }
        var bytes: [UInt8] = []
        try await origin.blob(descriptor) { piece in
            guard bytes.count + piece.count <= descriptor.size else {
                throw Refusal("size-mismatch", "the registry sent more than the \(descriptor.size) bytes of \(descriptor.digest)")
            }
            bytes += piece
        }
        guard Digest(of: bytes) == descriptor.digest else {
            throw Refusal("digest-mismatch", "the registry sent other bytes than \(descriptor.digest)")
        }
        return bytes
    }
}

/// The one field that says how the rest of a document is to be read.
private struct MediaTypeOnly: Decodable { var mediaType: String }
