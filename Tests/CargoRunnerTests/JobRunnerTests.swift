import CargoArtifact
import CargoSandbox
import Glibc
import SystemPackage
import Testing

@testable import CargoRunner

@Suite struct JobRunnerTests {
    @Test(arguments: [0, 3, 255]) func exitCodesComeThrough(code: Int) async throws {
        let result = try await RunBench().shell("exit \(code)")
        #expect(result.outcome.exitCode == code)
    }

    @Test func aKilledJobNamesItsSignal() async throws {
        let outcome = try await RunBench().shell("kill -9 $$").outcome
        #expect(outcome.exitCode == nil)
        #expect(outcome.signal == 9)
        #expect(!outcome.oomKilled && !outcome.timedOut)
    }

    @Test func aJobThatTakesTooLongIsStopped() async throws {
        let bench = try RunBench()
        let result = try await bench.run(bench.cargo(["sleep", "60"])) { $0.limits.time = Seconds(0.2) }
        #expect(result.outcome.timedOut)
        #expect(result.outcome.exitCode == nil)
    }

    @Test func nothingOfTheHostsEnvironmentIsInside() async throws {
        setenv("LONGSHORE_TEST_SECRET", "secret", 1)
        let result = try await RunBench().shell("env | sort") { $0.env = ["GREETING": "hello"] }
        let names = result.standardOutput.split(separator: "\n").compactMap { $0.split(separator: "=").first.map(String.init) }
        let expected: Set = [
            "CARGO_INPUT", "CARGO_JOB_ID", "CARGO_NAME", "CARGO_OUTPUT", "CARGO_PARAMS", "CARGO_SOCKET", "CARGO_VERSION",
            "GREETING",
            "HOME", "PATH", "TMPDIR",
        ]
        // The shell itself adds PWD and the like.
        #expect(Set(names).subtracting(["PWD", "OLDPWD", "SHLVL", "_"]) == expected)
    }

    @Test func onlyTheThreeStreamsAreOpen() async throws {
        let bench = try RunBench()
        let result = try await bench.run(bench.cargo(["ls", "/proc/self/fd"]))
        // 3 is the folder that ls itself reads.
        #expect(result.standardOutput == "0\n1\n2\n3\n")
    }

    @Test func nothingButOutputAndTemporaryFoldersCanBeWritten() async throws {
        let script = """
            for d in / /cargo /job /job/input /job/output /job/run /tmp /dev /dev/shm /etc /usr /usr/bin /proc /proc/sys /var /home; do
              if touch $d/probe 2>/dev/null; then echo $d; fi
            done
            """
        let result = try await RunBench().shell(script)
        #expect(result.standardOutput == "/job/output\n/tmp\n/dev/shm\n")
    }

    @Test func thereIsNoNetwork() async throws {
        let result = try await RunBench().shell(
            "cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' '; cat /proc/net/route | tail -n +2")
        #expect(result.standardOutput == "lo\n")
    }

    @Test func outputsComeWithSizeAndDigest() async throws {
        let bench = try RunBench()
        let result = try await bench.run(
            bench.cargo([
                "/bin/sh", "-c", "mkdir a; cd /job/output; mkdir -p deep/er; printf hello > deep/er/x; printf '' > empty",
            ]))
        #expect(result.outcome.outputs.map(\.path) == ["deep/er/x", "empty"])
        #expect(result.outcome.outputs.map(\.size) == [5, 0])
        #expect(result.outcome.outputs.first?.digest == Digest(of: Array("hello".utf8)))
        #expect(try String(decoding: contents(bench.root.appending("out/deep/er/x")), as: UTF8.self) == "hello")
    }

    @Test func linksFifosAndDevicesAreNeverFollowed() async throws {
        let bench = try RunBench()
        let result = try await bench.run(
            bench.cargo([
                "/usr/bin/python3", "-c",
                "import os\nos.chdir('/job/output')\nos.symlink('/etc/passwd','link')\nos.symlink('/','folder')\nopen('real','w').write('x')\nos.link('real','again')\nimport socket\ns=socket.socket(socket.AF_UNIX);s.bind('sock')",
            ]))
        #expect(result.standardError == "")
        #expect(result.outcome.outputs.map(\.path) == ["again", "real"])
        #expect(result.outcome.skipped == ["folder", "link", "sock"])
    }

    @Test func inputsAndParametersAreReadable() async throws {
        let bench = try RunBench()
        let secret = bench.root.appending("in.txt")
        let file = try FileDescriptor.open(secret, .writeOnly, options: [.create], permissions: [.ownerReadWrite])
        _ = try file.closeAfter { try file.writeAll("from the host".utf8) }
        let result = try await bench.run(
            bench.cargo(
                ["/bin/sh", "-c", "cat /job/input/a/b.txt; cat /job/params.json; pwd; cat main"], files: ["main": "code"])
        ) {
            $0.inputs = [.init(name: "a/b.txt", path: secret)]
            $0.parameters = ["n": .integer(3)]
        }
        #expect(result.standardOutput == "from the host{\"n\":3}/cargo\ncode")
    }

    @Test(.enabled(if: geteuid() == 0, "jobs have a user of their own where root starts them"))
    func `a file of root alone is the job's own to read, without a copy and without a way to write it`() async throws {
        let bench = try RunBench()
        let secret = bench.root.appending("secret")
        let file = try FileDescriptor.open(secret, .writeOnly, options: [.create], permissions: [.ownerReadWrite])
        _ = try file.closeAfter { try file.writeAll("roots own".utf8) }
        let script = """
            cat /job/input/secret; stat -c ' %u %a %i' /job/input/secret
            chmod 666 /job/input/secret 2>/dev/null || echo still; (echo x >/job/input/secret) 2>/dev/null || echo read-only
            """
        let result = try await bench.run(bench.cargo(["/bin/sh", "-c", script])) {
            $0.inputs = [.init(name: "secret", path: secret)]
        }
        var status = stat()
        #expect(stat(secret.string, &status) == 0)
        #expect(result.standardOutput == "roots own 1000 600 \(status.st_ino)\nstill\nread-only\n", "\(result.standardError)")
        #expect(status.st_uid == 0 && status.st_mode & 0o777 == 0o600)
    }

    @Test(.enabled(if: geteuid() == 0, "jobs have a user of their own where root starts them"))
    func `the same file bound as it is stays closed to the job`() async throws {
        let bench = try RunBench()
        let secret = bench.root.appending("secret")
        let file = try FileDescriptor.open(secret, .writeOnly, options: [.create], permissions: [.ownerReadWrite])
        _ = try file.closeAfter { try file.writeAll("roots own".utf8) }
        let sandbox = try Sandbox()
        var spec = SandboxSpec(command: ["/bin/cat", "/secret"])
        spec.shares = [.init(source: secret, target: "/secret", isFolder: false)]
        let process = try await sandbox.launch(spec, as: sandbox.reserveUser())
        async let ending = process.wait(timeout: 10, grace: 0)
        while try await process.nextOutput() != nil {}
        #expect(try await ending.exitCode == 1)
    }

    @Test func aJobMaySetOnlyWhatTheManifestLists() async throws {
        let bench = try RunBench()
        let cargo = try bench.cargo(["/bin/sh", "-c", "echo $LEVEL"]) { $0.jobEnv = ["LEVEL", "LD_PRELOAD"] }
        let allowed = try await bench.run(cargo) { $0.environment = ["LEVEL": "3"] }
        #expect(allowed.standardOutput == "3\n")
        for name in ["OTHER", "LD_PRELOAD", "PATH", "CARGO_NAME", "NVIDIA_VISIBLE_DEVICES", "LLAMA_ARG_HOST"] {
            let refusal = await #expect(throws: Refusal.self) { try await bench.run(cargo) { $0.environment = [name: "x"] } }
            #expect(refusal?.rule == "job-env")
        }
    }

    @Test func aMemoryBombIsToldApartFromOtherKills() async throws {
        let bench = try RunBench()
        let result = try await bench.run(bench.cargo(["/usr/bin/python3", "-c", "x=bytearray(400<<20)"])) {
            $0.limits.memory = ByteCount(64 << 20)
        }
        #expect(result.outcome.oomKilled)
        #expect(result.outcome.signal == 9)
    }

    @Test func aLogPastItsBoundIsTruncatedAndSaysSo() async throws {
        let bench = try RunBench()
        let result = try await bench.run(bench.cargo(["/bin/sh", "-c", "head -c 300000 /dev/zero"])) {
            $0.logLimits.total = 100_000
        }
        #expect(result.outcome.logTruncated)
        #expect(result.outcome.logBytes == 100_000)
        #expect(result.outcome.logDigest == Digest(of: [UInt8](repeating: 0, count: 100_000)))
        #expect(result.outcome.exitCode == 0)
    }

    @Test func `a log faster than its rate makes the job wait, and says so`() async throws {
        let bench = try RunBench()
        let cargo = try bench.cargo(["/bin/sh", "-c", "head -c 1500000 /dev/zero"])
        let slow = try await bench.run(cargo) { $0.logLimits = LogLimits(rate: 1 << 20, burst: 65536) }
        #expect(slow.outcome.logBytes == 1_500_000 && slow.outcome.exitCode == 0)
        #expect(slow.outcome.logPausedSeconds > 0.5 && slow.outcome.wallSeconds > 0.5)
        let free = try await bench.run(cargo)
        #expect(free.outcome.logPausedSeconds == 0 && free.outcome.wallSeconds < slow.outcome.wallSeconds)
    }

    @Test func `a flood of log that is over its rate still ends at its time, at once`() async throws {
        let bench = try RunBench()
        let begin = ContinuousClock.now
        let result = try await bench.run(bench.cargo(["/bin/sh", "-c", "cat /dev/zero"])) {
            $0.limits.time = Seconds(1)
            $0.logLimits = LogLimits(total: 4096, rate: 1024, burst: 65536)
        }
        #expect(result.outcome.timedOut && result.outcome.logTruncated)
        #expect(ContinuousClock.now - begin < .seconds(4))
    }

    @Test(arguments: [false, true])
    func `processor time is summed over all processes, and told apart from wall time`(isLoose: Bool) async throws {
        let bench = try RunBench()
        let cargo = try bench.cargo(["/bin/sh", "-c", "for i in 1 2 3 4; do while :; do :; done & done; wait"])
        let result = try await bench.run(cargo) {
            $0.limits.time = Seconds(3)
            $0.grace = 0
            if !isLoose { $0.limits.cpuTime = Seconds(0.5) }
        }
        #expect(result.outcome.timedOut)
        #expect(result.outcome.exitCode == nil)
        if isLoose {
            #expect(result.outcome.limit == nil && result.outcome.wallSeconds > 2.9)
        } else {
            #expect(result.outcome.limit?.rule == "cpu_time_limit")
            #expect(result.outcome.cpuSeconds >= 0.5 && result.outcome.cpuSeconds < 2)
        }
    }

    @Test func `without a cgroup the kernel bounds each process's processor time`() async throws {
        let bench = try RunBench()
        let plan = try JobPlan(
            {
                var request = RunRequest(
                    cargo: try bench.cargo(["/bin/true"]), jobID: "0198c0de-0000-7000-8000-000000000000", output: bench.root)
                request.limits.cpuTime = Seconds(1.5)
                return request
            }())
        #expect(plan.cpuLimit(signal: 24, cpuSeconds: 1.6)?.rule == "cpu_time_limit")
        #expect(plan.cpuLimit(signal: 9, cpuSeconds: 1.6)?.rule == "cpu_time_limit")
        #expect(plan.cpuLimit(signal: 9, cpuSeconds: 0.2) == nil)
        #expect(plan.cpuLimit(signal: nil, cpuSeconds: 9) == nil)
    }

    @Test func tooMuchOutputIsTheJobsFailure() async throws {
        let bench = try RunBench()
        let result = try await bench.run(bench.cargo(["/bin/sh", "-c", "head -c 3000000 /dev/zero > /job/output/x"])) {
            $0.limits.disk = ByteCount(1 << 20)
        }
        #expect(result.outcome.limit?.rule == "output_limit")
    }

    @Test func aCommandThatIsNotThereIsNotFound() async throws {
        let bench = try RunBench()
        let failure = await #expect(throws: RunFailure.self) { try await bench.run(bench.cargo(["nowhere"])) }
        #expect(failure?.kind == .commandNotFound)
    }

    @Test func cancellingStopsTheJobAndStillTellsItsOutcome() async throws {
        let bench = try RunBench()
        let cargo = try bench.cargo(["sleep", "60"])
        let (stream, continuation) = AsyncStream<Void>.makeStream()
        let job = Task {
            var request = RunRequest(cargo: cargo, jobID: "x", output: bench.root.appending("out"))
            request.grace = 1
            return try await JobRunner(store: bench.store).run(request) { event in
                if case .started = event { continuation.yield() }
            }
        }
        for await _ in stream { break }
        job.cancel()
        let outcome = try await job.value
        #expect(outcome.signal == 15)
        #expect(!outcome.timedOut)
    }

    @Test func theParametersAreStandardInputOfAJSONLinesCargo() async throws {
        let bench = try RunBench()
        let result = try await bench.run(bench.cargo(["cat"]) { $0.interface = .stdioJSONL }) {
            $0.parameters = ["q": .string("hi")]
        }
        #expect(result.standardOutput == "{\"q\":\"hi\"}\n")
    }

    private func contents(_ path: FilePath) throws -> [UInt8] {
        let file = try FileDescriptor.open(path, .readOnly)
        return try file.closeAfter {
            try [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
                count = try file.read(into: UnsafeMutableRawBufferPointer(buffer))
            }
        }
    }
}

@Suite struct JobTracesTests {
    @Test func aTowerOfFoldersIsRemovedWithoutRecursion() async throws {
        let bench = try RunBench()
        let script = "import os\nos.chdir('/job/output')\nfor i in range(3000):\n os.mkdir('d');os.chdir('d')\nopen('x','w')"
        let result = try await bench.run(bench.cargo(["/usr/bin/python3", "-c", script]))
        #expect(result.outcome.exitCode == 0)
        #expect(result.outcome.limit?.rule == "output_limit")
        #expect(system("test -z \"$(ls \(bench.root)/store/work)\"") == 0)
    }

    @Test func fiftyJobsAtOnceAllEndRightAndLeaveNothing() async throws {
        let bench = try RunBench()
        let cargo = try bench.cargo(["/bin/sh", "-c", "echo $CARGO_JOB_ID > /job/output/id; cat /job/output/id"])
        try await withThrowingTaskGroup(of: (String, String).self) { group in
            for index in 0..<50 {
                group.addTask {
                    let result = try await bench.run(cargo) {
                        $0.jobID = "job-\(index)"
                        $0.output = bench.root.appending("out-\(index)")
                    }
                    return ("job-\(index)\n", result.standardOutput)
                }
            }
            for try await (expected, said) in group { #expect(expected == said) }
        }
        #expect(system("test -z \"$(ls \(bench.root)/store/work)\"") == 0)
    }
}
