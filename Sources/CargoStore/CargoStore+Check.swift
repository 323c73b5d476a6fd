public import CargoArtifact
internal import CargoFiles
internal import SystemPackage

/// Something in the store that is not as it must be; it was removed, so that it is fetched or unpacked again.
public struct CacheDefect: Hashable, Sendable, Codable {
    public var digest: Digest
    /// `blob`, `tree` or `cargo`.
    public var kind: String
    public var message: String
}

extension CargoStore {
    /// Hashes every blob again, unpacks every tree again beside the first and compares them, and checks that each
    /// cargo has all its parts. Blocks for as long as reading everything takes.
    public func check() throws -> [CacheDefect] {
        var defects: [CacheDefect] = []
        for name in try blobs.blobs.entries(limit: .max) {
            guard let digest = Digest(hex: name) else { continue }
            index.remove(StoreIndex.blob(digest))
            guard let status = try blobs.blobs.status(name) else { continue }
            if try !isVerified(Descriptor(mediaType: "", digest: digest, size: status.size)) {
                defects.append(CacheDefect(digest: digest, kind: "blob", message: "its content is not its digest"))
            }
        }
        for name in try cargos.entries(limit: .max) {
            guard let root = Digest(hex: name) else { continue }
            guard let record = record(root) else {
                defects.append(CacheDefect(digest: root, kind: "cargo", message: "its record is broken"))
                try cargos.remove(name)
                continue
            }
            let unpacked = record.trees.map { ($0, TreeRole.files) } + (record.roots ?? []).map { ($0, TreeRole.root) }
            for (tree, role) in unpacked where try !matches(tree, role, record) {
                defects.append(CacheDefect(digest: tree, kind: "tree", message: "its files are not those of its layer"))
                let name = role.name(tree)
                if try trees.status(name) != nil {
                    try? blobs.temporary.removeTree("gone-" + name)
                    try trees.rename(name, to: "gone-" + name, in: blobs.temporary)
                    try blobs.temporary.removeTree("gone-" + name)
                }
            }
            for blob in record.blobs where try !isVerified(blob) {
                defects.append(CacheDefect(digest: blob.digest, kind: "blob", message: "\(root) needs it, and it is missing"))
            }
        }
        return defects
    }

    private func matches(_ tree: Digest, _ role: TreeRole, _ record: CargoRecord) throws -> Bool {
        guard try trees.status(role.name(tree))?.kind == .folder, let layer = record.blobs.first(where: { $0.digest == tree }),
            try isVerified(layer)
        else { return false }
        let name = "check-" + role.name(tree)
        try? blobs.temporary.removeTree(name)
        try blobs.temporary.makeFolder(name, permissions: 0o755)
        let fresh = try blobs.temporary.folder(name)
        guard try fresh.tryLock(.exclusive) else { return true }
        defer { try? blobs.temporary.removeTree(name) }
        try TreeUnpacker.unpack(try blobs.open(tree), into: fresh, as: role, limits: try UnpackLimits(layer))
        return try CargoStore.isSame(fresh, try trees.folder(role.name(tree)))
    }

    /// Whether two folders hold the same names, kinds, exec bits and contents, and hide the same of what lies below them.
    private static func isSame(_ one: Folder, _ two: Folder) throws -> Bool {
        guard one.isOpaque == two.isOpaque else { return false }
        let names = try one.entries(limit: .max)
        guard try two.entries(limit: .max) == names else { return false }
        for name in names {
            guard let left = try one.status(name), let right = try two.status(name), left.kind == right.kind else { return false }
            switch left.kind {
            case .folder: guard try isSame(try one.folder(name), try two.folder(name)) else { return false }
            case .symbolicLink:
                guard try one.symbolicLinkTarget(name) == (try two.symbolicLinkTarget(name)) else { return false }
            // A whiteout.
            case .other: break
            case .regular:
                guard left.size == right.size, left.permissions == right.permissions,
                    try digest(name, in: one) == (try digest(name, in: two))
                else { return false }
            }
        }
        return true
    }

    private static func digest(_ name: String, in folder: Folder) throws -> Digest {
        let file = try folder.open(name)
        var hash = ContentHash()
        try file.read(from: 0, count: try file.status().size) { hash.update($0) }
        return hash.digest()
    }
}
