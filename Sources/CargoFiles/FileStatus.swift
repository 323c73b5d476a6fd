internal import CLinux
internal import SystemPackage

/// What of a file's metadata says whether it is still the file that was checked.
public struct FileStatus: Hashable, Sendable {
    public enum Kind: Hashable, Sendable { case regular, folder, symbolicLink, other }

    public let device: UInt64
    public let inode: UInt64
    public let size: Int64
    /// Bytes that hold data on disk; less than `size` for a file with holes.
    public let allocated: Int64
    /// Nanoseconds since 1970.
    public let modified: Int64
    /// Nanoseconds since 1970.
    public let changed: Int64
    /// Permission bits, with set-id and sticky bits.
    public let permissions: UInt32
    public let links: UInt32
    public let owner: UInt32
    public let kind: Kind

    init(_ raw: clinux_status) {
        device = raw.device
        inode = raw.inode
        size = raw.size
        allocated = raw.allocated
        modified = raw.modified
        changed = raw.changed
        permissions = raw.mode & 0o7777
        links = raw.links
        owner = raw.owner
        kind =
            switch raw.mode & 0o170000 {
            case 0o100000: .regular
            case 0o040000: .folder
            case 0o120000: .symbolicLink
            default: .other
            }
    }

    public var isExecutable: Bool { permissions & 0o100 != 0 }

    /// A line that differs when the file was changed, replaced or moved to another disk.
    public var fingerprint: String { "\(device) \(inode) \(size) \(modified) \(changed)" }
}
