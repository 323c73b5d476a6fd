import CargoQueue
import CargoWire
import FoundationEssentials
import Synchronization
import SystemPackage
import TestStage

#if canImport(Glibc)
    import Glibc
#endif

/// Clocks that a test moves itself.
final class ManualClocks: Sendable {
    private let time = Mutex((wall: Int64(1_800_000_000_000), uptime: Int64(1_000_000)))

    var clocks: Clocks {
        Clocks(
            wall: { [self] in Timestamp(milliseconds: time.withLock { $0.wall }) },
            uptime: { [self] in Uptime(milliseconds: time.withLock { $0.uptime }) })
    }

    /// Moves both by whole seconds, in steps that the reaper takes for an ordinary pause.
    func advance(seconds: Int, of store: any JobStore) async throws {
        for _ in 0..<seconds * 2 {
            time.withLock { $0 = ($0.wall + 500, $0.uptime + 500) }
            try await store.tick()
        }
    }

    /// Time passes and nobody looks: the process was stopped.
    func stall(seconds: Int64) { time.withLock { $0 = ($0.wall + seconds * 1000, $0.uptime + seconds * 1000) } }

    func setWall(forwardBy seconds: Int64) { time.withLock { $0.wall += seconds * 1000 } }
}

/// A folder that goes with the test.
final class TemporaryFolder: Sendable {
    let path: FilePath

    init() throws {
        var template = Array("/tmp/longshore-queue-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Errno(rawValue: errno) }
        path = FilePath(String(cString: made))
    }

    deinit { try? FileManager.default.removeItem(atPath: path.string) }
}

/// The stores that the conformance suite runs on; PostgreSQL where its programs are installed.
enum StoreKind: String, CaseIterable, Sendable {
    case sqlite, postgres

    static var allCases: [StoreKind] { PostgresCluster.programs == nil ? [.sqlite] : [.sqlite, .postgres] }
}

/// One opened store with clocks that stand still, and what its hooks said.
final class StoreBench: Sendable {
    let kind: StoreKind
    let clocks = ManualClocks()
    let folder: TemporaryFolder
    let ready = Mutex(0)
    let sealed = Mutex<[JobID]>([])
    /// Of PostgreSQL: this bench's own database.
    private let url: String
    private let opened: Mutex<(any JobStore & AccountStore)?> = Mutex(nil)

    init(_ kind: StoreKind) async throws {
        self.kind = kind
        folder = try TemporaryFolder()
        url = kind == .postgres ? try PostgresCluster.shared.get().database() : ""
        try await open()
    }

    deinit { opened.withLock { $0 }?.close() }

    var store: any JobStore & AccountStore {
        guard let store = opened.withLock({ $0 }) else { fatalError("the store is open from init on") }
        return store
    }

    func open(_ change: (inout StoreSettings) -> Void = { _ in }) async throws {
        var settings = StoreSettings()
        settings.clocks = clocks.clocks
        settings.random = { 0.5 }
        change(&settings)
        var hooks = StoreHooks()
        hooks.onReady = { [weak self] _ in self?.ready.withLock { $0 += 1 } }
        hooks.onLeaseEnding = { [weak self] id, _ in self?.sealed.withLock { $0.append(id) } }
        switch kind {
        case .sqlite:
            let store = try SQLiteJobStore(path: folder.path.appending("jobs.sqlite").string, settings: settings, hooks: hooks)
            opened.withLock { $0 = store }
        case .postgres:
            let store = try PostgresJobStore(url: url, settings: settings, hooks: hooks)
            opened.withLock { $0 = store }
        }
    }

    /// Closes and opens again: a restart of the coordinator.
    func restart(_ change: (inout StoreSettings) -> Void = { _ in }) async throws {
        store.close()
        try await open(change)
    }

    /// A small job of an account.
    func submit(
        account: Int64 = 1, id: JobID? = nil, priority: Int = 50, attempts: Int = 1, tier: Int = 1, key: String? = nil,
        body: String = "{}"
    ) async throws -> Submission {
        try await store.submit(
            NewJob(
                id: id, account: account, tier: tier, priority: priority, maxAttempts: attempts, cargo: "acme/x:1.0.0",
                digest: "sha256:00", requirement: Requirement(kind: "process", tier: tier), spec: Data(#"{"tier":1}"#.utf8),
                metadata: nil, files: [:], retention: nil,
                idempotency: key.map { NewJob.Idempotency(operation: "submit", key: $0, bodyDigest: Data(body.utf8)) }))
    }

    func claim(_ host: String = "host-a", claimID: String? = nil, maxTier: Int = 4) async throws -> GrantedClaim? {
        var capabilities = HostCapabilities(kinds: ["process"])
        capabilities.maxContextTier = maxTier
        return try await store.claim(ClaimAsk(host: host, capabilities: capabilities, claimID: claimID))
    }

    func complete(_ claim: GrantedClaim, exitCode: Int = 0, outputs: [OutputFile] = []) async throws -> JobRecord {
        try await store.report(
            claim.job.key.id, claim.lease, .finished(ExitReport(exitCode: exitCode), error: nil), AttemptEnd(outputs: outputs))
    }

    func status(_ key: JobKey) async throws -> JobStatus { try await store.job(key).0.state.status }
}
