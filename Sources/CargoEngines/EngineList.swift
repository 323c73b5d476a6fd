public import CargoArtifact
internal import CargoFiles
internal import FoundationEssentials
public import SystemPackage

/// The engines that this host's owner has added, in the order in which they are tried: a file of the owner's alone.
///
/// Whatever of this host an engine may see stands here, and nowhere in a cargo (docs/rules.md 21).
public struct EngineList: Hashable, Sendable, Codable {
    /// One engine and what its owner grants it.
    public struct Entry: Hashable, Sendable, Codable {
        /// `publisher/name` of the engine cargo.
        public var name: String
        /// The engine cargo in this host's store.
        public var digest: Digest
        /// Paths of this host for the names in the engine's command template.
        public var grants: [String: String] = [:]
        /// Further files and folders that it may read, such as libraries.
        public var visible: [String]?
        /// One instance may serve several accounts, where the engine says that its weights and requests are data alone.
        public var trusted: Bool?
        /// GPUs of this host, numbered from 0.
        public var gpus: [Int]?
        /// Where the server listens, of an engine that runs already.
        public var url: String?
        /// Requests of one model at once, where not as many as the engine says.
        public var slots: Int?

        public init(name: String, digest: Digest) {
            self.name = name
            self.digest = digest
        }
    }

    public var version = 1
    public var engines: [Entry] = []

    /// Most bytes of the file, and most engines.
    static let limit = 1 << 20
    static let mostEngines = 256

    public init() {}

    /// An absent file is an empty list. Throws `Refusal` for one that others may write or that is not valid.
    public init(contentsOf path: FilePath) throws {
        guard FileManager.default.fileExists(atPath: path.string) else { return }
        let file = try File.open(path)
        guard try file.status().permissions & 0o022 == 0 else {
            throw Refusal("engines", "\(path) can be written by others than its owner; make it yours alone: chmod go-w \(path)")
        }
        do {
            self = try StrictJSON.decode(from: try file.contents(limit: EngineList.limit), limit: EngineList.limit)
        } catch {
            throw Refusal("engines", "\(path) is not valid (\(error)); correct it, or remove it and add the engines again")
        }
        guard version == 1, engines.count <= EngineList.mostEngines else {
            throw Refusal("engines", "\(path) was written by another version of cargo-run; add the engines again")
        }
    }

    public func write(to path: FilePath) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        let name = path.lastComponent?.string ?? "engines.json"
        let folder = try Folder.open(path.removingLastComponent(), create: 0o700)
        try folder.writeDurably(name, Array(try encoder.encode(self)) + [10], permissions: 0o600)
    }

    /// Replaces the engine of the same name, or adds it at the end.
    public mutating func add(_ entry: Entry) {
        if let index = engines.firstIndex(where: { $0.name == entry.name }) {
            engines[index] = entry
        } else {
            engines.append(entry)
        }
    }
}
