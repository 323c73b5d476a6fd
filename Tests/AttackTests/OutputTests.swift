import Foundation
import TestStage
import Testing

/// Outputs that are traps for whoever collects them: nothing is followed, nothing hangs, nothing else is refused.
@Suite(.enabled(if: Machine.isRoot, "the change of user needs root"))
struct OutputTests {
    private static let yaml = "resources: {memory: 64MiB, disk: 16MiB, pids: 32, time: 20s}"

    private func run(_ caller: Caller, _ what: String) async throws -> (run: Run, place: Confinement) {
        let program = try await AttackProgram.ready()
        let place = try Confinement(caller)
        let archive = try await program.cargo("output", in: place.stage, words: ["misbehave", what], yaml: Self.yaml)
        let run = try await place.run(archive, options: ["--output", place.stage.path("out")])
        #expect(run.outcome != nil, "\(run.story)")
        return (run, place)
    }

    private func paths(_ run: Run) -> [String] { run.outcome?["outputs"]?.array.compactMap { $0["path"]?.string } ?? [] }

    /// Everything below the output folder that is neither a plain file nor a folder.
    private func traps(in place: Confinement) async throws -> String {
        guard FileManager.default.fileExists(atPath: place.stage.path("out")) else { return "" }
        return try await place.stage.run("/usr/bin/find", place.stage.path("out"), "!", "-type", "f", "!", "-type", "d").text
    }

    @Test(arguments: ["output-symlink", "output-folder-symlink", "output-fifo", "output-socket"], Caller.allCases)
    func `links, pipes and sockets are not followed and do not come out`(what: String, caller: Caller) async throws {
        let (run, place) = try await run(caller, what)
        #expect(paths(run).isEmpty, "\(run.story)")
        #expect(!run.everythingTold.contains("root:"))
        #expect(try await traps(in: place) == "")
    }

    @Test(arguments: Caller.allCases) func `hard links between outputs come out as files of their own`(caller: Caller)
        async throws
    {
        let (run, place) = try await run(caller, "output-hard-links")
        #expect(try await traps(in: place) == "")
        for path in paths(run) {
            #expect(FileManager.default.contents(atPath: place.stage.path("out/" + path)) == Data("same".utf8))
        }
    }

    @Test(arguments: ["output-unreadable", "output-closed"], Caller.allCases)
    func `files and folders that their owner closed stop nothing and leave nothing`(what: String, caller: Caller) async throws {
        let (run, place) = try await run(caller, what)
        #expect(run.code == 0, "\(run.story)")
        #expect(place.leftovers == [])
    }

    @Test(arguments: Caller.allCases) func `no name of an output reaches a terminal or another folder`(caller: Caller)
        async throws
    {
        let (run, place) = try await run(caller, "output-names")
        #expect(!run.finished.stderr.utf8.contains(0x1b), "\(run.story)")
        #expect(!run.finished.stdout.contains(0x1b), "\(run.story)")
        #expect(try await traps(in: place) == "")
    }

    @Test(arguments: Caller.allCases) func `setuid bits stay behind`(caller: Caller) async throws {
        let (run, place) = try await run(caller, "output-setuid")
        #expect(run.outcome != nil)
        let found = try await place.stage.run("/usr/bin/find", place.stage.path("out"), "-perm", "/7000")
        #expect(found.text == "", "\(found.text)")
    }

    @Test func `each of these outputs can be made in a loose namespace`() async throws {
        let program = try await AttackProgram.ready()
        let script = """
            mount -t tmpfs loose /tmp && mkdir -p /tmp/output && mount -t tmpfs loose /mnt && mkdir -p /mnt/job
            cat <&8 >/mnt/attempts && chmod 755 /mnt/attempts
            for what in symlink folder-symlink fifo socket hard-links unreadable closed names setuid; do
                mkdir -p /mnt/root/job/output /mnt/root/etc && cp /mnt/attempts /mnt/root/attempts
                chroot /mnt/root /attempts misbehave output-$what >/dev/null || echo "cannot make $what"
                [ -n "$(ls -A /mnt/root/job/output)" ] || echo "did not make $what"
                rm -rf /mnt/root
            done
            """
        let line = ["/bin/sh", "-c", "exec 8<\"$0\"; exec unshare --mount sh -c \"$1\"", program.stage.path("attempts"), script]
        let finished = try await program.stage.start(line).finish()
        #expect(finished.code == 0 && finished.text == "", "\(finished.text) \(finished.stderr)")
    }
}
