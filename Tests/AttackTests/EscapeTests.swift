import Foundation
import TestStage
import Testing

/// Every attempt, from a job and from a loose namespace. One run of the program makes all attempts of a column.
@Suite(.enabled(if: Machine.isRoot, "the loose namespaces and the change of user need root"))
struct EscapeTests {
    /// What the kernel itself does not have cannot succeed even in a loose namespace; the job's denial still counts.
    private static let absent = [
        "denied: ENOENT (/proc/", "denied: ENOSYS", "denied: EAFNOSUPPORT", "denied: absent (x32",
        "denied: absent (int 0x80 on this processor",
    ]

    private static let loose = Task { () -> Verdicts in
        let program = try await AttackProgram.ready()
        let finished = try await program.stage.run(
            AttackProgram.sources.appending(path: "loose").path, program.stage.path("attempts"))
        return Verdicts(try finished.orFail("the loose control").text)
    }

    private static let root = Task { try await verdicts(.root) }
    private static let ordinaryUser = Task { try await verdicts(.ordinaryUser) }

    /// Runs every attempt in one job, beside a victim on the host that listens on everything a job must not reach.
    private static func verdicts(_ caller: Caller) async throws -> Verdicts {
        let program = try await AttackProgram.ready()
        let place = try Confinement(caller)
        let stage = place.stage
        let archive = try await program.cargo("escape", in: stage, yaml: "resources: {memory: 256MiB, pids: 64, time: 2m}")
        let socket = "longshore-\(caller)-\(getpid())"
        try stage.write("secret\n", to: "secret")
        try await stage.run("/bin/cp", program.stage.path("attempts"), stage.path("attempts")).orFail("cp")
        let victim = try stage.start(place.identity + [stage.path("attempts"), "victim", socket, "0", stage.path("secret")])
        let listening = await eventually { victim.stdout.last == 10 || !victim.isRunning }
        let port = String(decoding: victim.stdout, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        guard listening, Int(port) != nil else { throw StageFailure("the victim says \(port) \(victim.stderr)") }
        let words = [
            "--victim", "\(victim.pid)", "--abstract", socket, "--port", port, "--secret", stage.path("secret"), "all",
        ]
        // A descriptor that the caller of cargo-run left open.
        let line = ["/bin/sh", "-c", "exec 9</etc/passwd; exec \"$@\"", "sh"] + place.command(archive, words: words)
        let finished = try await stage.start(line).finish()
        // Not SIGTERM: a child inherits the signals that the thread which started it has blocked.
        victim.send(SIGKILL)
        _ = await victim.finish()
        return Verdicts(try finished.orFail("the job of all attempts").text)
    }

    @Test func `the table names every attempt of the program`() async throws {
        let program = try await AttackProgram.ready()
        let list = try await program.stage.run(program.stage.path("attempts"), "list")
        let lines = list.text.split(separator: "\n").map(String.init)
        #expect(Set(lines) == Set(Attempt.all.map { "\($0.line)\t\($0.name)" }))
        #expect(lines.count == Attempt.all.count)
    }

    @Test(arguments: Attempt.all) func `in a loose namespace the process`(attempt: Attempt) async throws {
        let verdict = try await Self.loose.value[attempt]
        #expect(verdict.hasPrefix("succeeded") || Self.absent.contains { verdict.hasPrefix($0) }, "\(verdict)")
    }

    @Test(arguments: Attempt.all) func `no job of root`(attempt: Attempt) async throws {
        let verdict = try await Self.root.value[attempt]
        #expect(verdict.hasPrefix("denied"), "\(verdict)")
    }

    @Test(arguments: Attempt.all) func `no job of an ordinary user`(attempt: Attempt) async throws {
        let verdict = try await Self.ordinaryUser.value[attempt]
        #expect(verdict.hasPrefix("denied"), "\(verdict)")
    }
}
