internal import CargoArtifact
internal import CargoFiles
internal import FoundationEssentials
public import SystemPackage

/// What this host's agent brought to its container engine itself: which images are its own to offer and to remove.
///
/// A small JSON file beside the store, replaced as a whole under a lock, so that several agents may share it.
public struct ImageCacheIndex: Sendable {
    /// One image.
    public struct Entry: Hashable, Sendable, Codable {
        public var id: String
        /// The reference it was pulled by, or `bundle@DIGEST` of the image manifest it was loaded from.
        public var name: String
        /// Its digest in a registry.
        public var digest: String?
        /// Bytes on the engine's disk.
        public var size: Int64
        /// Seconds since 1970.
        public var lastUsed: Int64
        public var isPinned: Bool?
    }

    /// Entries kept; beyond them the least recently used is forgotten, which costs a fresh pull.
    static let maximumEntries = 4096
    private static let file = "container-images.json"
    private static let lock = "container-images.lock"

    private let folder: FilePath

    /// `folder`: the store's root.
    public init(folder: FilePath) { self.folder = folder }

    /// Most recently used first.
    public func entries() async throws -> [Entry] {
        try await blocking { try read(try Folder.open(folder, create: 0o700)) }
    }

    /// Changes the index in one step.
    @discardableResult
    func update<Value: Sendable>(_ change: @escaping @Sendable (inout [Entry]) throws -> Value) async throws -> Value {
        try await blocking {
            let folder = try Folder.open(folder, create: 0o700)
            let lock = try folder.open(ImageCacheIndex.lock, .readWrite, options: [.create])
            try lock.lock(.exclusive)
            var entries = try read(folder)
            let value = try change(&entries)
            entries.sort { ($0.lastUsed, $0.id) > ($1.lastUsed, $1.id) }
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            let bytes = [UInt8](try encoder.encode(Array(entries.prefix(ImageCacheIndex.maximumEntries))))
            try folder.writeAtomically(ImageCacheIndex.file, bytes)
            return value
        }
    }

    /// Marks an image as used now; `adding`: also when it is new.
    func use(id: String, name: String, digest: String?, size: Int64, adding: Bool) async throws {
        let now = Int64(Date().timeIntervalSince1970)
        try await update { entries in
            if let index = entries.firstIndex(where: { $0.name == name }) {
                entries[index].id = id
                entries[index].digest = digest ?? entries[index].digest
                entries[index].size = size
                entries[index].lastUsed = now
            } else if adding {
                entries.append(Entry(id: id, name: name, digest: digest, size: size, lastUsed: now))
            }
        }
    }

    /// A file that is absent or broken means an empty index: images are fetched again.
    private func read(_ folder: Folder) throws -> [Entry] {
        guard try folder.status(ImageCacheIndex.file) != nil else { return [] }
        let bytes = try folder.open(ImageCacheIndex.file).contents(limit: 16 << 20)
        return (try? JSONDecoder().decode([Entry].self, from: Data(bytes))) ?? []
    }

    /// Which images go so that `budget` bytes are kept: least recently used first, never pinned ones or those in `held`.
    static func evicted(_ entries: [Entry], budget: Int64, held: Set<String>) -> [Entry] {
        var total: Int64 = 0
        var sizes: [String: Int64] = [:]
        for entry in entries where sizes[entry.id] == nil {
            sizes[entry.id] = entry.size
            total += entry.size
        }
        var gone: Set<String> = []
        for entry in entries.sorted(by: { $0.lastUsed < $1.lastUsed }) {
            guard total > budget else { break }
            let isKept = entries.contains { $0.id == entry.id && ($0.isPinned == true || $0.lastUsed > entry.lastUsed) }
            guard !isKept, !held.contains(entry.id), gone.insert(entry.id).inserted else { continue }
            total -= sizes[entry.id] ?? 0
        }
        return entries.filter { gone.contains($0.id) }
    }
}
