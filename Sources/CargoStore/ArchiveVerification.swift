public import CargoArchive
internal import CargoArtifact
public import CargoFiles
public import CargoSigning

/// Checking an archive without storing anything of it: the door behind `longshore verify`.
public enum ArchiveVerification {
    /// The same of a file, or of a pipe in one pass from front to back.
    public static func verify(
        _ file: File, policy: TrustPolicy, now: Int64 = Timestamp.now(), threads: Int = CargoStore.threads
    ) throws -> VerifiedRelease {
        try asRefusals {
            guard try file.status().kind == .other else {
                return try verify(try CargoArchive(file: file), policy: policy, now: now, threads: threads)
            }
            let stream = try ArchiveStream(file)
            let release = try verify(stream.documents, policy, now)
            try stream.readLayers { blob, read in try CargoArchive.check(blob, read) }
            return release
        }
    }

    /// Signatures against a policy, every blob against its digest, and every byte around them against what follows
    /// from the signed ones. `threads` blobs are hashed at a time. Blocks. Throws `Refusal` for anything that is not so.
    public static func verify(
        _ archive: CargoArchive, policy: TrustPolicy, now: Int64 = Timestamp.now(), threads: Int = CargoStore.threads
    ) throws -> VerifiedRelease {
        try asRefusals {
            try archive.checkCanonical()
            let release = try verify(archive.documents, policy, now)
            try archive.checkBlobs(threads: threads)
            return release
        }
    }

    private static func verify(_ documents: ArchiveDocuments, _ policy: TrustPolicy, _ now: Int64) throws -> VerifiedRelease {
        let release = try policy.verify(root: documents.root.digest, signatures: documents.signatures, now: now)
        try release.check(try documents.config())
        return release
    }

    /// Turns what a decoder says about foreign bytes into a refusal.
    public static func asRefusals<Value>(_ body: () throws -> Value) throws -> Value {
        do { return try body() } catch is DecodingError {
            throw Refusal("format", "a document in the archive does not have the fields that it must have")
        } catch let failure as StrictJSONFailure {
            throw Refusal("format", "a document in the archive is broken: \(failure)")
        }
    }
}
