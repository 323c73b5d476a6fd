import Foundation
import TestStage
import Testing

/// A job's words on the terminal of whoever runs it.
@Suite struct TerminalTests {
    /// Sets the title, clears the screen, asks the terminal to type for us, and hides a line.
    private static let script = #"printf '\033]0;owned\007\033[2J\033[6n\033P1$q\033\\\302\233ms\rhidden\n'; echo plain"#

    private func onTerminal(_ command: [String], in stage: Stage) async throws -> Data {
        let line = command.map { "'\($0)'" }.joined(separator: " ")
        return try await stage.run("/usr/bin/script", "-qec", line, "/dev/null").stdout
    }

    @Test func `a terminal passes control sequences on when nobody escapes them`() async throws {
        let stage = try Stage()
        #expect(try await onTerminal(["/bin/echo", "-e", #"\033[2J"#], in: stage).contains(0x1b))
    }

    @Test func `no control sequence of a job reaches the terminal`() async throws {
        let stage = try Stage()
        let source = try stage.cargo("test/painter", script: Self.script + "\n")
        try await stage.run("longshore", "pack", source, "-o", stage.path("p.cargo")).orFail("pack")
        let allowances = Machine.isRoot ? [] : ["--allow-missing", "cgroup"]
        let program = Stage.programs.appending(path: "cargo-run").path
        let shown = try await onTerminal([program, stage.path("p.cargo"), "--unsigned"] + allowances, in: stage)
        #expect(!shown.contains(0x1b) && !shown.contains(0x07), "\(String(decoding: shown, as: UTF8.self).debugDescription)")
        // U+009B, the one-character form of the same introducer.
        #expect(shown.firstRange(of: Data([0xc2, 0x9b])) == nil)
        #expect(shown.firstRange(of: Data("plain".utf8)) != nil)
    }

    @Test func `a pipe gets the job's bytes as they are`() async throws {
        let stage = try Stage()
        let source = try stage.cargo("test/painter", script: Self.script + "\n")
        try await stage.run("longshore", "pack", source, "-o", stage.path("p.cargo")).orFail("pack")
        let allowances = Machine.isRoot ? [] : ["--allow-missing", "cgroup"]
        let finished = try await stage.start(["cargo-run", stage.path("p.cargo"), "--unsigned"] + allowances).finish()
        #expect(finished.stdout.contains(0x1b), "\(finished.stderr)")
    }
}
