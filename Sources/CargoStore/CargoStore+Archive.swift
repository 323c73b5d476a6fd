internal import CargoArchive
internal import CargoArtifact
public import CargoFiles
internal import CargoSigning
internal import Glibc
public import SystemPackage

extension CargoStore {
    /// The same of the file at `path`.
    public func ingest(
        archive path: FilePath, policy: VerificationPolicy, guardingRollback: Bool = false
    ) throws -> StoredCargo {
        try ingest(archive: try File.open(path), policy: policy, guardingRollback: guardingRollback)
    }

    /// Verifies an archive and stores its parts; the warm path returns what is already there.
    ///
    /// Signatures are checked before the first byte of a layer is read. An archive file that was verified before and has not changed
    /// since is not read again; of any other every byte is checked, also when its parts are already here, so that a
    /// changed archive is refused. A pipe is read once, from front to back, whatever is here. With `guardingRollback` a release
    /// counter below the highest seen is refused. Blocks; call from `blocking`. Throws `Refusal`.
    public func ingest(
        archive file: File, policy: VerificationPolicy, guardingRollback: Bool = false
    ) throws -> StoredCargo {
        try ArchiveVerification.asRefusals {
            if try file.status().kind == .other {
                let stream = try ArchiveStream(file)
                return try accept(stream.documents, policy, guardingRollback) { try store(stream) }
            }
            let archive = try CargoArchive(file: file)
            return try accept(archive.documents, policy, guardingRollback) { try storeUnlessWarm(archive) }
        }
    }

    /// Has what the documents describe stored by `store` if the policy accepts it.
    private func accept(
        _ documents: ArchiveDocuments, _ policy: VerificationPolicy, _ guardingRollback: Bool, store: () throws -> Void
    ) throws -> StoredCargo {
        let root = documents.root.digest
        let claimed = try policy.verify(root: root, signatures: documents.signatures) {
            guardingRollback ? index.counter(of: $0) : nil
        }
        let config = try documents.config()
        let release = try policy.check(claimed, config)
        for layer in documents.manifest.layers { _ = try LayerRole(layer) }
        let lease = try lease(root)
        try store()
        try note(release)
        try use(root)
        return try stored(root: root, content: documents.content, config: config, lease: lease)
    }

    private func storeUnlessWarm(_ archive: CargoArchive) throws {
        guard try !isWarm(archive) else { return }
        try archive.checkCanonical()
        // One ingest of a cargo at a time: the others wait and find it done.
        let lock = try lock(archive.root.digest.hex)
        let growing = try self.lock(CargoStore.growth, .shared)
        if try !isWarm(archive) { try store(archive) }
        try growing.unlock()
        try lock.unlock()
    }

    /// This very file was verified before.
    private func isKnown(_ archive: CargoArchive) -> Bool {
        index.note(StoreIndex.archive(archive.status)) == archive.status.fingerprint + " " + archive.root.digest.hex
    }

    /// And everything in it is here.
    private func isWarm(_ archive: CargoArchive) throws -> Bool {
        try isKnown(archive) && isComplete(archive.root.digest, blobs: archive.blobs, manifest: archive.manifest)
    }

    private func store(_ archive: CargoArchive) throws {
        let isKnown = isKnown(archive)
        let blobs = archive.blobs
        try inParallel(blobs.count, threads: CargoStore.threads) { [self] position in
            let blob = blobs[position]
            guard let range = archive.range(of: blob.digest) else { return }
            if try isVerified(blob) {
                if !isKnown { try archive.check(blob) }
            } else {
                let writer = try self.blobs.writer()
                try writer.copy(from: archive.file, at: range.offset, count: range.size)
                try writer.finish(expecting: blob.digest, size: blob.size)
                try noteVerified(blob.digest)
            }
        }
        try complete(archive.root.digest, blobs: blobs, manifest: archive.manifest)
        let after = try archive.file.status()
        if archive.status.fingerprint == after.fingerprint {
            index.write(StoreIndex.archive(after), after.fingerprint + " " + archive.root.digest.hex)
        }
    }

    /// The cargo's own lock is taken at the end only: a pipe that stalls holds up nobody but its reader.
    private func store(_ stream: ArchiveStream) throws {
        let growing = try lock(CargoStore.growth, .shared)
        for (blob, bytes) in stream.early {
            try blobs.store(bytes, expecting: blob.digest)
            try noteVerified(blob.digest)
        }
        try stream.readLayers { blob, read in
            if try isVerified(blob) { return try CargoArchive.check(blob, read) }
            let writer = try blobs.writer()
            try read { try writer.write($0) }
            try writer.finish(expecting: blob.digest, size: blob.size)
            try noteVerified(blob.digest)
        }
        let root = stream.documents.root.digest
        let lock = try lock(root.hex)
        try complete(root, blobs: stream.documents.blobs, manifest: stream.documents.manifest)
        try lock.unlock()
        try growing.unlock()
    }

    /// Threads that hash at a time: as many as there are processors, at most 8.
    public static let threads = max(1, min(8, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
}
