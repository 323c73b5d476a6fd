import Foundation
import TestStage
import Testing

/// Using up the machine: each attempt reaches its goal in a loose namespace and stops at the job's bound in a job.
@Suite(.enabled(if: Machine.isRoot, "the loose namespaces and the change of user need root"), .serialized)
struct ExhaustionTests {
    static let mebibyte = 1 << 20

    /// The job's bounds in all tests of this suite.
    private static let yaml = """
        resources: {memory: 64MiB, disk: 16MiB, pids: 32, time: 1m}
        outputs: {max-bytes: 8MiB, max-files: 100}
        """

    private func run(_ caller: Caller, _ words: [String], options: [String] = []) async throws -> Run {
        let program = try await AttackProgram.ready()
        let place = try Confinement(caller)
        let archive = try await program.cargo("exhaust", in: place.stage, yaml: Self.yaml)
        let run = try await place.run(archive, options: options, words: ["exhaust"] + words)
        #expect(place.leftovers == [], "\(run.story)")
        return run
    }

    /// In namespaces of its own with nothing bounded; what was written lies in that namespace's own folders.
    private func loose(_ words: [String]) async throws -> String {
        let program = try await AttackProgram.ready()
        let script = "mount -t tmpfs loose /tmp; exec 2>&1; ulimit -n $(ulimit -Hn); exec \"$@\""
        let line =
            ["/usr/bin/unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--ipc", "sh", "-c", script, "sh"]
            + ["/proc/self/fd/8", "exhaust"] + words
        let outer = ["/bin/sh", "-c", "exec 8<\"$0\"; exec \"$@\"", program.stage.path("attempts")] + line
        return try await program.stage.start(outer).finish().orFail("the loose control").text
    }

    @Test(arguments: [
        ["forks", "1000"], ["threads", "1000"], ["memory", "\(256 * mebibyte)"], ["memfd", "\(256 * mebibyte)"],
        ["sockets", "\(8 * mebibyte)"], ["descriptors", "5000"], ["file", "\(64 * mebibyte)", "/tmp/big"],
        ["files", "5000", "/tmp"], ["sparse", "\(1 << 38)", "/tmp/sparse"],
    ])
    func `in a loose namespace nothing stops`(words: [String]) async throws {
        #expect(try await loose(words).hasPrefix("succeeded"))
    }

    @Test(arguments: Caller.allCases, ["forks", "threads"])
    func `processes and threads end at the pids limit`(caller: Caller, what: String) async throws {
        let run = try await run(caller, [what, "1000"])
        #expect(run.text.hasPrefix("denied: EAGAIN after "), "\(run.story)")
        let reached = run.text.split(separator: " ").compactMap { Int($0) }.first ?? -1
        #expect((1...32).contains(reached), "\(run.story)")
    }

    @Test func `a job that outgrows its memory is killed and its outcome says why`() async throws {
        let run = try await run(.root, ["memory", "\(256 * Self.mebibyte)"])
        #expect(run.outcome?["oom_killed"]?.int == 1, "\(run.story)")
        #expect(run.outcome?["exit_code"]?.isNull == true && run.outcome?["signal"]?.int == 9, "\(run.story)")
        #expect(run.code == 137, "\(run.story)")
        #expect((run.outcome?["max_rss_bytes"]?.int ?? 0) <= 72 * Self.mebibyte, "\(run.story)")
    }

    /// Each ends at the limit of one file, of the folder, or of the job's memory, whichever comes first.
    @Test(arguments: [["memfd"], ["sockets"], ["file", "/dev/shm/big"]])
    func `memory that hides in files and sockets is bounded too`(words: [String]) async throws {
        let run = try await run(.root, [words[0], "\(256 * Self.mebibyte)"] + words.dropFirst())
        #expect(!run.text.hasPrefix("succeeded"), "\(run.story)")
        #expect(run.text.hasPrefix("denied") || run.outcome?["oom_killed"]?.int == 1, "\(run.story)")
    }

    @Test func `a job killed by a signal of its own is not called out of memory`() async throws {
        let program = try await AttackProgram.ready()
        let place = try Confinement(.root)
        let source = try place.stage.cargo("test/killed", script: "kill -9 $$\n", yaml: Self.yaml)
        try await place.stage.run("longshore", "pack", source, "-o", place.stage.path("k.cargo")).orFail("pack")
        let run = try await place.run(place.stage.path("k.cargo"))
        #expect(run.code == 137 && run.outcome?["oom_killed"]?.int == 0, "\(run.story)")
        _ = program
    }

    @Test(arguments: Caller.allCases) func `descriptors end inside`(caller: Caller) async throws {
        let run = try await run(caller, ["descriptors", "1000000"])
        #expect(run.text.hasPrefix("denied: EMFILE"), "\(run.story)")
    }

    @Test(arguments: Caller.allCases, ["/tmp/big", "/dev/shm/big"])
    func `temporary folders are bounded`(caller: Caller, path: String) async throws {
        let run = try await run(caller, ["file", "\(2048 * Self.mebibyte)", path])
        let bounded =
            run.text.hasPrefix("denied: ENOSPC") || run.text.hasPrefix("denied: EFBIG") || run.outcome?["oom_killed"]?.int == 1
        #expect(bounded, "\(run.story)")
    }

    @Test(arguments: Caller.allCases) func `empty files in the temporary folder are bounded`(caller: Caller) async throws {
        let run = try await run(caller, ["files", "2000000", "/tmp"])
        #expect(run.text.hasPrefix("denied: ENOSPC") || run.outcome?["oom_killed"]?.int == 1, "\(run.story)")
    }

    @Test(arguments: Caller.allCases) func `an output folder that is filled fails the job with that reason`(caller: Caller)
        async throws
    {
        let run = try await run(caller, ["file", "\(64 * Self.mebibyte)", "/job/output/big"])
        #expect(run.code != 0, "\(run.story)")
        #expect(run.everythingTold.contains("output"), "\(run.story)")
        #expect(run.outcome?["outputs"]?.array.isEmpty ?? true, "\(run.story)")
    }

    @Test(arguments: Caller.allCases) func `an output larger than its bound in many files fails too`(caller: Caller) async throws
    {
        let run = try await run(caller, ["files", "10000", "/job/output"])
        #expect(run.code != 0, "\(run.story)")
        #expect(run.everythingTold.contains("output"), "\(run.story)")
    }

    @Test(arguments: Caller.allCases) func `a sparse file of eight tebibytes is no output`(caller: Caller) async throws {
        let run = try await run(caller, ["sparse", "\(8 << 40)", "/job/output/sparse"])
        #expect(run.text.hasPrefix("denied: EFBIG") || run.code != 0, "\(run.story)")
        // What was opened before the refusal is there, and empty.
        #expect((run.outcome?["outputs"]?.array ?? []).allSatisfy { $0["size"]?.int == 0 }, "\(run.story)")
    }

    @Test(arguments: Caller.allCases) func `a tower of folders is collected or refused and removed`(caller: Caller)
        async throws
    {
        let begin = ContinuousClock.now
        let run = try await run(caller, ["deep", "300", "/job/output"])
        #expect(run.outcome != nil, "\(run.story)")
        #expect(ContinuousClock.now - begin < .seconds(60))
    }

    @Test func `an endless log is bounded, marked, and the job still ends at its time`() async throws {
        let program = try await AttackProgram.ready()
        let place = try Confinement(.root)
        let archive = try await program.cargo("flood", in: place.stage, yaml: "resources: {memory: 64MiB, pids: 8, time: 3s}")
        let running = try place.start(archive, options: ["--json"], words: ["exhaust", "log-flood"])
        var peak = 0
        _ = await eventually(within: 60) {
            peak = max(peak, Machine.peakMemory(of: running.pid))
            return !running.isRunning
        }
        let finished = await running.finish()
        let run = Run(finished)
        #expect(run.code == 124 || run.outcome?["log_truncated"]?.int == 1, "\(run.code) \(finished.stderr.prefix(500))")
        #expect(finished.stdout.count < 1 << 30)
        #expect(peak > 0 && peak < 64 * Self.mebibyte, "the supervisor held \(peak) bytes")
    }

    @Test func `a line of many mebibytes without an end arrives whole, split and marked`() async throws {
        let run = try await run(.root, ["long-line", "\(8 * Self.mebibyte)"])
        #expect(run.code == 0, "\(run.story)")
        let mark = " [line split]\n"
        #expect(run.text.utf8.count == 8 * Self.mebibyte + mark.utf8.count)
        #expect(run.text.split(separator: "\n").map(\.utf8.count).max() == 4 * Self.mebibyte + mark.utf8.count - 1)
        #expect(run.outcome?["log_lines_split"]?.int == 1)
    }
}
