import Foundation
import TestStage
import Testing

/// Jobs that will not end, and supervisors that end too early.
@Suite(.enabled(if: Machine.isRoot, "the loose namespaces and the change of user need root"))
struct StubbornTests {
    private static let yaml = "resources: {memory: 64MiB, disk: 16MiB, pids: 32, time: 1m}"

    /// A cargo whose processes carry the returned mark in their command lines.
    private func cargo(in place: Confinement, _ what: String) async throws -> (archive: String, mark: String) {
        let program = try await AttackProgram.ready()
        let archive = try await program.cargo("stubborn", in: place.stage, words: ["misbehave", what], yaml: Self.yaml)
        return (archive, "mark-\(UUID().uuidString)")
    }

    /// Until no process of the machine carries the mark; `cargo-run` itself does while it lives.
    private func gone(_ mark: String, within seconds: Double = 3) async -> Bool {
        await eventually(within: seconds) { Machine.processes(marked: mark).isEmpty }
    }

    /// All at once: each waits for its time and for the grace.
    @Test func `what will not end is gone after its time and the grace`() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for caller in Caller.allCases {
                for what in ["ignore-signals", "ignore-signals-in-many", "stop-self", "stop-group"] {
                    group.addTask { try await outlasts(what, caller) }
                }
            }
            try await group.waitForAll()
        }
    }

    private func outlasts(_ what: String, _ caller: Caller) async throws {
        let place = try Confinement(caller)
        let (archive, mark) = try await cargo(in: place, what)
        let begin = ContinuousClock.now
        let run = try await place.run(archive, options: ["--time", "1s"], words: [mark])
        #expect(run.code == 124 && run.outcome?["timed_out"]?.int == 1, "\(what), \(caller): \(run.story)")
        #expect(run.text == "up\n", "\(what), \(caller): \(run.story)")
        #expect(ContinuousClock.now - begin < .seconds(30))
        #expect(await gone(mark), "\(what), \(caller): \(Machine.processes(marked: mark))")
    }

    @Test(arguments: ["daemon", "daemon-holding-streams", "daemon-ignoring-signals"], Caller.allCases)
    func `a daemon does not outlive its job`(what: String, caller: Caller) async throws {
        let place = try Confinement(caller)
        let (archive, mark) = try await cargo(in: place, what)
        let begin = ContinuousClock.now
        let run = try await place.run(archive, words: [mark])
        #expect(run.code == 0, "\(run.story)")
        #expect(ContinuousClock.now - begin < .seconds(15))
        #expect(await gone(mark), "\(Machine.processes(marked: mark))")
    }

    @Test(arguments: ["daemon", "daemon-holding-streams", "daemon-ignoring-signals"])
    func `in a loose namespace the daemon stays`(what: String) async throws {
        let program = try await AttackProgram.ready()
        let script = "\"$@\" >/dev/null 2>&1 </dev/null; grep -lx attempts /proc/[0-9]*/comm"
        let line = [
            "/usr/bin/unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "sh",
            program.stage.path("attempts"), "misbehave", what,
        ]
        let finished = try await program.stage.start(line).finish()
        #expect(finished.code == 0 && finished.text.hasPrefix("/proc/"), "\(finished.text) \(finished.stderr)")
    }

    @Test(arguments: Caller.allCases) func `closing the standard streams hides nothing of the end`(caller: Caller) async throws {
        let place = try Confinement(caller)
        let (archive, mark) = try await cargo(in: place, "close-streams")
        let run = try await place.run(archive, words: [mark])
        #expect(run.code == 5, "\(run.story)")
    }

    @Test(arguments: Caller.allCases) func `signals at pid 1 end nothing but their sender's patience`(caller: Caller) async throws
    {
        let place = try Confinement(caller)
        let (archive, mark) = try await cargo(in: place, "signal-pid-1")
        let run = try await place.run(archive, words: [mark])
        #expect(run.code == 7, "\(run.story)")
    }

    @Test(arguments: Caller.allCases) func `orphans are reaped`(caller: Caller) async throws {
        let place = try Confinement(caller)
        let (archive, mark) = try await cargo(in: place, "orphans")
        let run = try await place.run(archive, words: ["300", mark])
        #expect(run.text.hasPrefix("denied"), "\(run.story)")
    }

    @Test(arguments: ["linger", "ignore-signals-in-many", "stop-group"], Caller.allCases)
    func `nothing of a job survives a supervisor that is killed`(what: String, caller: Caller) async throws {
        let place = try Confinement(caller)
        let (archive, mark) = try await cargo(in: place, what)
        let running = try place.start(archive, words: [mark])
        let up = await eventually(within: 20) {
            String(decoding: running.stdout, as: UTF8.self).contains("up") || !running.isRunning
        }
        #expect(up && running.isRunning, "\(running.stderr)")
        #expect(Machine.processes(marked: mark).count >= 2)
        await running.destroy()
        #expect(await gone(mark), "\(Machine.processes(marked: mark))")
    }

    @Test func `cgroups that a killed supervisor left are swept by the next run`() async throws {
        let place = try Confinement(.root)
        let (archive, mark) = try await cargo(in: place, "linger")
        let before = Machine.jobCgroups()
        let running = try place.start(archive, words: [mark])
        let up = await eventually(within: 20) {
            String(decoding: running.stdout, as: UTF8.self).contains("up") || !running.isRunning
        }
        #expect(up && running.isRunning, "\(running.stderr)")
        let own = Machine.jobCgroups().subtracting(before).filter { $0.contains("job-\(running.pid)-") }
        #expect(!own.isEmpty)
        await running.destroy()
        #expect(await gone(mark))
        let next = try place.stage.cargo("test/next", script: "echo next\n")
        try await place.stage.run("longshore", "pack", next, "-o", place.stage.path("next.cargo")).orFail("pack")
        #expect(try await place.run(place.stage.path("next.cargo")).code == 0)
        #expect(Machine.jobCgroups().isDisjoint(with: own))
    }

    @Test(arguments: [SIGTERM, SIGINT]) func `a supervisor that is asked to stop takes its job with it`(signal: Int32)
        async throws
    {
        let place = try Confinement(.root)
        let (archive, mark) = try await cargo(in: place, "linger")
        let running = try place.start(archive, words: [mark])
        let up = await eventually(within: 20) {
            String(decoding: running.stdout, as: UTF8.self).contains("up") || !running.isRunning
        }
        #expect(up && running.isRunning, "\(running.stderr)")
        running.send(signal)
        let finished = await running.finish()
        #expect(finished.code != 0)
        #expect(await gone(mark), "\(Machine.processes(marked: mark))")
    }

    @Test func `no mount of a job shows on the host, even where mounts are shared`() async throws {
        let place = try Confinement(.root)
        let (archive, mark) = try await cargo(in: place, "linger")
        let script = """
            wc -l </proc/self/mountinfo
            "$@" >"$0" & job=$!
            for i in $(seq 200); do grep -q up "$0" 2>/dev/null && break; sleep 0.1; done
            wc -l </proc/self/mountinfo
            kill -9 $job
            """
        let line =
            ["/usr/bin/unshare", "--mount", "--propagation", "shared", "sh", "-c", script, place.stage.path("seen")]
            + place.command(archive, words: [mark])
        let finished = try await place.stage.start(line).finish()
        let counts = finished.text.split(separator: "\n").compactMap { Int($0.trimmingCharacters(in: .whitespaces)) }
        #expect(counts.count == 2 && counts[0] == counts[1], "\(finished.text) \(finished.stderr)")
        #expect(FileManager.default.contents(atPath: place.stage.path("seen")) == Data("up\n".utf8))
        #expect(await gone(mark))
    }
}
