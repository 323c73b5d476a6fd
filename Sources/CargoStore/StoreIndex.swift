internal import CargoArtifact
internal import CargoFiles

/// Small notes about what is stored: under which file status a blob was verified, which archive held which cargo,
/// the highest release counter seen of a name.
///
/// One file a note, replaced as a whole, so that processes need no lock. Every note but a counter can be lost: it only
/// saves hashing again.
struct StoreIndex: Sendable {
    let folder: Folder

    /// Most bytes of a note.
    private static let limit = 64 << 10

    func note(_ name: String) -> String? {
        guard let file = try? folder.open(name), let bytes = try? file.contents(limit: StoreIndex.limit) else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }

    func write(_ name: String, _ text: String) {
        _ = try? folder.writeAtomically(name, Array(text.utf8))
    }

    func remove(_ name: String) { _ = try? folder.remove(name) }

    static func blob(_ digest: Digest) -> String { "blob-" + digest.hex }

    static func archive(_ status: FileStatus) -> String { "archive-\(status.device)-\(status.inode)" }

    static func counter(_ name: String) -> String { "counter-" + Digest(of: Array(name.utf8)).hex }

    /// The highest release counter seen of a cargo's name.
    func counter(of name: String) -> Int64? { note(StoreIndex.counter(name)).flatMap { Int64($0) } }

    /// Raises the counter durably; the caller holds the counters' lock.
    func raise(counter: Int64, of name: String) throws {
        guard counter > self.counter(of: name) ?? -1 else { return }
        try folder.writeDurably(StoreIndex.counter(name), Array(String(counter).utf8))
    }
}
