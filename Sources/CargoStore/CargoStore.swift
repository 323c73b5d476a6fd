internal import CargoArchive
internal import CargoArtifact
internal import CargoFiles
internal import CargoSigning
internal import Glibc
public import SystemPackage

/// Blobs, unpacked trees and cargos on this machine's disk, safe with many processes.
///
/// Content is verified once and then trusted by (device, inode, size, mtime, ctime), so a warm start costs the same for
/// a large cargo as for a small one.
public final class CargoStore: Sendable {
    public let root: FilePath
    public let blobs: BlobStore
    let trees: Folder
    let locks: Folder
    let cargos: Folder
    let index: StoreIndex

    /// Opens the store, making its folders (0700) where they are missing.
    public init(root: FilePath) throws {
        self.root = root
        blobs = try BlobStore(root: root)
        let folder = try Folder.open(root)
        for name in ["trees", "locks", "cargos", "index"] { try folder.makeFolder(name) }
        trees = try folder.folder("trees")
        locks = try folder.folder("locks")
        cargos = try folder.folder("cargos")
        index = StoreIndex(folder: try folder.folder("index"))
    }

    /// `$LONGSHORE_HOME`, else `/var/lib/longshore` for root, else `~/.local/share/longshore`.
    public static func defaultRoot() -> FilePath {
        if let home = getenv("LONGSHORE_HOME"), home.pointee != 0 { return FilePath(platformString: home) }
        if geteuid() == 0 { return "/var/lib/longshore" }
        let home = getenv("HOME").map { FilePath(platformString: $0) } ?? "/"
        return home.appending(".local/share/longshore")
    }

    /// Holds a lock of this store until the file is let go of; waits on the calling thread.
    func lock(_ name: String, _ kind: FileLock = .exclusive) throws -> File {
        let file = try locks.open(name, .readWrite, options: .create)
        try file.lock(kind)
        return file
    }

    /// Held shared while blobs are stored for which no record stands yet, and exclusively while blobs without one are removed.
    static let growth = "growth"

    /// Keeps a cargo from being evicted as long as it is held, by this process alone or many.
    func lease(_ root: Digest) throws -> CargoLease { CargoLease(try lock("lease-" + root.hex, .shared)) }

    /// Whether a blob is here with its whole content verified, hashing it again only when its file changed.
    func isVerified(_ descriptor: Descriptor) throws -> Bool {
        guard let status = try blobs.blobs.status(descriptor.digest.hex) else { return false }
        guard status.kind == .regular, status.size == descriptor.size else {
            try forget(descriptor.digest)
            return false
        }
        let note = StoreIndex.blob(descriptor.digest)
        if index.note(note) == status.fingerprint { return true }
        let file = try blobs.open(descriptor.digest)
        let before = try file.status()
        var hash = ContentHash()
        try file.read(from: 0, count: before.size) { hash.update($0) }
        let after = try file.status()
        guard hash.digest() == descriptor.digest, before.fingerprint == after.fingerprint else {
            try forget(descriptor.digest)
            return false
        }
        index.write(note, after.fingerprint)
        return true
    }

    /// Notes that this blob was just written and verified.
    func noteVerified(_ digest: Digest) throws {
        if let status = try blobs.blobs.status(digest.hex) { index.write(StoreIndex.blob(digest), status.fingerprint) }
    }

    private func forget(_ digest: Digest) throws {
        try blobs.remove(digest)
        index.remove(StoreIndex.blob(digest))
    }

    /// Unpacks a layer's tree if it is not here.
    func unpack(_ layer: Descriptor, as role: TreeRole = .files) throws {
        let name = role.name(layer.digest)
        if try trees.status(name)?.kind == .folder { return }
        var generator = SystemRandomNumberGenerator()
        let temporary = "tree-" + String(generator.next(), radix: 36)
        try blobs.temporary.makeFolder(temporary, permissions: 0o755)
        let folder = try blobs.temporary.folder(temporary)
        guard try folder.tryLock(.exclusive) else { throw FileFailure("lock", folder.path.string, .resourceBusy) }
        do {
            try TreeUnpacker.unpack(try blobs.open(layer.digest), into: folder, as: role, limits: try UnpackLimits(layer))
            try folder.syncFileSystem()
            if try !blobs.temporary.renameNew(temporary, to: name, in: trees) { try blobs.temporary.removeTree(temporary) }
            try trees.sync()
        } catch {
            try? blobs.temporary.removeTree(temporary)
            throw error
        }
    }

    /// The parts of a cargo whose layers are all here.
    func stored(root: Digest, content: RootContent, config: CargoConfig, lease: CargoLease) throws -> StoredCargo {
        guard let manifest = content.cargo else { preconditionFailure("a root without a cargo is refused when it is read") }
        let parts = try manifest.layers.compactMap { layer -> StoredCargo.Part? in
            switch try LayerRole(layer) {
            case .none: nil
            case .tree: .tree(self.root.appending("trees").appending(layer.digest.hex))
            case .file(let path): .file(path: path, blob: blobs.path(of: layer.digest))
            }
        }
        var image: StoredCargo.Image?
        if case .index(_, let manifests) = content, let own = manifests.first(where: { $0 != manifest }) {
            image = StoredCargo.Image(
                manifest: own, config: blobs.path(of: own.config.digest),
                layers: own.layers.map { StoredCargo.Image.Layer(descriptor: $0, blob: blobs.path(of: $0.digest)) })
        }
        return StoredCargo(digest: root, manifest: manifest, config: config, parts: parts, image: image, lease: lease)
    }

    /// The highest release counter that was seen of a cargo's name.
    public func releaseCounter(of name: String) -> Int64? { index.counter(of: name) }

    func note(_ release: VerifiedRelease?) throws {
        guard let claims = release?.claims, claims.counter > index.counter(of: claims.name) ?? -1 else { return }
        let lock = try lock("counters")
        try index.raise(counter: claims.counter, of: claims.name)
        try lock.unlock()
    }
}
