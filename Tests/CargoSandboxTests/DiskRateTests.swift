import Glibc
import SystemPackage
import Testing

@testable import CargoSandbox

@Suite struct DiskRateTests {
    private static var hasController: Bool {
        if case .legacy(let parents) = Bench.sandbox.layout { return parents["blkio"] != nil && geteuid() == 0 }
        return false
    }

    /// Seconds that a job takes to write 6 MiB past the page cache.
    private func seconds(rate: Int64?) async throws -> Double {
        var template = Array("/var/tmp/longshore-rate-XXXXXX".utf8CString)
        let folder = FilePath(String(cString: try #require(mkdtemp(&template))))
        defer { _ = system("rm -rf '\(folder)'") }
        let user = try Bench.sandbox.reserveUser()
        #expect(chown(folder.string, user.id, user.id) == 0)
        let result = try await Bench.run(
            ["/bin/dd", "if=/dev/zero", "of=/job/output/x", "bs=1M", "count=6", "oflag=direct", "status=none"], as: user
        ) {
            $0.shares = [.init(source: folder, target: "/job/output", isFolder: true, isWritable: true)]
            $0.limits.diskRate = rate.map { .init(bytes: $0, under: folder) }
        }
        #expect(result.ending.exitCode == 0, "\(result.standardError)")
        return result.ending.wallSeconds
    }

    @Test(.enabled(if: hasController, "needs root and the blkio controller"))
    func `a job writes no faster than its disk rate, and without one it does`() async throws {
        #expect(try await seconds(rate: 4 << 20) > 1)
        #expect(try await seconds(rate: nil) < 1)
    }

    @Test(.enabled(if: hasController, "needs root and the blkio controller"))
    func `a rate for what is on no disk is refused, unless its owner says otherwise`() async throws {
        let limit = SandboxSpec.Limits.DiskRate(bytes: 1 << 20, under: "/proc")
        let refusal = await #expect(throws: SandboxError.self) {
            try await Bench.run(["/bin/true"]) { $0.limits.diskRate = limit }
        }
        #expect(refusal?.code == .refused && refusal?.mechanism == "disk-rate")
        var spec = Bench.spec(["/bin/true"]) { $0.limits.diskRate = limit }
        spec.allowMissing = ["disk-rate"]
        #expect(Bench.sandbox.missing(for: spec) == ["disk-rate"])
        let process = try await Bench.sandbox.launch(spec, as: Bench.sandbox.reserveUser())
        async let ending = process.wait(timeout: 10, grace: 0)
        while try await process.nextOutput() != nil {}
        #expect(try await ending.exitCode == 0)
    }

    @Test func `a job weighs as much as the cores that it asked for`() {
        #expect(CgroupLayout.shares(cores: nil) == (1024, 100))
        #expect(CgroupLayout.shares(cores: 0.25) == (256, 25))
        #expect(CgroupLayout.shares(cores: 0) == (10, 1))
        #expect(CgroupLayout.shares(cores: 10_000) == (65536, 6400))
    }

    @Test(.enabled(if: geteuid() == 0, "needs cgroups"))
    func `the weight stands in the job's cgroup`() throws {
        var spec = SandboxSpec(command: [])
        spec.limits.cpu = 0.5
        let cgroup = try Bench.sandbox.cgroup(for: spec)
        defer { cgroup.remove() }
        guard let tasks = cgroup.joins.first(where: { $0.contains("/cpu/") || $0.contains("cpu,") }) else { return }
        let folder = FilePath(tasks).removingLastComponent().string
        #expect(SmallFile.text(folder + "/cpu.shares") == "512\n")
    }
}
