public import CargoArtifact
public import CargoSigning
public import SystemPackage

/// What a cargo must show before it is stored for running.
public enum VerificationPolicy: Sendable {
    /// Digests only: one's own machine, `--unsigned`.
    case integrityOnly
    /// Digests, and signatures that this trust policy accepts for the cargo's name and version.
    case trusted(TrustPolicy)
}

/// Where the parts of a cargo come from when it is not an archive on disk: a registry.
public protocol CargoOrigin: Sendable {
    /// The root manifest's bytes.
    func manifest() async throws -> [UInt8]
    /// The signature manifests whose `subject` is the root manifest, as bytes.
    func signatureManifests(of root: Digest) async throws -> [[UInt8]]
    /// The bytes of one blob in order; `sink` is called with bounded pieces and may throw to stop.
    func blob(_ descriptor: Descriptor, into sink: (UnsafeRawBufferPointer) throws -> Void) async throws
}

/// A verified cargo on disk, ready to run.
public struct StoredCargo: Sendable {
    /// A part of `/cargo`: an unpacked tree at its root, or one file at `path` inside it.
    public enum Part: Hashable, Sendable {
        case tree(FilePath)
        case file(path: String, blob: FilePath)
    }

    /// Digest of the root manifest.
    public let digest: Digest
    public let manifest: ImageManifest
    public let config: CargoConfig
    /// In the order in which they are laid over each other.
    public let parts: [Part]
}

/// Blobs, unpacked trees and cargos on this machine's disk (DESIGN.md section 5), safe with many processes.
public final class CargoStore: Sendable {
    public let root: FilePath

    /// Opens the store, making its folders (0700) where they are missing.
    public init(root: FilePath) throws {
        self.root = root
    }

    /// `$LONGSHORE_HOME`, else `/var/lib/longshore` for root, else `~/.local/share/longshore`.
    public static func defaultRoot() -> FilePath { fatalError("door") }

    /// Verifies an archive and stores its parts; the warm path returns what is already there.
    public func ingest(archive: FilePath, policy: VerificationPolicy) throws -> StoredCargo { fatalError("door") }

    /// The same from a registry. Nothing of a layer is fetched before the signatures hold.
    public func ingest(from origin: some CargoOrigin, digest: Digest, policy: VerificationPolicy) async throws -> StoredCargo {
        fatalError("door")
    }
}
