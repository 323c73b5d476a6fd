import CargoQueue
import Foundation
import SystemPackage
import Testing

@testable import CargoCoordinator

#if canImport(Glibc)
    import Glibc
#endif

/// Which file systems a data folder may lie on (docs/rules.md 13).
@Suite struct DataFolderTests {
    @Test(arguments: ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.glusterfs", "fuse", "lustre"])
    func aNetworkFileSystemIsShared(_ type: String) { #expect(DataFolder.isShared(type)) }

    @Test(arguments: ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk"])
    func aLocalOneIsNot(_ type: String) { #expect(!DataFolder.isShared(type)) }

    /// Retention trusts the clock only while it runs as the machine's other clock does.
    @Test func whatAClockThatLeptCallsOldIsKeptForAnHour() {
        var watch = ClockWatch()
        func look(_ wall: Int64, _ uptime: Int64) -> Bool {
            watch.isSteady(wall: Timestamp(milliseconds: wall * 1000), uptime: Uptime(milliseconds: uptime * 1000))
        }
        #expect(look(10_000, 0) && look(10_060, 60))
        // A year forward, and from there on as it should run.
        #expect(!look(31_546_120, 120) && !look(31_546_180, 180) && !look(31_549_700, 3_700))
        #expect(look(31_549_760, 3_760))
        // And back.
        #expect(!look(14_000, 3_820) && look(17_700, 7_520))
    }

    /// A file system of a program, served by a few lines of Python over /dev/fuse: the same to us as another machine's.
    @Test(.enabled(if: FuseFolder.isPossible, "needs root and /dev/fuse"))
    func aFolderServedByAProgramIsRefused() throws {
        let folder = try FuseFolder()
        defer { folder.unmount() }
        #expect {
            _ = try DataFolder(folder.path)
        } throws: { error in
            "\(error)".contains("lies on fuse")
        }
    }
}

/// An empty folder that this process serves itself through /dev/fuse, far enough for it to be looked at.
final class FuseFolder: @unchecked Sendable {
    // @unchecked: set once by init; the serving thread only reads the descriptor.
    static let isPossible = geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0

    let path: FilePath
    private let device: FileDescriptor

    init() throws {
        var template = Array("/tmp/longshore-fuse-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Errno(rawValue: errno) }
        path = FilePath(String(cString: made))
        device = try FileDescriptor.open("/dev/fuse", .readWrite, options: [.closeOnExec])
        let options = "fd=\(device.rawValue),rootmode=40000,user_id=0,group_id=0"
        guard mount("longshore-test", path.string, "fuse", UInt(MS_NOSUID | MS_NODEV), options) == 0 else {
            throw Errno(rawValue: errno)
        }
        let device = device
        Thread.detachNewThread { FuseFolder.serve(device) }
    }

    func unmount() {
        _ = umount2(path.string, Int32(MNT_DETACH))
        try? device.close()
        _ = rmdir(path.string)
    }

    /// Answers INIT and GETATTR (linux/fuse.h, version 7.31), refuses the rest with ENOSYS.
    private static func serve(_ device: FileDescriptor) {
        var request = [UInt8](repeating: 0, count: 1 << 17)
        while let count = try? request.withUnsafeMutableBytes({ try device.read(into: $0) }), count >= 40 {
            func number(_ offset: Int, _ length: Int) -> UInt64 {
                (0..<length).reversed().reduce(0) { $0 << 8 | UInt64(request[offset + $1]) }
            }
            var body: [UInt8] = []
            var error: Int32 = 0
            func put(_ value: UInt64, _ length: Int) {
                for index in 0..<length { body.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * index))) }
            }
            switch number(4, 4) {
            case 26:  // INIT
                put(7, 4)
                put(31, 4)
                body += [UInt8](repeating: 0, count: 8 + 4)
                put(65536, 4)  // max_write
                body += [UInt8](repeating: 0, count: 40)
            case 3, 27:  // GETATTR, OPENDIR
                if number(4, 4) == 3 {
                    body += [UInt8](repeating: 0, count: 16)  // valid for no time
                    put(1, 8)  // the root's inode
                    body += [UInt8](repeating: 0, count: 8 * 5 + 4 * 3)
                    put(0o40700, 4)
                    put(2, 4)
                    body += [UInt8](repeating: 0, count: 4 * 5)
                } else {
                    body += [UInt8](repeating: 0, count: 16)
                }
            default: error = -ENOSYS
            }
            var answer: [UInt8] = []
            let payload = error == 0 ? body : []
            for (value, length) in [
                (UInt64(16 + payload.count), 4), (UInt64(UInt32(bitPattern: error)), 4), (number(8, 8), 8),
            ] {
                for index in 0..<length { answer.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * index))) }
            }
            _ = try? device.writeAll(answer + payload)
        }
    }
}
