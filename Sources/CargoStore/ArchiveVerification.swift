public import CargoArchive
internal import CargoArtifact
public import CargoSigning

/// Checking an archive without storing anything of it: the door behind `longshore verify`.
public enum ArchiveVerification {
    /// Signatures against a policy, every blob against its digest, and every byte around them against what follows
    /// from the signed ones. `threads` blobs are hashed at a time. Blocks. Throws `Refusal` for anything that is not so.
    public static func verify(
        _ archive: CargoArchive, policy: TrustPolicy, now: Int64 = Timestamp.now(), threads: Int = CargoStore.threads
    ) throws -> VerifiedRelease {
        try asRefusals {
            try archive.checkCanonical()
            let release = try policy.verify(root: archive.root.digest, signatures: archive.signatures, now: now)
            try release.check(try archive.config())
            try archive.checkBlobs(threads: threads)
            return release
        }
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
