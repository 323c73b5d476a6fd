import Foundation
import TestStage
import Testing

/// `cargo-run` alone, without any server.
@Suite struct LocalRunJourney {
    let stage: Stage

    init() throws { stage = try Stage() }

    private func run(_ script: String, yaml: String = "", _ more: String...) async throws -> Finished {
        let source = try stage.cargo("test/local", script: script, yaml: yaml)
        let archive = stage.path("local.cargo")
        let pack = try await stage.run("longshore", "pack", source, "-o", archive)
        try #require(pack.code == 0, "\(pack.stderr)")
        return try await stage.start(["cargo-run", archive, "--unsigned"] + more).finish()
    }

    @Test(arguments: [
        ("exit 0", [], Int32(0)), ("exit 3", [], 3), ("kill -9 $$", [], 137), ("kill -15 $$", [], 143),
        ("sleep 60", ["--time", "1s"], 124), ("trap '' TERM; sleep 60 & wait; sleep 60", ["--time", "1s"], 124),
    ])
    func `the cargo's end becomes the program's exit code`(script: String, options: [String], code: Int32) async throws {
        let source = try stage.cargo("test/local", script: script + "\n")
        let archive = stage.path("local.cargo")
        #expect(try await stage.run("longshore", "pack", source, "-o", archive).code == 0)
        let finished = try await stage.start(["cargo-run", archive, "--unsigned"] + options).finish()
        #expect(finished.code == code, "\(finished.stderr)")
    }

    @Test func `a missing command is 127, wrong usage 125`() async throws {
        let source = try stage.cargo("test/none", script: "")
        try stage.write(
            "name: test/none\nversion: 1.0.0\nkind: process\ncommand: [no-such-program]\n", to: "src-test-none/cargo.yaml")
        #expect(try await stage.run("longshore", "pack", source, "-o", stage.path("none.cargo")).code == 0)
        let missing = try await stage.run("cargo-run", stage.path("none.cargo"), "--unsigned")
        #expect(missing.code == 127, "\(missing.stderr)")
        #expect(try await stage.run("cargo-run", "--no-such-option").code == 125)
    }

    @Test func `json mode tells the whole run, one object a line`() async throws {
        let finished = try await run(
            "echo out; printf 'caf\\351\\n' >&2; echo data > $CARGO_OUTPUT/result.txt; exit 3\n", yaml: "", "--json", "--output",
            stage.path("out"))
        #expect(finished.code == 3)
        let lines = JSON.lines(finished.stdout)
        #expect(lines.first?["event"]?.string == "started")
        #expect(lines.contains { $0["stream"]?.string == "stdout" && $0["data"]?.string == "out\n" })
        #expect(lines.contains { $0["stream"]?.string == "stderr" && $0["data_base64"]?.string == "Y2Fm6Qo=" })
        let outcome = try #require(lines.last)
        #expect(outcome["event"]?.string == "outcome")
        #expect(outcome["exit_code"]?.int == 3)
        let output = try #require(outcome["outputs"]?.array.first)
        #expect(output["path"]?.string == "result.txt")
        #expect(output["size"]?.int == 5)
        let sum = try await stage.run("/usr/bin/sha256sum", stage.path("out/result.txt"))
        #expect(output["sha256"]?.string == String(sum.text.prefix(64)))
    }

    @Test func `a job killed or timed out has no exit code in its outcome`() async throws {
        let killed = try await run("kill -9 $$\n", yaml: "", "--json")
        #expect(JSON.lines(killed.stdout).last?["exit_code"]?.isNull == true)
        #expect(JSON.lines(killed.stdout).last?["signal"]?.int == 9)
        let late = try await run("sleep 60\n", yaml: "", "--json", "--time", "1s")
        #expect(JSON.lines(late.stdout).last?["exit_code"]?.isNull == true)
        #expect(JSON.lines(late.stdout).last?["timed_out"]?.int == 1)
    }

    @Test func `inside there is no host environment and no network and only three descriptors`() async throws {
        let finished = try await run(
            """
            env | sort
            echo "links: $(tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort | tr '\\n' ' ')"
            python3 - <<'PY'
            import os, socket
            held = [name for name in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + name)]
            print("descriptors:", *sorted(held))
            try:
                socket.create_connection(("1.1.1.1", 53), 2); print("network: open")
            except OSError as error:
                print("network: closed")
            PY
            """)
        #expect(finished.code == 0, "\(finished.stderr)")
        let lines = finished.text.split(separator: "\n")
        let names = Set(lines.compactMap { $0.contains("=") ? $0.split(separator: "=").first.map(String.init) : nil })
        let expected: Set = [
            "PATH", "HOME", "TMPDIR", "PWD", "CARGO_NAME", "CARGO_VERSION", "CARGO_JOB_ID", "CARGO_INPUT", "CARGO_OUTPUT",
            "CARGO_PARAMS", "CARGO_SOCKET",
        ]
        #expect(names.subtracting(expected).subtracting(["_", "OLDPWD", "SHLVL"]).isEmpty, "\(finished.text)")
        #expect(!finished.text.contains("do-not-leak"))
        #expect(lines.contains("network: closed"))
        #expect(lines.contains("descriptors: 0 1 2"), "\(finished.text)")
        #expect(lines.contains("links: lo "), "\(finished.text)")
    }

    @Test func `nothing is writable but the output folder and the temporary ones`() async throws {
        let finished = try await run(
            """
            for place in / /cargo /job /job/input /usr /etc /proc /proc/sys/kernel /sys /dev /run /var /home /root \
                /job/output /tmp /dev/shm; do
                if (: > "$place/probe") 2>/dev/null; then echo "writable $place"; fi
            done
            """)
        #expect(
            finished.text == "writable /job/output\nwritable /tmp\nwritable /dev/shm\n", "\(finished.text) \(finished.stderr)")
    }

    @Test func `parameters, inputs and arguments reach the cargo`() async throws {
        try stage.write("hello\n", to: "greeting.txt")
        let finished = try await run(
            "cat /job/params.json; echo; cat /job/input/greeting.txt; echo \"$@\"\n", yaml: "", "--param", "n=3", "--param",
            "word=plain", "--input", stage.path("greeting.txt"), "--", "one", "two words")
        #expect(finished.code == 0, "\(finished.stderr)")
        let lines = finished.text.split(separator: "\n")
        #expect(JSON(Data(lines[0].utf8))["n"]?.int == 3)
        #expect(JSON(Data(lines[0].utf8))["word"]?.string == "plain")
        #expect(lines.dropFirst().elementsEqual(["hello", "one two words"]))
    }

    @Test func `a folder runs unsigned, here, now`() async throws {
        let source = try stage.cargo("test/folder", script: "echo from the folder \"$1\"; exit 4\n")
        let finished = try await stage.run("longshore", "run", source, "--", "now")
        #expect(finished.code == 4 && finished.text == "from the folder now\n", "\(finished.stderr)")
    }
}
