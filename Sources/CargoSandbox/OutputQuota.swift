import CLinux
public import CargoFiles
import SystemPackage

/// The file system's own bound on what a job writes to its output, where it has project quotas (ext4 and XFS, mounted
/// with `prjquota`): between two looks of whoever counts, a job can then write this much and no more.
///
/// The project's number is the job's user id on this host, which one running job has. Needs root.
public enum OutputQuota {
    /// What folders take beside the bytes of files, and what tells a full output from one that is over its bound.
    private static let slack: Int64 = 1 << 20

    /// Whether the folder's file system now enforces the bounds. Nothing was changed if not.
    public static func limit(_ folder: Folder, user: JobUser, bytes: Int64, entries: Int) -> Bool {
        guard user.isSeparate else { return false }
        let fd = folder.descriptor.rawValue
        let (most, _) = bytes.addingReportingOverflow(slack)
        guard most > 0, clinux_quota_limit(fd, user.id, UInt64(most), UInt64(max(0, entries)) + 100) == 0 else { return false }
        guard clinux_quota_join(fd, user.id) == 0 else {
            lift(folder, user: user)
            return false
        }
        return true
    }

    /// Lets the number go: the next job of this user id sets its own.
    public static func lift(_ folder: Folder, user: JobUser) {
        guard user.isSeparate else { return }
        _ = clinux_quota_limit(folder.descriptor.rawValue, user.id, 0, 0)
    }
}
