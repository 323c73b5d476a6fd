import CargoArtifact
import Foundation
import NIOHTTP1
import SystemPackage
import Testing

@testable import CargoDocker

/// The hardening of a running container, as the kernel and the engine see it.
@Suite("Hardening of containers", .serialized, .timeLimit(.minutes(2)))
struct EscapeTests {
    @Test("The kernel shows every right given up", ContainerRunTests.available, arguments: ContainerRunTests.engines)
    func rights(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        let outcome = try await harness.run(
            "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; id -u; ls /proc/self/fd | wc -l; ls /sys/class/net; ls -l /dev | wc -l"
        )
        #expect(outcome.exitCode == 0)
        let said = harness.heard.output
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] { #expect(said.contains("\(set):\t0000000000000000")) }
        #expect(said.contains("NoNewPrivs:\t1") && said.contains("Seccomp:\t2"))
        #expect(said.contains("\n65534\n"))
        // 0, 1, 2 and the one that lists them.
        #expect(said.contains("\n4\nlo\n"))
    }

    /// What must fail inside; each is a command of its own.
    static let attempts = [
        "cat /proc/kcore | head -c 1 | grep -q .", "cat /proc/keys | grep -q .", "echo b >/proc/sysrq-trigger",
        "echo x >/proc/sys/kernel/core_pattern", "unshare -U true", "unshare -m true", "mount -t tmpfs x /tmp",
        "mknod /tmp/null c 1 3", "mkdir /x", "echo x >/.longshore/init", "chroot / true", "kill -9 1 && ! kill -0 1",
        "ls /.longshore/control", "test -S /var/run/docker.sock", "env | grep -qi token",
        "dd if=/dev/zero of=/tmp/big bs=1M count=20", "dd if=/dev/zero of=/dev/shm/big bs=1M count=20",
        "wget -q -T 1 http://169.254.169.254/", "nsenter -t 1 -m true", "dmesg | grep -q .", "su -c true",
    ]
    /// What nothing forbids: the control, without which all could fail for another reason.
    static let controls = ["mkdir /tmp/x", "test -d /proc/1", "dd if=/dev/zero of=/tmp/small bs=1M count=8 && rm /tmp/small"]

    @Test("Attempts at the host fail, where others succeed", ContainerRunTests.available, arguments: ContainerRunTests.engines)
    func attempts(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        let all = EscapeTests.controls + EscapeTests.attempts
        let script = all.map { "if ( \($0) ) >/dev/null 2>&1; then echo open; else echo shut; fi\n" }.joined()
        let outcome = try await harness.run(script) { $0.timeout = 60 }
        #expect(outcome.exitCode == 0)
        let verdicts = harness.heard.output.split(separator: "\n")
        #expect(verdicts.count == all.count)
        for (attempt, verdict) in zip(all, verdicts) {
            #expect(verdict == (EscapeTests.controls.contains(attempt) ? "open" : "shut"), "\(attempt)")
        }
    }

    @Test(
        "The engine's own record of a running container shows the hardening", ContainerRunTests.available,
        arguments: ContainerRunTests.engines)
    func record(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        let job = try harness.job(["sh", "-c", "echo on; sleep 1000"])
        let running = try await harness.start(job)
        let listed = try await harness.engine.containers(labels: [ContainerLabel.job + "=job-1"])
        let id = try #require(listed.first?.id)
        let response = try await harness.engine.answer(.GET, "/containers/\(id)/json", operation: "inspect")
        let bytes = try await harness.engine.bytes(of: response, operation: "inspect")
        guard case .object(let whole) = try StrictJSON.parse(bytes, limit: 1 << 20), case .object(let host)? = whole["HostConfig"]
        else {
            Issue.record("no object")
            return
        }
        #expect(host["ReadonlyRootfs"] == .bool(true))
        #expect(host["Privileged"] == .bool(false))
        #expect(host["NetworkMode"] == .string("none"))
        #expect(host["PidsLimit"] == .integer(65))
        #expect(host["Memory"] == .integer(64 << 20))
        #expect(host["MemorySwap"] == .integer(64 << 20))
        #expect(host["NanoCpus"] == .integer(1_000_000_000))
        if kind == .docker {
            #expect(host["CapDrop"] == .array([.string("ALL")]))
            #expect(host["ShmSize"] == .integer(16 << 20))
            guard case .array(let options)? = host["SecurityOpt"] else { return }
            #expect(options.contains(.string("no-new-privileges:true")))
        }
        running.cancel()
        _ = try await running.value
    }
}
