import Synchronization
public import SystemPackage

#if canImport(Glibc)
    import Glibc
#endif

/// Keeps room for the state changes of jobs that were accepted: new jobs and uploads are refused before the disk is full
/// (RULES.md 15).
public final class DiskSpace: Sendable {
    private let path: FilePath
    private let known = Mutex<(isFull: Bool, at: ContinuousClock.Instant?)>((false, nil))

    /// Bytes that are kept free, at most; on small disks a twentieth.
    private static let reserve: UInt64 = 64 << 20

    public init(_ path: FilePath) { self.path = path }

    /// Whether only the reserve is left; looked up at most once a second.
    public var isFull: Bool {
        known.withLock { known in
            let now = ContinuousClock.now
            if let at = known.at, now - at < .seconds(1) { return known.isFull }
            var information = statvfs()
            guard path.withPlatformString({ statvfs($0, &information) }) == 0 else { return false }
            let block = UInt64(information.f_frsize)
            known.isFull = DiskSpace.isFull(
                free: UInt64(information.f_bavail) * block, total: UInt64(information.f_blocks) * block)
            known.at = now
            return known.isFull
        }
    }

    static func isFull(free: UInt64, total: UInt64) -> Bool { free < min(reserve, total / 20) }
}
