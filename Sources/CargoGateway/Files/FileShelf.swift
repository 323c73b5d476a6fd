import CargoArtifact
import CargoFiles
import CargoWire
import FoundationEssentials
public import SystemPackage

/// A file of OpenAI's interface, as its clients see it.
struct StoredFile: Codable, Sendable {
    var id: String
    var object = "file"
    var bytes: Int64
    var createdAt: Int64
    var filename: String
    var purpose: String
    var status = "processed"

    enum CodingKeys: String, CodingKey {
        case id, object, bytes, filename, purpose, status
        case createdAt = "created_at"
    }
}

/// Files and batches of OpenAI's interface, by account: each a small document, a file's bytes beside it.
///
/// They lie in the coordinator's own data folder and outlive it; every call blocks. A document is written whole or not at all.
public final class FileShelf: Sendable {
    /// Bytes of one file at most, and files of one account.
    static let largestFile: Int64 = 512 << 20
    static let mostFiles = 10_000
    private static let largestDocument = 1 << 20

    private let files: FilePath
    private let batches: FilePath
    /// Where bytes are while they arrive: emptied at the start.
    private let arriving: Folder

    public init(_ data: FilePath) throws {
        files = data.appending("files")
        batches = data.appending("batches")
        let folder = try Folder.open(data, create: 0o700)
        try? folder.removeTree("arriving")
        arriving = try Folder.open(data.appending("arriving"), create: 0o700)
    }

    static func newID(_ prefix: String) -> String { prefix + UUIDv7.make().replacing("-", with: "") }

    /// Only what this shelf itself names becomes a name on disk.
    static func isID(_ text: String) -> Bool {
        text.utf8.count <= 64
            && text.utf8.allSatisfy { (48...57).contains($0) || (97...122).contains($0) || $0 == 45 || $0 == 95 }
            && !text.isEmpty
    }

    private func folder(_ root: FilePath, _ account: Int64) throws -> Folder {
        try Folder.open(root.appending(String(account)), create: 0o700)
    }

    // MARK: Files

    /// An empty file for bytes that arrive.
    func arrival() throws -> (name: String, file: File) {
        let name = FileShelf.newID("")
        return (name, try arriving.open(name, .readWrite, options: [.create, .exclusiveCreate]))
    }

    func drop(_ name: String) { _ = try? arriving.remove(name) }

    /// Keeps what arrived under a new id.
    func keep(_ name: String, _ file: File, filename: String, purpose: String, account: Int64, now: Int64) throws -> StoredFile {
        let shelf = try folder(files, account)
        guard try shelf.entries().count < FileShelf.mostFiles * 2 else {
            throw GatewayError(429, "quota_exceeded", "This account has \(FileShelf.mostFiles) files; delete some.")
        }
        try file.sync()
        let stored = StoredFile(
            id: FileShelf.newID("file-"), bytes: try file.status().size, createdAt: now, filename: filename, purpose: purpose)
        try arriving.rename(name, to: stored.id + ".bin", in: shelf)
        try shelf.writeDurably(stored.id + ".json", Array(try Answer.encoder.encode(stored)))
        return stored
    }

    func file(_ id: String, account: Int64) throws -> StoredFile? { try document(id, in: files, account) }

    func bytes(_ id: String, account: Int64) throws -> File? {
        guard FileShelf.isID(id) else { return nil }
        return try folder(files, account).open(id + ".bin")
    }

    /// Newest first.
    func list(account: Int64) throws -> [StoredFile] { try documents(in: files, account) }

    func delete(_ id: String, account: Int64) throws -> Bool {
        guard FileShelf.isID(id) else { return false }
        let shelf = try folder(files, account)
        guard try shelf.remove(id + ".json") else { return false }
        _ = try shelf.remove(id + ".bin")
        return true
    }

    // MARK: Batches

    func save(_ batch: StoredBatch) throws {
        try folder(batches, batch.account).writeDurably(batch.batch.id + ".json", Array(try Answer.encoder.encode(batch)))
    }

    func batch(_ id: String, account: Int64) throws -> StoredBatch? { try document(id, in: batches, account) }
    func listBatches(account: Int64) throws -> [StoredBatch] { try documents(in: batches, account) }

    /// Those that have not ended.
    func openBatches() throws -> [StoredBatch] {
        guard let root = try? Folder.open(batches) else { return [] }
        return try root.entries().compactMap { Int64($0) }.flatMap { try listBatches(account: $0) }.filter { !$0.batch.hasEnded }
    }

    /// The results of a batch as they grow, cut to what its document knows of.
    func results(_ batch: StoredBatch) throws -> (output: File, errors: File) {
        let shelf = try folder(batches, batch.account)
        func open(_ suffix: String, _ size: Int64) throws -> File {
            let file = try shelf.open(batch.batch.id + suffix, .readWrite, options: [.create])
            try file.truncate(to: size)
            return file
        }
        return (try open(".out", batch.outputBytes), try open(".err", batch.errorBytes))
    }

    /// The results become files; nil where there are none.
    func keepResults(_ batch: StoredBatch, _ suffix: String, now: Int64) throws -> StoredFile? {
        let shelf = try folder(batches, batch.account)
        let name = batch.batch.id + suffix
        guard let file = try? shelf.open(name, .readWrite) else { return nil }
        guard try file.status().size > 0 else {
            _ = try shelf.remove(name)
            return nil
        }
        try shelf.rename(name, to: name, in: arriving)
        let kind = suffix == ".out" ? "output" : "error"
        return try keep(
            name, file, filename: "\(batch.batch.id)_\(kind).jsonl", purpose: "batch_output", account: batch.account, now: now)
    }

    private func document<Value: Decodable>(_ id: String, in root: FilePath, _ account: Int64) throws -> Value? {
        guard FileShelf.isID(id) else { return nil }
        let shelf = try folder(root, account)
        guard try shelf.status(id + ".json") != nil else { return nil }
        let bytes = try shelf.open(id + ".json").contents(limit: FileShelf.largestDocument)
        return try JSONDecoder().decode(Value.self, from: Data(bytes))
    }

    private func documents<Value: Decodable>(in root: FilePath, _ account: Int64) throws -> [Value] {
        let names = try folder(root, account).entries().filter { $0.hasSuffix(".json") }.sorted(by: >)
        return try names.compactMap { try document(String($0.dropLast(5)), in: root, account) }
    }
}
