internal import CargoArtifact
internal import CargoFiles
public import CargoStore
internal import FoundationEssentials
internal import Synchronization
public import SystemPackage

/// The models in this host's store that one of its engines can serve.
final class ModelShelf: Sendable {
    struct Book: Sendable {
        var digest: Digest
        var config: CargoConfig
        var engine: ReadyEngine
    }

    /// How old a look into the store may be.
    private static let freshness = Duration.seconds(2)
    /// How old it may be where a request only wants a model that was there: nobody's first token waits for a look. Whether the model may still
    /// be served is asked at each load.
    private static let patience = Duration.seconds(30)

    private struct Known {
        var at: ContinuousClock.Instant
        var engines: [ReadyEngine]
        var books: [Book]
    }

    private let store: CargoStore
    private let list: FilePath
    private let policy: @Sendable () throws -> VerificationPolicy
    private let known = Mutex<Known?>(nil)

    init(store: CargoStore, list: FilePath, policy: @escaping @Sendable () throws -> VerificationPolicy) {
        self.store = store
        self.list = list
        self.policy = policy
    }

    /// The newest version of each name first.
    func books() async -> [Book] {
        if let known = known.withLock({ $0 }), ContinuousClock.now - known.at < ModelShelf.freshness { return known.books }
        let engines = await EngineSet.load(store: store, list: list).ready
        let configs = (try? await blocking { [store] in try store.configs() }) ?? []
        var books: [Book] = []
        for (digest, config) in configs where config.kind == .gguf || config.kind == .onnx || config.kind == .process {
            // One that none of its engines can be asked for (a ranker, say) is not offered.
            guard
                let engine = engines.first(where: {
                    $0.runs(config) && $0.manifest.dialect != nil && !$0.operations(of: config).isEmpty
                })
            else { continue }
            books.append(Book(digest: digest, config: config, engine: engine))
        }
        books.sort { left, right in
            if left.config.name != right.config.name { return left.config.name < right.config.name }
            if left.config.version != right.config.version {
                return ModelShelf.isNewer(left.config.version, than: right.config.version)
            }
            return left.digest.hex < right.digest.hex
        }
        known.withLock { $0 = Known(at: .now, engines: engines, books: books) }
        return books
    }

    /// Semantic versions, section 11: numbers first, and a release is newer than what led to it.
    static func isNewer(_ left: String, than right: String) -> Bool {
        func parts(_ text: String) -> (numbers: [Int], before: Substring?) {
            let halves = text.split(separator: "-", maxSplits: 1)
            return (halves.first.map { $0.split(separator: ".").map { Int($0) ?? .max } } ?? [], halves.dropFirst().first)
        }
        let (one, other) = (parts(left), parts(right))
        guard one.numbers == other.numbers else { return other.numbers.lexicographicallyPrecedes(one.numbers) }
        guard let before = one.before, let after = other.before else { return one.before == nil && other.before != nil }
        for (mine, theirs) in zip(before.split(separator: "."), after.split(separator: ".")) where mine != theirs {
            if let mine = Int(mine), let theirs = Int(theirs) { return mine > theirs }
            if (Int(mine) == nil) != (Int(theirs) == nil) { return Int(mine) == nil }
            return theirs.utf8.lexicographicallyPrecedes(mine.utf8)
        }
        return before.utf8.count > after.utf8.count
    }

    /// By digest, `publisher/name:version`, or `publisher/name`: then the newest version.
    func book(_ name: String) async -> Book? {
        func isIt(_ book: Book) -> Bool {
            book.config.name == name || "\(book.config.name):\(book.config.version)" == name || book.digest.description == name
        }
        if let known = known.withLock({ $0 }), ContinuousClock.now - known.at < ModelShelf.patience,
            let book = known.books.first(where: isIt)
        {
            return book
        }
        return await books().first(where: isIt)
    }

    /// The model's files, its signatures checked once more by the policy of this moment.
    func take(_ book: Book) async throws -> StoredCargo { try await store.cargo(book.digest, policy: try policy()) }
}

/// The engines of this host: those that can be used, and why others cannot.
public struct EngineSet: Sendable {
    public let ready: [ReadyEngine]
    /// Servers of this host that run already.
    public let servers: [ServerEngine]
    /// By name.
    public let refused: [(name: String, reason: String)]

    /// Reads the owner's list and the engines' cargos in the store. An engine that cannot be used says why; it stops no other.
    public static func load(store: CargoStore, list: FilePath) async -> EngineSet {
        let entries: [EngineList.Entry]
        do {
            entries = try EngineList(contentsOf: list).engines
        } catch {
            return EngineSet(ready: [], servers: [], refused: [("engines.json", "\(error)")])
        }
        var ready: [ReadyEngine] = []
        var servers: [ServerEngine] = []
        var refused: [(name: String, reason: String)] = []
        for entry in entries {
            do {
                // Its owner chose it by digest when it was added: that is the signature that counts here.
                let cargo = try await store.cargo(entry.digest, policy: .integrityOnly)
                if cargo.config.engineManifest?.server != nil {
                    servers.append(try ServerEngine(entry, cargo: cargo))
                } else {
                    ready.append(try ReadyEngine(entry, cargo: cargo))
                }
            } catch {
                refused.append((entry.name, "\(error)"))
            }
        }
        return EngineSet(ready: ready, servers: servers, refused: refused)
    }
}
