internal import CCurl
public import CargoArtifact
public import CargoFiles
internal import Glibc
internal import SystemPackage

/// Bulk transfer of one blob by HTTP into a file: parallel ranges, resumed after a kill, joined by
/// everyone who wants the same blob, never more than one copy on disk.
public enum Transfer {
    /// Whether libcurl can be loaded; loads it.
    public static var isAvailable: Bool { ccurl_load() == nil }

    /// The partial file and the journal of a blob.
    public static func names(of digest: Digest) -> (partial: String, journal: String) {
        (digest.hex + ".part", digest.hex + ".journal")
    }

    /// Fetches a blob into `folder` and hands it to `publish`, which puts it in its place (a rename) and is called once,
    /// only when the file's whole SHA-256 is the request's.
    ///
    /// One fetches, whoever else wants the same blob in any task or process waits and watches: `isPublished` says when it is
    /// there. After a `TransferFailure` or a kill the partial file stays for the next try; after a `Refusal` nothing is kept.
    /// `progress` is called at most four times a second.
    @concurrent
    public static func fetch(
        _ request: TransferRequest, in folder: Folder, options: TransferOptions = TransferOptions(),
        isPublished: @Sendable () throws -> Bool, publish: @Sendable (_ file: File, _ name: String) throws -> Void,
        progress: @escaping @Sendable (TransferProgress) -> Void = { _ in }
    ) async throws -> TransferReport {
        let names = names(of: request.digest)
        guard let file = try await claim(request, names, in: folder, isPublished: isPublished, progress: progress) else {
            return TransferReport(joined: true)
        }
        do {
            let hasPartial = try file.status().size == request.size && request.size > 0
            if !hasPartial { try file.truncate(to: request.size) }
            let report = try await fill(
                request, file: file, at: 0, journal: names.journal, in: folder, hasPartial: hasPartial, options: options,
                progress: progress)
            try publish(file, names.partial)
            try folder.remove(names.journal)
            return report
        } catch let refusal as Refusal {
            _ = try? folder.remove(names.journal)
            _ = try? folder.remove(names.partial)
            throw refusal
        }
    }

    /// Fetches a blob into its place in a file that the caller alone holds: an archive that is being pulled.
    ///
    /// Returns when the bytes from `base` on have the request's SHA-256. `journal`, a file of `folder`, says after a failure or a
    /// kill what is here, and is the caller's to remove; without `hasPartial` it begins anew.
    @concurrent
    public static func fill(
        _ request: TransferRequest, file: File, at base: Int64, journal: String, in folder: Folder, hasPartial: Bool,
        options: TransferOptions = TransferOptions(), progress: @escaping @Sendable (TransferProgress) -> Void = { _ in }
    ) async throws -> TransferReport {
        let stop = TransferStop()
        return try await withTaskCancellationHandler {
            try await onOwnThread {
                let journal = try TransferJournal(
                    journal, in: folder, size: request.size, pieceSize: request.chunks?.pieceSize ?? options.pieceSize,
                    hasPartial: hasPartial)
                let proxied = CertificateAuthorities.proxyIsSet { name in getenv(name).map { String(cString: $0) } }
                return try TransferLoop(
                    request, file: file, at: base, journal: journal, options: options, proxied: proxied, stop: stop,
                    progress: progress
                ).run()
            }
        } onCancel: {
            stop.stop()
        }
    }

    /// The locked partial file, or nil when another has published the blob meanwhile.
    private static func claim(
        _ request: TransferRequest, _ names: (partial: String, journal: String), in folder: Folder,
        isPublished: @Sendable () throws -> Bool, progress: @Sendable (TransferProgress) -> Void
    ) async throws -> File? {
        // A wait between two looks, which grows: hundreds may wait for one blob.
        var wait = Duration.milliseconds(20)
        while true {
            if try isPublished() { return nil }
            let file = try folder.open(names.partial, .readWrite, options: .create)
            if try file.tryLock(.exclusive) {
                // Published between the two looks: the name is gone, or a file that this very open made.
                let isOurs = try folder.status(names.partial)?.inode == file.status().inode
                if isOurs, try !isPublished() { return file }
                if isOurs { try folder.remove(names.partial) }
                continue
            }
            if let received = TransferJournal.total(names.journal, in: folder) {
                progress(TransferProgress(received: min(received, request.size), size: request.size))
            }
            try await Task.sleep(for: wait * Double.random(in: 0.5...1))
            wait = min(wait * 2, .milliseconds(250))
        }
    }

    private static func onOwnThread<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            do {
                try TransferThread { continuation.resume(with: Result { try work() }) }.detach()
            } catch {
                continuation.resume(throwing: error)
            }
        }
    }
}
