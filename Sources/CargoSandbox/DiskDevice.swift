import Glibc
import SystemPackage

/// The disk under a folder, as cgroups name it: rates are kept for whole disks, never for partitions.
enum DiskDevice {
    /// `major:minor`, or nil where no single disk lies under it (a network file system, btrfs, an overlay, memory).
    static func name(under path: FilePath) -> String? {
        var status = stat()
        guard stat(path.string, &status) == 0 else { return nil }
        // makedev(3): the kernel's twelve and twenty bits, as glibc spreads them over sixty-four.
        let device = UInt64(status.st_dev)
        let major = (device >> 8) & 0xfff | (device >> 32) & 0xffff_f000
        let minor = device & 0xff | (device >> 12) & 0xffff_ff00
        guard major != 0 else { return nil }
        let folder = "/sys/dev/block/\(major):\(minor)"
        if access(folder + "/partition", F_OK) == 0 {
            return SmallFile.text(folder + "/../dev").map { String($0.prefix { $0 != "\n" }) }
        }
        return "\(major):\(minor)"
    }
}
