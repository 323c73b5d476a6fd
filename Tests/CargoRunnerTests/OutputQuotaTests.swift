import CargoFiles
import CargoSandbox
import Glibc
import SystemPackage
import Testing

@testable import CargoRunner

/// A small ext4 file system in a file, mounted with or without project quotas.
private final class SmallDisk {
    let path: FilePath
    private let image: String

    /// Nil where this host cannot mount one.
    init?(quotas: Bool) {
        var template = Array("/tmp/longshore-disk-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { return nil }
        path = FilePath(String(cString: made))
        image = path.string + ".img"
        let features = quotas ? "-O quota,project -E quotatype=prjquota" : ""
        let options = quotas ? "loop,prjquota" : "loop"
        let script =
            "truncate -s 64M \(image) && mkfs.ext4 -q \(features) \(image) && mount -o \(options) \(image) \(path)"
        guard system("(\(script)) >/dev/null 2>&1") == 0 else {
            _ = system("rmdir \(path); rm -f \(image)")
            return nil
        }
    }

    deinit { _ = system("umount \(path); rmdir \(path); rm -f \(image)") }

    static let hasQuotas = geteuid() == 0 && SmallDisk(quotas: true) != nil
    static let isPossible = geteuid() == 0 && SmallDisk(quotas: false) != nil
}

@Suite struct OutputQuotaTests {
    /// What a job that writes 8 MiB, and then makes 3,000 files, is told.
    private func write(into disk: SmallDisk, bounded: Bool) async throws -> String {
        let sandbox = try Sandbox()
        let user = try sandbox.reserveUser()
        let folder = try Folder.open(disk.path.appending("output"), create: 0o700)
        let enforced = OutputQuota.limit(folder, user: user, bytes: 1 << 20, entries: 1000)
        #expect(enforced == bounded)
        defer { OutputQuota.lift(folder, user: user) }
        #expect(fchown(folder.descriptor.rawValue, user.id, user.id) == 0)
        let script = """
            import os
            def told(what):
                try: what(); return 'done'
                except OSError as error: return str(error.errno)
            def big():
                with open('/job/output/x', 'wb', 0) as file:
                    for _ in range(128): file.write(bytes(65536))
            def many():
                os.mkdir('/job/output/many')
                for number in range(3000): open(f'/job/output/many/{number}', 'w').close()
            print(told(big), told(many))
            """
        var spec = SandboxSpec(command: ["/usr/bin/python3", "-c", script])
        spec.limits = .init(memory: 256 << 20, processes: 16)
        spec.shares = [.init(source: folder.path, target: "/job/output", isFolder: true, isWritable: true)]
        let process = try await sandbox.launch(spec, as: user)
        async let ending = process.wait(timeout: 30, grace: 0)
        var text: [UInt8] = []
        while let piece = try await process.nextOutput() { text += piece.bytes }
        _ = try await ending
        return String(decoding: text, as: UTF8.self)
    }

    @Test(.enabled(if: SmallDisk.hasQuotas, "needs root, loop devices and a kernel with ext4's project quotas"))
    func `bytes and files past the bound are refused by the file system itself`() async throws {
        let disk = try #require(SmallDisk(quotas: true))
        #expect(try await write(into: disk, bounded: true) == "\(EDQUOT) \(EDQUOT)\n")
        // The number is free again: the next job of the same user id has its own bound.
        #expect(try await write(into: try #require(SmallDisk(quotas: true)), bounded: true) == "\(EDQUOT) \(EDQUOT)\n")
    }

    @Test(.enabled(if: SmallDisk.isPossible, "needs root, loop devices and mkfs.ext4"))
    func `without project quotas the same writes succeed, and looking is what bounds them`() async throws {
        let disk = try #require(SmallDisk(quotas: false))
        #expect(try await write(into: disk, bounded: false) == "done done\n")
    }

    @Test func `looks come closer as an output fills, and never take more than their share`() {
        #expect(OutputWatch.pause(left: 1 << 30, looked: 0) == 0.5)
        #expect(OutputWatch.pause(left: 1 << 29, looked: 0) == 0.25)
        #expect(OutputWatch.pause(left: 1 << 20, looked: 0.001) == 0.05)
        #expect(OutputWatch.pause(left: -5, looked: 0.01) == 0.2)
        #expect(OutputWatch.pause(left: 1 << 40, looked: 9) == 0.5)
    }
}
