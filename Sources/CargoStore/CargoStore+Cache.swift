public import CargoArtifact
internal import CargoFiles
internal import SystemPackage

/// A stored cargo as `cargo-run cache ls` shows it.
public struct CacheEntry: Hashable, Sendable, Codable {
    public var digest: Digest
    public var name: String
    public var version: String
    /// Bytes of its blobs and trees; those that it shares with others count for each.
    public var size: Int64
    /// Seconds since 1970.
    public var lastUse: Int64
    public var pinned: Bool
    public var inUse: Bool

    enum CodingKeys: String, CodingKey {
        case digest, name, version, size, pinned
        case lastUse = "last_use"
        case inUse = "in_use"
    }
}

/// What the store takes on disk, bytes.
public struct CacheUse: Hashable, Sendable, Codable {
    public var blobs: Int64 = 0
    public var trees: Int64 = 0
    public var temporary: Int64 = 0
    /// Large blobs that are being fetched, or were until their transfer broke off.
    public var partial: Int64 = 0
    public var total: Int64 { blobs + trees + temporary + partial }
}

/// What `gc` did.
public struct CacheCollection: Hashable, Sendable, Codable {
    public var evicted: [Digest] = []
    public var removedBlobs = 0
    public var removedTrees = 0
    /// Transfers that broke off, and whose bytes were given up.
    public var removedPartials = 0
    /// Bytes on disk before and after.
    public var before: Int64 = 0
    public var after: Int64 = 0

    enum CodingKeys: String, CodingKey {
        case evicted, before, after
        case removedBlobs = "removed_blobs"
        case removedTrees = "removed_trees"
        case removedPartials = "removed_partials"
    }
}

extension CargoStore {
    /// The cargos here, the least recently used first.
    public func entries() throws -> [CacheEntry] {
        try cargos.entries(limit: .max).compactMap { name -> CacheEntry? in
            guard let digest = Digest(hex: name), let record = record(digest), let status = try cargos.status(name) else {
                return nil
            }
            let config = record.blobs.first { $0.mediaType == MediaType.cargoConfig }
                .flatMap { try? blobs.contents(of: $0.digest, limit: CargoLayout.maximumDocument) }
                .flatMap { try? CargoConfig.read($0) }
            let trees = record.treeNames.reduce(Int64(0)) { $0 + ((try? CargoStore.allocated($1, in: self.trees)) ?? 0) }
            return CacheEntry(
                digest: digest, name: config?.name ?? "", version: config?.version ?? "",
                size: record.blobs.reduce(trees) { $0 + $1.size }, lastUse: status.modified / 1_000_000_000,
                pinned: try isPinned(digest), inUse: try isLeased(digest))
        }.sorted { $0.lastUse < $1.lastUse }
    }

    public func diskUse() throws -> CacheUse {
        var use = CacheUse()
        for name in try blobs.blobs.entries(limit: .max) { use.blobs += try blobs.blobs.status(name)?.allocated ?? 0 }
        for name in try trees.entries(limit: .max) { use.trees += try CargoStore.allocated(name, in: trees) }
        for name in try blobs.temporary.entries(limit: .max) {
            use.temporary += try CargoStore.allocated(name, in: blobs.temporary)
        }
        for name in try blobs.partials.entries(limit: .max) { use.partial += try blobs.partials.status(name)?.allocated ?? 0 }
        return use
    }

    /// Keeps a cargo from being evicted until it is unpinned. Refused for a cargo that is not here.
    public func pin(_ digest: Digest) throws {
        guard record(digest) != nil else { throw Refusal("not-stored", "\(digest) is not in the store") }
        try cargos.writeDurably(digest.hex + ".pin", [])
    }

    public func unpin(_ digest: Digest) throws { try cargos.remove(digest.hex + ".pin") }

    public func isPinned(_ digest: Digest) throws -> Bool { try cargos.status(digest.hex + ".pin") != nil }

    private func isLeased(_ digest: Digest) throws -> Bool {
        let file = try locks.open("lease-" + digest.hex, .readWrite, options: .create)
        return try !file.tryLock(.exclusive)
    }

    /// Removes a cargo and what only it needed. Refused while it is pinned or in use.
    public func remove(_ digest: Digest) throws {
        guard record(digest) != nil else { throw Refusal("not-stored", "\(digest) is not in the store") }
        guard try !isPinned(digest) else { throw Refusal("pinned", "\(digest) is pinned; unpin it first") }
        guard try evict(digest) else { throw Refusal("in-use", "\(digest) is in use; try again when its jobs have ended") }
        _ = try removeUnreferenced()
    }

    /// Evicts the least recently used cargos, never pinned ones or ones in use, until at most `budget` bytes are on
    /// disk, and removes what no cargo needs. Blocks.
    public func collect(budget: Int64) throws -> CacheCollection {
        var result = CacheCollection()
        result.before = try diskUse().total
        var left = try removeUnreferenced(&result)
        // What broke off goes before what somebody has used; a transfer that nobody took up again for days goes anyway.
        result.removedPartials = try blobs.removePartials(unusedFor: left > budget ? 0 : CargoStore.patience)
        left = try diskUse().total
        if left > budget {
            for entry in try entries() where !entry.pinned {
                guard left > budget else { break }
                guard try evict(entry.digest) else { continue }
                result.evicted.append(entry.digest)
                left = try removeUnreferenced(&result)
            }
        }
        result.after = left
        return result
    }

    /// Seconds after which a transfer that broke off is given up.
    private static let patience: Int64 = 7 * 24 * 3600

    /// Takes a cargo's record away; false when it is in use.
    private func evict(_ digest: Digest) throws -> Bool {
        let file = try locks.open("lease-" + digest.hex, .readWrite, options: .create)
        guard try file.tryLock(.exclusive) else { return false }
        try cargos.remove(digest.hex)
        try cargos.sync()
        try file.unlock()
        return true
    }

    private func removeUnreferenced() throws -> Int64 {
        var ignored = CacheCollection()
        return try removeUnreferenced(&ignored)
    }

    /// Removes blobs, trees and notes that no record names; nothing while something is being stored.
    private func removeUnreferenced(_ result: inout CacheCollection) throws -> Int64 {
        let growing = try locks.open(CargoStore.growth, .readWrite, options: .create)
        guard try growing.tryLock(.exclusive) else { return try diskUse().total }
        var wanted: Set<String> = []
        var wantedTrees: Set<String> = []
        for name in try cargos.entries(limit: .max) {
            guard let digest = Digest(hex: name), let record = record(digest) else { continue }
            wanted.formUnion(record.blobs.map(\.digest.hex))
            wantedTrees.formUnion(record.treeNames)
        }
        for name in try blobs.blobs.entries(limit: .max) where !wanted.contains(name) {
            if try blobs.blobs.remove(name) { result.removedBlobs += 1 }
            index.remove("blob-" + name)
        }
        for name in try trees.entries(limit: .max) where !wantedTrees.contains(name) {
            // Renamed first: a tree that is half gone is never taken for a whole one.
            try? blobs.temporary.removeTree("gone-" + name)
            try trees.rename(name, to: "gone-" + name, in: blobs.temporary)
            try blobs.temporary.removeTree("gone-" + name)
            result.removedTrees += 1
        }
        for name in try index.folder.entries(limit: .max) where name.hasPrefix("archive-") {
            let root = index.note(name).flatMap { $0.split(separator: " ").last }
            if root.flatMap({ Digest(hex: $0) }).map({ record($0) == nil }) ?? true { index.remove(name) }
        }
        try growing.unlock()
        return try diskUse().total
    }

    /// Bytes on disk of a file or of everything below a folder.
    private static func allocated(_ name: String, in folder: Folder) throws -> Int64 {
        guard let status = try folder.status(name) else { return 0 }
        guard status.kind == .folder, let inner = try? folder.folder(name) else { return status.allocated }
        return try inner.entries(limit: .max).reduce(status.allocated) { $0 + (try allocated($1, in: inner)) }
    }
}
