import Foundation
import TestStage

/// The attack program, built once for all tests of this run, and packed as a cargo.
struct AttackProgram: Sendable {
    /// Its folder, store and configuration; the attack program is `attempts` in it, the cargo `attempts.cargo`.
    let stage: Stage

    static let sources = Stage.repository.appending(path: "Tests/AttackTests/attempts")

    private static let built = Task { try await build() }

    static func ready() async throws -> AttackProgram { try await built.value }

    private static func build() async throws -> AttackProgram {
        let stage = try Stage()
        let names = try FileManager.default.contentsOfDirectory(atPath: sources.path).filter { $0.hasSuffix(".c") }.sorted()
        let files = names.map { sources.appending(path: $0).path }
        let flags = ["-std=gnu17", "-O1", "-static", "-Wall", "-Wextra", "-Werror", "-o", stage.path("attempts")]
        // The compiler comes with the toolchain that runs this test.
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        let compile = ["/usr/bin/env", "clang"] + flags + files + ["-lpthread"]
        try await stage.start(compile, environment: ["PATH": path]).finish().orFail("compiling the attack program")
        return AttackProgram(stage: stage)
    }

    /// A cargo that runs the program's `words` with these resources, packed into `stage`.
    func cargo(_ name: String, in stage: Stage, words: [String] = [], yaml: String = "") async throws -> String {
        let source = "src-\(name)"
        let command = (["/cargo/attempts"] + words).map { "\"\($0)\"" }.joined(separator: ", ")
        try stage.write(
            "name: test/\(name)\nversion: 1.0.0\nkind: process\ncommand: [\(command)]\n\(yaml)\n", to: source + "/cargo.yaml")
        try await stage.run("/bin/cp", self.stage.path("attempts"), stage.path(source + "/attempts")).orFail("cp")
        let archive = stage.path(name + ".cargo")
        try await stage.run("longshore", "pack", stage.path(source), "-o", archive).orFail("longshore pack")
        return archive
    }
}

/// What each attempt of one run printed, by its name.
struct Verdicts: Sendable {
    private let lines: [String: String]

    init(_ output: String) {
        var lines: [String: String] = [:]
        for line in output.split(separator: "\n") {
            let parts = line.split(separator: "\t", maxSplits: 1)
            if parts.count == 2 { lines[String(parts[0])] = String(parts[1]) }
        }
        self.lines = lines
    }

    subscript(_ attempt: Attempt) -> String { lines[attempt.name] ?? "was not tried" }
}
