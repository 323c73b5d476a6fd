import CargoArtifact
import CargoClient
import CargoFiles
import CargoRunner
import CargoSigning
import CargoStore
import CargoWire
import FoundationEssentials
import Logging
import Synchronization
import SystemPackage

/// Fetches models that requests wait for while this host has nothing to do: one at a time, verified as for a job, within a
/// budget of their own. What its owner brought here, or a job did, is never removed for them.
final class Fetching: Sendable {
    private struct Refused {
        var digest: Digest
        var at: ContinuousClock.Instant
    }

    /// What could not be fetched is left alone for so long.
    private static let restsFor = Duration.seconds(600)
    private static let mostRefused = 256
    private static let list = "fetched.json"

    private let store: CargoStore
    private let trust: FilePath
    private let session: HostSession
    private let budget: Int64
    /// Where it keeps what came here by hints.
    private let folder: FilePath
    private let logger: Logger
    private let refused = Mutex<[Refused]>([])
    private let hints: AsyncStream<[FetchHint]>
    private let hearing: AsyncStream<[FetchHint]>.Continuation

    init(session: HostSession, store: CargoStore, trust: FilePath, budget: Int64, folder: FilePath, logger: Logger) {
        self.session = session
        self.store = store
        self.trust = trust
        self.budget = budget
        self.folder = folder
        self.logger = logger
        (hints, hearing) = AsyncStream.makeStream(of: [FetchHint].self, bufferingPolicy: .bufferingNewest(1))
    }

    /// The newest hints count; those that came while something was fetched are asked for anew.
    func heard(_ hints: [FetchHint]) { if !hints.isEmpty { hearing.yield(hints) } }

    /// Until its task is cancelled.
    func run() async {
        for await hints in hints {
            for hint in hints where await act(on: hint) { break }
        }
    }

    /// Whether something was tried.
    private func act(on hint: FetchHint) async -> Bool {
        guard let reference = hint.cargo.flatMap({ CargoReference($0) }), let digest = hint.digest.flatMap({ Digest($0) }) else {
            logger.info(
                "requests wait for a model that this host could get",
                metadata: ["model": "\(printable(hint.model))", "waiting": "\(hint.waiting)"])
            return false
        }
        let now = ContinuousClock.now
        let isResting = refused.withLock { refused in
            refused.removeAll { now - $0.at > Fetching.restsFor }
            return refused.contains { $0.digest == digest }
        }
        guard !isResting else { return false }
        do {
            let store = store
            guard try await !blocking({ try store.entries().contains { $0.digest == digest } }) else { return false }
            logger.info(
                "fetching a model that requests wait for",
                metadata: ["cargo": "\(reference)", "digest": "\(digest)", "waiting": "\(hint.waiting)"])
            try await fetch(reference, digest)
            logger.info("fetched a model", metadata: ["cargo": "\(reference)"])
        } catch {
            if Task.isCancelled { return true }
            refused.withLock { refused in
                if refused.count >= Fetching.mostRefused { refused.removeFirst() }
                refused.append(Refused(digest: digest, at: now))
            }
            logger.notice("a model was not fetched", metadata: ["cargo": "\(reference)", "error": "\(error)"])
        }
        return true
    }

    private func fetch(_ reference: CargoReference, _ digest: Digest) async throws {
        let policy = VerificationPolicy.trusted(try TrustPolicy(contentsOf: trust))
        let (store, budget) = (store, budget)
        let exact = CargoReference(name: reference.name, selector: .digest(digest))
        let stored = try await session.call { [self] client in
            let registry = RegistryOrigin(RegistryClient(client, name: reference.name), reference: exact)
            let origin = BoundedOrigin(origin: registry, budget: budget) { [self] in try await makeRoom(for: $0) }
            return try await store.ingest(from: origin, digest: digest, as: reference, policy: policy)
        }
        try await blocking { [self] in try keep(fetched() + [stored.digest]) }
    }

    /// Removes what was fetched before and used the longest ago, until so many bytes more are within the budget.
    private func makeRoom(for bytes: Int64) async throws {
        try await blocking { [self] in
            let ours = Set(try fetched())
            let entries = try store.entries().filter { ours.contains($0.digest) }
            var left = entries.reduce(Int64(0)) { $0 + $1.size }
            var kept = Set(entries.map(\.digest))
            for entry in entries where left > budget - bytes && !entry.pinned && !entry.inUse {
                do { try store.remove(entry.digest) } catch is Refusal { continue }
                left -= entry.size
                kept.remove(entry.digest)
            }
            try keep(entries.map(\.digest).filter(kept.contains))
            guard left <= budget - bytes else {
                throw Refusal("fetch-budget", "it has no place beside the models fetched before that are in use (--fetch-budget)")
            }
        }
    }

    private func fetched() throws -> [Digest] {
        guard let bytes = try? File.contents(of: folder.appending(Fetching.list), limit: 1 << 20) else { return [] }
        return (try? JSONDecoder().decode([Digest].self, from: Data(bytes))) ?? []
    }

    private func keep(_ digests: [Digest]) throws {
        let folder = try Folder.open(folder, create: 0o700)
        try folder.writeDurably(Fetching.list, Array(try JSONEncoder().encode(digests)))
    }
}

/// A cargo's origin that gives no more bytes than a budget allows. The sizes are those of the signed manifest, and the
/// store takes not a byte more than they say.
struct BoundedOrigin<Origin: CargoOrigin>: CargoOrigin {
    let origin: Origin
    let budget: Int64
    /// Called before each layer with the bytes of all so far.
    let room: @Sendable (Int64) async throws -> Void
    private let taken = Taken()

    private final class Taken: Sendable {
        let bytes = Mutex<Int64>(0)
    }

    init(origin: Origin, budget: Int64, room: @escaping @Sendable (Int64) async throws -> Void) {
        self.origin = origin
        self.budget = budget
        self.room = room
    }

    func manifest() async throws -> [UInt8] { try await origin.manifest() }

    func signatureManifests(of root: Digest) async throws -> [[UInt8]] { try await origin.signatureManifests(of: root) }

    func blob(_ descriptor: Descriptor, into sink: (UnsafeRawBufferPointer) throws -> Void) async throws {
        try await take(descriptor.size)
        try await origin.blob(descriptor, into: sink)
    }

    func fetch(_ descriptor: Descriptor, chunks: ChunkSums?, into store: BlobStore) async throws -> Bool {
        try await take(descriptor.size)
        if try await origin.fetch(descriptor, chunks: chunks, into: store) { return true }
        // It is asked for once more, as bytes in order.
        taken.bytes.withLock { $0 -= descriptor.size }
        return false
    }

    private func take(_ size: Int64) async throws {
        let all = taken.bytes.withLock { bytes in
            bytes += max(0, size)
            return bytes
        }
        guard all <= budget else {
            throw Refusal("fetch-budget", "it is larger than the \(budget) bytes that this host fetches ahead (--fetch-budget)")
        }
        try await room(all)
    }
}
