public import CargoArtifact
import CargoFiles
public import CargoStore
import FoundationEssentials
import Synchronization
public import SystemPackage

/// Which names, tags, manifests and blobs the registry has: small files in one folder per name, the bytes themselves
/// in the blob store.
///
/// ```
/// PUBLISHER/owner                the account that pushed the first name of this publisher
/// PUBLISHER/NAME/tags/TAG        digest of the manifest
/// PUBLISHER/NAME/manifests/HEX   its media type
/// PUBLISHER/NAME/blobs/HEX       empty
/// PUBLISHER/NAME/referrers/SUBJECT/HEX   the referrer's descriptor
/// ```
/// Every file is replaced by rename, so readers need no lock. All calls block: see `blocking`.
public final class RegistryIndex: Sendable {
    private let root: Folder
    public let blobs: BlobStore

    /// Tags and referrers listed at most.
    static let largestList = 10_000
    /// A manifest's bytes at most (OCI distribution asks for at least 4 MiB).
    public static let largestManifest = 4 << 20
    /// Entries of an index that are looked at for the cargo's own manifest.
    static let mostEntries = 16

    public init(folder: FilePath, blobs: BlobStore) throws {
        root = try Folder.open(folder, create: 0o700)
        self.blobs = blobs
    }

    /// A cargo as a job names it.
    public struct KnownCargo: Sendable {
        public let digest: CargoArtifact.Digest
        public let config: CargoConfig
    }

    /// What was looked up since the last write, so that a thousand jobs of one cargo read its files once.
    private struct Known {
        /// Rises with every write: what was read before one is not kept after it.
        var writes = 0
        var cargos: [String: KnownCargo] = [:]
        /// The same by `publisher/name:version`, as jobs write it.
        var versions: [String: KnownCargo] = [:]
    }

    private let known = Mutex(Known())
    private static let mostKnown = 1000

    /// The cargo behind a tag or digest when it was looked up lately; nil says nothing. Does not block.
    public func knownCargo(_ name: CargoName, tagOrDigest: String) -> KnownCargo? {
        known.withLock { $0.cargos["\(name):\(tagOrDigest)"] }
    }

    /// The same by `publisher/name:version`; nil for any other text.
    public func knownCargo(_ text: String) -> KnownCargo? { known.withLock { $0.versions[text] } }

    /// The cargo behind a tag or digest; nil when it is not here.
    public func cargo(_ name: CargoName, tagOrDigest: String) throws -> KnownCargo? {
        let writes = known.withLock { $0.writes }
        guard let digest = try resolve(name, tagOrDigest: tagOrDigest), let config = try config(name, digest) else { return nil }
        let cargo = KnownCargo(digest: digest, config: config)
        known.withLock { known in
            guard known.writes == writes else { return }
            if known.cargos.count >= RegistryIndex.mostKnown { (known.cargos, known.versions) = ([:], [:]) }
            let text = "\(name):\(tagOrDigest)"
            known.cargos[text] = cargo
            if CargoVersion(tagOrDigest) != nil { known.versions[text] = cargo }
        }
        return cargo
    }

    /// A stored manifest.
    public struct StoredManifest: Sendable {
        public let digest: CargoArtifact.Digest
        public let mediaType: String
        public let bytes: [UInt8]
    }

    private func folder(_ name: CargoName, _ part: String, make: Bool) throws -> Folder? {
        var folder = root
        for component in [name.publisher, name.name] + part.split(separator: "/").map(String.init) {
            if make { try folder.makeFolder(component) }
            guard let next = try? folder.folder(component) else { return nil }
            folder = next
        }
        return folder
    }

    private func write(_ text: [UInt8], _ file: String, _ name: CargoName, _ part: String) throws {
        guard let folder = try folder(name, part, make: true) else {
            throw Refusal("registry-folder", "the registry's folder for \(name) cannot be made")
        }
        // Also when it fails: nobody knows then what the disk has.
        defer {
            known.withLock { known in
                known.writes += 1
                (known.cargos, known.versions) = ([:], [:])
            }
        }
        try folder.writeDurably(file, text)
    }

    private func read(_ file: String, _ name: CargoName, _ part: String, limit: Int = 65536) throws -> [UInt8]? {
        guard let folder = try folder(name, part, make: false), try folder.status(file) != nil else { return nil }
        return try folder.open(file).contents(limit: limit)
    }

    private func list(_ name: CargoName, _ part: String) throws -> [String] {
        guard let folder = try folder(name, part, make: false) else { return [] }
        return try folder.entries(limit: RegistryIndex.largestList).filter { !$0.hasPrefix(".") }.sorted()
    }

    /// The account that owns a publisher's names; the first to push becomes it.
    public func owner(of name: CargoName, claimingFor account: Int64?) throws -> Int64? {
        if account != nil { try root.makeFolder(name.publisher) }
        guard let folder = try? root.folder(name.publisher) else { return nil }
        if try folder.status("owner") == nil {
            guard let account else { return nil }
            try folder.writeDurably("owner", Array(String(account).utf8))
            return account
        }
        return Int64(String(decoding: try folder.open("owner").contents(limit: 64), as: UTF8.self))
    }

    public func hasBlob(_ digest: CargoArtifact.Digest, in name: CargoName) throws -> Bool {
        guard let folder = try folder(name, "blobs", make: false) else { return false }
        return try folder.status(digest.hex) != nil && blobs.size(of: digest) != nil
    }

    /// Whether any name has this blob or manifest.
    public func names(_ digest: CargoArtifact.Digest) throws -> Bool {
        for publisher in try root.entries() where !publisher.hasPrefix(".") {
            let folder = try root.folder(publisher)
            for short in try folder.entries() where short != "owner" && !short.hasPrefix(".") {
                guard let name = CargoName("\(publisher)/\(short)") else { continue }
                if try hasBlob(digest, in: name) { return true }
                if try self.folder(name, "manifests", make: false)?.status(digest.hex) != nil { return true }
            }
        }
        return false
    }

    public func addBlob(_ digest: CargoArtifact.Digest, to name: CargoName) throws {
        try write([], digest.hex, name, "blobs")
    }

    public func resolve(_ name: CargoName, tagOrDigest: String) throws -> CargoArtifact.Digest? {
        if let digest = CargoArtifact.Digest(tagOrDigest) { return digest }
        guard CargoVersion(tagOrDigest) != nil, let text = try read(tagOrDigest, name, "tags") else { return nil }
        return CargoArtifact.Digest(String(decoding: text, as: UTF8.self))
    }

    public func manifest(_ name: CargoName, _ digest: CargoArtifact.Digest) throws -> StoredManifest? {
        guard let type = try read(digest.hex, name, "manifests") else { return nil }
        return StoredManifest(
            digest: digest, mediaType: String(decoding: type, as: UTF8.self),
            bytes: try blobs.contents(of: digest, limit: RegistryIndex.largestManifest))
    }

    public func addManifest(
        _ bytes: [UInt8], mediaType: String, to name: CargoName, tag: CargoVersion?,
        referrer: (subject: CargoArtifact.Digest, descriptor: [UInt8])?
    ) throws -> CargoArtifact.Digest {
        let digest = try blobs.store(bytes)
        try write(Array(mediaType.utf8), digest.hex, name, "manifests")
        if let referrer { try write(referrer.descriptor, digest.hex, name, "referrers/\(referrer.subject.hex)") }
        if let tag { try write(Array(digest.description.utf8), tag.description, name, "tags") }
        return digest
    }

    public func tags(_ name: CargoName) throws -> [String]? {
        guard try folder(name, "manifests", make: false) != nil else { return nil }
        return try list(name, "tags")
    }

    /// The descriptors of what refers to a manifest, each as JSON.
    public func referrers(_ name: CargoName, _ subject: CargoArtifact.Digest) throws -> [Descriptor] {
        try list(name, "referrers/\(subject.hex)").compactMap { file in
            guard let bytes = try read(file, name, "referrers/\(subject.hex)") else { return nil }
            return try JSONDecoder().decode(Descriptor.self, from: Data(bytes))
        }
    }

    /// The config of a cargo that was pushed; nil when the manifest is not here.
    public func config(_ name: CargoName, _ digest: CargoArtifact.Digest) throws -> CargoConfig? {
        guard let stored = try manifest(name, digest) else { return nil }
        if stored.mediaType == MediaType.imageIndex {
            let index = try StrictJSON.decode(ImageIndex.self, from: stored.bytes, limit: RegistryIndex.largestManifest)
            // A cargo with an image: entries of OCI 1.0 name no artifact type, so the manifests say which one is the cargo's.
            for entry in index.manifests.suffix(RegistryIndex.mostEntries).reversed() {
                guard let inner = try manifest(name, entry.digest), inner.mediaType == MediaType.imageManifest,
                    let manifest = try? StrictJSON.decode(
                        ImageManifest.self, from: inner.bytes, limit: RegistryIndex.largestManifest),
                    manifest.config.mediaType == MediaType.cargoConfig
                else { continue }
                return try config(name, entry.digest)
            }
            throw Refusal("not-a-cargo", "\(name)@\(digest) is an index without a cargo manifest; push a cargo")
        }
        let manifest = try StrictJSON.decode(ImageManifest.self, from: stored.bytes, limit: RegistryIndex.largestManifest)
        guard manifest.config.mediaType == MediaType.cargoConfig else {
            throw Refusal("not-a-cargo", "\(name)@\(digest) is not a cargo; push one with `longshore push`")
        }
        return try StrictJSON.decode(
            CargoConfig.self, from: try blobs.contents(of: manifest.config.digest, limit: 1 << 20), limit: 1 << 20)
    }
}
