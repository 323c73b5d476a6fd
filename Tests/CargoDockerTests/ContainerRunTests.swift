import CargoArtifact
import CargoFiles
import Foundation
import Synchronization
import SystemPackage
import Testing

@testable import CargoDocker

/// Everything that a container can come to, on a real engine.
@Suite("Containers on a real engine", .serialized, .timeLimit(.minutes(2)))
struct ContainerRunTests {
    static let engines: [Engine.Kind] = (TestEngine.hasDocker ? [.docker] : []) + (TestEngine.hasPodman ? [.podman] : [])
    static let available = ConditionTrait.enabled(
        if: !engines.isEmpty, "needs root, busybox-static, and docker.io (scripts/setup installs them)")

    @Test("A command's exit code, its streams and its figures arrive", available, arguments: engines)
    func exitCode(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        let outcome = try await harness.run("echo out; echo err >&2; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 3")
        #expect(outcome.exitCode == 3)
        #expect(outcome.signal == nil && !outcome.oomKilled && outcome.stopped == nil)
        #expect(harness.heard.output == "out\n")
        #expect(String(decoding: harness.heard.stderr, as: UTF8.self) == "err\n")
        #expect(harness.heard.events.last == "started")
        #expect(outcome.cpuSeconds > 0 && outcome.maxRSSBytes > 0 && outcome.wallSeconds > 0)
        #expect(
            outcome.imageID == harness.image.config.digest.description || outcome.imageID.hasPrefix("sha256:") || kind == .podman)
        #expect(try await harness.engine.containers(labels: [ContainerLabel.agent]).isEmpty)
    }

    @Test("A killed command is told apart from one that exits with 137", available, arguments: engines)
    func signal(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        let killed = try await harness.run("kill -9 $$")
        #expect(killed.signal == 9 && killed.exitCode == nil && !killed.oomKilled)
        let exited = try await harness.run("exit 137")
        #expect(exited.exitCode == 137 && exited.signal == nil && !exited.oomKilled)
    }

    @Test("Memory beyond the limit ends as OOM-killed", available, arguments: engines)
    func outOfMemory(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        let outcome = try await harness.run("x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done")
        #expect(outcome.oomKilled)
        #expect(outcome.signal == 9)
        #expect(outcome.stopped == nil)
    }

    @Test("A timeout ends a command that ignores SIGTERM", available, arguments: engines)
    func timeout(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        let outcome = try await harness.run("trap '' TERM; echo on; while true; do sleep 1; done") { $0.timeout = 0.5 }
        #expect(outcome.timedOut && outcome.exitCode == nil)
        #expect(outcome.wallSeconds >= 0.5 && outcome.wallSeconds < 8)
        #expect(harness.heard.output == "on\n")
    }

    @Test("A cancelled run gets SIGTERM first and still has an outcome", available, arguments: engines)
    func cancel(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        var job = try harness.job(["sh", "-c", "trap 'echo bye; exit 7' TERM; echo ready; while true; do sleep 0.1; done"])
        job.grace = 10
        let running = try await harness.start(job)
        running.cancel()
        let outcome = try await running.value
        #expect(outcome.stopped == .cancelled && outcome.exitCode == 7)
        #expect(harness.heard.output.hasPrefix("ready\n") && harness.heard.output.contains("bye\n"))
        #expect(try await harness.engine.containers(labels: [ContainerLabel.agent]).isEmpty)
    }

    @Test("A command that the image lacks is said so", available, arguments: engines)
    func missingCommand(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        let missing = await #expect(throws: EngineError.self) { try await harness.run(try harness.job(["no-such-program"])) }
        #expect(missing?.code == .commandNotFound)
        let folder = await #expect(throws: EngineError.self) { try await harness.run(try harness.job(["/etc"])) }
        #expect(folder?.code == .commandNotExecutable)
        #expect(!harness.heard.events.contains("started"))
    }

    @Test("An image that nobody has is said so", available, arguments: engines)
    func missingImage(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        var job = try harness.job(["true"])
        // Nothing listens on port 1: the registry cannot be reached, which another host may do better.
        job.image = .named(try #require(ImageReference("127.0.0.1:1/acme/none:1")))
        let unreachable = await #expect(throws: EngineError.self) { try await harness.run(job) }
        #expect(unreachable?.code == .pullFailed || unreachable?.code == .failed)
        #expect(unreachable?.isTransient == true)
    }

    @Test("A large binary log arrives whole and in order", available, arguments: engines)
    func largeLog(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        let outcome = try await harness.run(
            "dd if=/dev/zero bs=65536 count=320 2>/dev/null | tr '\\000' '\\377'; printf '\\001end'")
        #expect(outcome.exitCode == 0)
        let out = harness.heard.stdout
        #expect(out.count == 320 * 65536 + 4)
        #expect(out.dropLast(4).allSatisfy { $0 == 0xFF })
        #expect(Array(out.suffix(4)) == [1] + Array("end".utf8))
    }

    @Test("Standard input reaches the command and ends", available, arguments: engines)
    func standardInput(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        let outcome = try await harness.run("cat; echo done") { $0.standardInput = Array("to the command\n".utf8) }
        #expect(outcome.exitCode == 0)
        #expect(harness.heard.output == "to the command\ndone\n")
    }

    @Test("A terminal's stream comes without frames", available, arguments: engines)
    func terminal(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        let outcome = try await harness.run("test -t 1 && echo a terminal") { $0.isTerminal = true }
        #expect(outcome.exitCode == 0)
        #expect(harness.heard.output == "a terminal\r\n")
    }

    @Test("Files that processes left running hold end with the command", available, arguments: engines)
    func daemons(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        let outcome = try await harness.run("(setsid sleep 1000 &) ; (setsid sleep 1000 >/dev/null 2>&1 &); echo over; exit 4")
        #expect(outcome.exitCode == 4)
        #expect(outcome.wallSeconds < 5)
    }

    @Test("A fork bomb meets the limit of processes", available, arguments: engines)
    func forkBomb(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        let outcome = try await harness.run("for i in $(seq 200); do sleep 30 & done; echo $?") {
            $0.timeout = 20
            $0.limits.processes = 16
        }
        #expect(outcome.exitCode != 0 || String(decoding: harness.heard.stderr, as: UTF8.self).contains("fork"))
    }

    @Test("What an image wishes is heeded where it is safe", available, arguments: engines)
    func wishes(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(
            kind,
            config: [
                "User": .string("1234:1234"),
                "Env": .array([.string("GREETING=ahoy"), .string("LD_PRELOAD=/x.so"), .string("PATH=/evil")]),
                "Cmd": .array([
                    .string("sh"), .string("-c"), .string("id -u; echo $GREETING $LD_PRELOAD; pwd; touch /data/x && echo kept"),
                ]),
                "WorkingDir": .string("/etc"), "Volumes": .object(["/data": .object([:])]),
            ])
        var job = try harness.job([])
        job.command = nil
        let outcome = try await harness.run(job)
        #expect(outcome.exitCode == 0)
        #expect(harness.heard.output == "1234\nahoy\n/etc\nkept\n")
    }

    @Test("Shares are read-only unless they are for output", available, arguments: engines)
    func shares(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        let output = harness.folder.appending("output")
        _ = try Folder.open(output, create: 0o755)
        try shell("chmod 777 \(output); echo given >\(harness.folder)/given; chmod 644 \(harness.folder)/given")
        let outcome = try await harness.run(
            "cat /job/input/given; echo made >/job/output/made; echo x >/job/input/given || echo no; echo x >/etc/x || echo no"
        ) {
            $0.shares = [
                ContainerShare(source: harness.folder.appending("given"), target: "/job/input/given"),
                ContainerShare(source: output, target: "/job/output", isWritable: true),
            ]
        }
        #expect(outcome.exitCode == 0)
        #expect(harness.heard.output == "given\nno\nno\n")
        #expect(try File.contents(of: output.appending("made"), limit: 100) == Array("made\n".utf8))
    }

    @Test("Output beyond its limit ends the job with that reason", available, arguments: engines)
    func outputLimit(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        let outcome = try await harness.run("sleep 60") { $0.isOverOutputLimit = { true } }
        #expect(outcome.stopped == .outputLimit)
    }

    @Test("A second run finds the image without loading it", available, arguments: engines)
    func cached(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(
            kind, config: ["Labels": .object(["run": .string("\(UInt64.random(in: .min ... .max))")])])
        _ = try await harness.run("true")
        #expect(harness.heard.events.first == "loading")
        harness.said.withLock { $0.events = [] }
        _ = try await harness.run("true")
        #expect(harness.heard.events == ["started"])
    }

    @Test("A container that its engine ends has no outcome of its command", available, arguments: engines)
    func interrupted(_ kind: Engine.Kind) async throws {
        for signal in ["TERM", "KILL"] {
            let harness = try await ContainerHarness(kind)
            let running = try await harness.start(try harness.job(["sh", "-c", "echo on; sleep 1000"]))
            let id = try #require(try await harness.engine.containers(labels: [ContainerLabel.job + "=job-1"]).first?.id)
            try await harness.engine.kill(id, signal: signal)
            let error = await #expect(throws: EngineError.self) { try await running.value }
            #expect(error?.code == .interrupted && error?.isTransient == true, "\(signal): \(String(describing: error))")
        }
        // The command's own signals are its outcome.
        let harness = try await ContainerHarness(kind)
        #expect(try await harness.run("kill -15 $$").signal == 15)
    }

    @Test("What an earlier life left is found by its agent and removed", available, arguments: engines)
    func leftovers(_ kind: Engine.Kind) async throws {
        let harness = try await ContainerHarness(kind)
        var job = try harness.job(["sh", "-c", "echo on; sleep 1000"])
        job.agent = "agent-dead"
        let running = try await harness.start(job)
        #expect(try await ContainerRunner.removeLeftovers(of: "agent-other", engine: harness.engine).isEmpty)
        #expect(try await ContainerRunner.removeLeftovers(of: "agent-dead", engine: harness.engine) == ["job-1"])
        // Whoever still waits for it is told that it was killed.
        let outcome = try? await running.value
        #expect(outcome == nil || outcome?.signal == 9 || outcome?.exitCode != 0)
        #expect(try await harness.engine.containers(labels: ["\(ContainerLabel.agent)=agent-dead"]).isEmpty)
    }
}
