internal import CargoArchive
internal import CargoArtifact
internal import CargoFiles
internal import CargoSigning
internal import Glibc
public import SystemPackage

extension CargoStore {
    /// Verifies an archive and stores its parts; the warm path returns what is already there.
    ///
    /// Signatures are checked before the first byte of a layer is read. An archive file that was verified before and has not changed
    /// since is not read again; of any other every byte is checked, also when its parts are already here, so that a
    /// changed archive is refused. With `guardingRollback` a release counter below the highest seen is refused.
    /// Blocks; call from `blocking`. Throws `Refusal`.
    public func ingest(
        archive path: FilePath, policy: VerificationPolicy, guardingRollback: Bool = false
    ) throws -> StoredCargo {
        try ArchiveVerification.asRefusals {
            try ingest(try CargoArchive(path: path), policy: policy, guardingRollback: guardingRollback)
        }
    }

    private func ingest(_ archive: CargoArchive, policy: VerificationPolicy, guardingRollback: Bool) throws -> StoredCargo {
        let claimed = try policy.verify(root: archive.root.digest, signatures: archive.signatures) {
            guardingRollback ? index.counter(of: $0) : nil
        }
        let config = try archive.config()
        let release = try policy.check(claimed, config)
        for layer in archive.manifest.layers { _ = try LayerRole(layer) }
        let lease = try lease(archive.root.digest)
        if try !isWarm(archive) {
            try archive.checkCanonical()
            // One ingest of a cargo at a time: the others wait and find it done.
            let lock = try lock(archive.root.digest.hex)
            let growing = try self.lock(CargoStore.growth, .shared)
            if try !isWarm(archive) { try store(archive) }
            try growing.unlock()
            try lock.unlock()
        }
        try note(release)
        try use(archive.root.digest)
        return try stored(root: archive.root.digest, content: archive.content, config: config, lease: lease)
    }

    /// This very file was verified before, and everything in it is here.
    private func isWarm(_ archive: CargoArchive) throws -> Bool {
        let status = try archive.file.status()
        guard index.note(StoreIndex.archive(status)) == status.fingerprint + " " + archive.root.digest.hex else { return false }
        return try isComplete(archive.root.digest, blobs: archive.blobs, manifest: archive.manifest)
    }

    private func store(_ archive: CargoArchive) throws {
        let before = try archive.file.status()
        let isKnown = index.note(StoreIndex.archive(before)) == before.fingerprint + " " + archive.root.digest.hex
        let blobs = archive.blobs
        try inParallel(blobs.count, threads: CargoStore.threads) { [self] position in
            let blob = blobs[position]
            guard let range = archive.range(of: blob.digest) else { return }
            if try isVerified(blob) {
                if !isKnown { try check(blob, range, in: archive.file) }
            } else {
                let writer = try self.blobs.writer()
                try writer.copy(from: archive.file, at: range.offset, count: range.size)
                try writer.finish(expecting: blob.digest, size: blob.size)
                try noteVerified(blob.digest)
            }
        }
        try complete(archive.root.digest, blobs: blobs, manifest: archive.manifest)
        let after = try archive.file.status()
        if before.fingerprint == after.fingerprint {
            index.write(StoreIndex.archive(after), after.fingerprint + " " + archive.root.digest.hex)
        }
    }

    /// Hashes a range of a file that holds a blob which is stored already.
    private func check(_ blob: Descriptor, _ range: CargoArchive.Range, in file: File) throws {
        var hash = ContentHash()
        try file.read(from: range.offset, count: range.size) { hash.update($0) }
        guard hash.digest() == blob.digest else {
            throw Refusal("digest-mismatch", "the blob \(blob.digest) in the archive was damaged or changed")
        }
    }

    /// Threads that hash at a time: as many as there are processors, at most 8.
    public static let threads = max(1, min(8, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
}
