import Synchronization
public import SystemPackage

#if canImport(Glibc)
    import Glibc
#endif

/// Keeps room on the data folder's disk for the state changes of jobs that were accepted (docs/rules.md 15).
///
/// It is asked before each write, with what the writes under way will still take: what is new stops at the reserve,
/// outputs and logs of running jobs at half of it; heartbeats and ends are never asked.
public final class DiskSpace: Sendable {
    /// What bytes are for.
    public enum Purpose: Sendable {
        /// Jobs, uploads, pushes.
        case newWork
        /// Outputs and logs of jobs that were accepted.
        case runningWork
    }

    /// More than one checkpoint of the job store's log (16 MiB) and what some ten thousand ends write.
    public static let usualReserve: Int64 = 64 << 20
    /// What a job's rows and index entries take besides its body, and how often its body is written (log, then table).
    private static let perJob: Int64 = 8192
    private static let copies: Int64 = 2

    private let reserve: Int64
    private let free: @Sendable () -> Int64?
    private let underWay = Mutex<Int64>(0)

    /// - Parameter reserve: bytes that new work leaves free.
    public convenience init(_ path: FilePath, reserve: Int64 = DiskSpace.usualReserve) {
        self.init(reserve: reserve) {
            var information = statvfs()
            guard path.withPlatformString({ statvfs($0, &information) }) == 0 else { return nil }
            return Int64(clamping: UInt64(information.f_bavail) * UInt64(information.f_frsize))
        }
    }

    /// - Parameter free: what an ordinary user may still write; nil when nobody knows.
    init(reserve: Int64, free: @escaping @Sendable () -> Int64?) {
        self.reserve = reserve
        self.free = free
    }

    var freeBytes: Int64? { free() }

    /// Whether so many bytes more leave enough.
    func admits(_ bytes: Int64, _ purpose: Purpose) -> Bool {
        guard let free = free() else { return true }
        return DiskSpace.admits(bytes, purpose, free: free, underWay: underWay.withLock { $0 }, reserve: reserve)
    }

    static func admits(_ bytes: Int64, _ purpose: Purpose, free: Int64, underWay: Int64, reserve: Int64) -> Bool {
        free - underWay - bytes >= (purpose == .newWork ? reserve : reserve / 2)
    }

    /// Refuses with 507 where so many bytes more would not leave enough.
    func check(_ bytes: Int64, _ purpose: Purpose) throws {
        guard admits(bytes, purpose) else { throw GatewayError.diskFull }
    }

    /// Runs what writes a job with a body of so many bytes; others see them as taken until it returns.
    func submitting<Value>(_ bytes: Int, _ body: () async throws -> Value) async throws -> Value {
        try begin(bytes)
        defer { end(bytes) }
        return try await body()
    }

    /// The same in two halves: what begins must end, unless it throws.
    func begin(_ bytes: Int) throws {
        let needed = DiskSpace.needed(bytes)
        underWay.withLock { $0 += needed }
        do {
            try check(0, .newWork)
        } catch {
            end(bytes)
            throw error
        }
    }

    func end(_ bytes: Int) {
        let needed = DiskSpace.needed(bytes)
        underWay.withLock { $0 -= needed }
    }

    private static func needed(_ bytes: Int) -> Int64 { Int64(bytes) * copies + perJob }
}
