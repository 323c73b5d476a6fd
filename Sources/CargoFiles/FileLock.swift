internal import CLinux
internal import Glibc
internal import SystemPackage

/// Locks between processes (flock): they end with the last descriptor, so also when a process is killed.
public enum FileLock: Int32, Sendable {
    case shared = 1
    case exclusive = 2
}

extension File {
    /// Waits on the calling thread until the lock is held; call from `blocking`.
    public func lock(_ kind: FileLock) throws {
        try check(clinux_flock(descriptor.rawValue, kind.rawValue, 1), "lock", path.string)
    }

    /// False when another holder stands in the way.
    public func tryLock(_ kind: FileLock) throws -> Bool {
        if clinux_flock(descriptor.rawValue, kind.rawValue, 0) == 0 { return true }
        guard Glibc.errno == EWOULDBLOCK else { throw FileFailure("lock", path.string, Errno(rawValue: Glibc.errno)) }
        return false
    }

    public func unlock() throws {
        try check(clinux_flock(descriptor.rawValue, 0, 1), "unlock", path.string)
    }
}

extension Folder {
    /// Locks the folder itself; false when another holder stands in the way. Held until `unlock`, or as long as this `Folder` lives.
    public func tryLock(_ kind: FileLock) throws -> Bool {
        if clinux_flock(descriptor.rawValue, kind.rawValue, 0) == 0 { return true }
        guard Glibc.errno == EWOULDBLOCK else { throw FileFailure("lock", path.string, Errno(rawValue: Glibc.errno)) }
        return false
    }

    public func unlock() throws {
        try check(clinux_flock(descriptor.rawValue, 0, 1), "unlock", path.string)
    }
}
