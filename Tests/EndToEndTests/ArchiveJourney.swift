import Foundation
import TestStage
import Testing

/// A publisher's way: pack, sign, verify, and what happens when somebody touches the archive.
@Suite struct ArchiveJourney {
    let stage: Stage

    init() async throws {
        stage = try Stage()
        #expect(try await stage.run("longshore", "key", "create", "test").code == 0)
        #expect(try await stage.run("longshore", "key", "trust", stage.path("config/keys/test.pub"), "--for", "test/*").code == 0)
    }

    private func signed(_ name: String = "test/hello") async throws -> String {
        let source = try stage.cargo(name, script: "echo ran\n")
        let archive = stage.path("signed.cargo")
        let pack = try await stage.run("longshore", "pack", source, "--key", "test", "-o", archive)
        try #require(pack.code == 0, "\(pack.stderr)")
        return archive
    }

    @Test func `two packs of the same source in other folders and at other times are the same bytes`() async throws {
        let first = try stage.cargo("test/twin", script: "echo twin\n")
        try stage.write("data\n", to: "src-test-twin/data/inner/table.csv")
        let second = stage.path("elsewhere")
        #expect(try await stage.run("/bin/cp", "-r", first, second).code == 0)
        #expect(try await stage.run("/usr/bin/find", second, "-exec", "touch", "-d", "2001-02-03", "{}", "+").code == 0)
        for (source, archive) in [(first, "one.cargo"), (second, "two.cargo")] {
            let pack = try await stage.run("longshore", "pack", source, "-o", stage.path(archive))
            try #require(pack.code == 0, "\(pack.stderr)")
        }
        #expect(try await stage.run("/usr/bin/cmp", stage.path("one.cargo"), stage.path("two.cargo")).code == 0)
    }

    @Test func `a signed archive verifies, and signing in the same pass or later gives the same verdict`() async throws {
        let archive = try await signed()
        #expect(try await stage.run("longshore", "verify", archive).code == 0)
        let source = stage.path("src-test-hello")
        #expect(try await stage.run("longshore", "pack", source, "-o", stage.path("later.cargo")).code == 0)
        #expect(try await stage.run("longshore", "verify", stage.path("later.cargo")).code == 1)
        #expect(try await stage.run("longshore", "sign", stage.path("later.cargo"), "--key", "test").code == 0)
        #expect(try await stage.run("longshore", "verify", stage.path("later.cargo")).code == 0)
    }

    /// Every byte of the archive would take hours one process at a time; each 97th reaches every header, padding
    /// and blob of so small an archive within seconds.
    @Test func `any changed byte is refused with a sentence and nothing runs`() async throws {
        let archive = try await signed()
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: archive)))
        let changed = stage.path("changed.cargo")
        for position in stride(from: 0, to: bytes.count, by: max(97, bytes.count / 150)) {
            var copy = bytes
            copy[position] ^= 0x01
            try Data(copy).write(to: URL(fileURLWithPath: changed))
            let verify = try await stage.run("longshore", "verify", changed)
            #expect(
                verify.code == 1 && !verify.stderr.isEmpty, "byte \(position) of \(bytes.count): \(verify.code) \(verify.stderr)")
            if position % 5 == 0 {
                let run = try await stage.run("cargo-run", changed)
                #expect(run.code == 126 && run.stdout.isEmpty, "byte \(position): \(run.code) \(run.text)")
            }
        }
    }

    @Test func `an unsigned archive is refused with 126 unless its owner says unsigned`() async throws {
        let source = try stage.cargo("test/bare", script: "echo ran\n")
        let archive = stage.path("bare.cargo")
        #expect(try await stage.run("longshore", "pack", source, "-o", archive).code == 0)
        let refused = try await stage.run("cargo-run", archive)
        #expect(refused.code == 126 && refused.stdout.isEmpty)
        #expect(refused.stderr.contains("unsigned"), "\(refused.stderr)")
        let allowed = try await stage.run("cargo-run", archive, "--unsigned")
        #expect(allowed.code == 0 && allowed.text == "ran\n", "\(allowed.stderr)")
    }

    @Test func `an archive runs and verifies from a pipe, and is refused there as it is from a file`() async throws {
        let archive = try await signed()
        let programs = Stage.programs.path
        func piped(_ command: String) async throws -> Finished {
            try await stage.run("/bin/sh", "-c", "cat \(archive) | \(programs)/\(command)")
        }
        #expect(try await piped("longshore verify -").code == 0)
        let run = try await piped("cargo-run -")
        #expect(run.code == 0 && run.text == "ran\n", "\(run.stderr)")
        try stage.write(#"{"version":1,"rules":[]}"#, to: "nobody.json")
        let refused = try await piped("cargo-run - --trust \(stage.path("nobody.json"))")
        #expect(refused.code == 126 && refused.stdout.isEmpty && refused.stderr.contains("unknown-key"), "\(refused.stderr)")
        #expect(try await piped("longshore verify - --trust \(stage.path("nobody.json"))").code == 1)
    }

    @Test func `a stranger's signature is refused`() async throws {
        let archive = try await signed("stranger/hello")
        let verify = try await stage.run("longshore", "verify", archive)
        #expect(verify.code == 1, "\(verify.stderr)")
        #expect(try await stage.run("cargo-run", archive).code == 126)
    }

    @Test func `skopeo copies the archive and keeps the manifest's digest`() async throws {
        let archive = try await signed()
        let inspect = try await stage.run("longshore", "inspect", archive, "--json")
        let digest = try #require(JSON(inspect.stdout)["digest"]?.string, "\(inspect.text)\(inspect.stderr)")
        let copy = try await stage.run(
            "/usr/bin/skopeo", "--insecure-policy", "copy", "oci-archive:\(archive):1.0.0", "dir:" + stage.path("copied"))
        try #require(copy.code == 0, "\(copy.stderr)")
        let sum = try await stage.run("/usr/bin/sha256sum", stage.path("copied/manifest.json"))
        #expect("sha256:" + sum.text.prefix(64) == digest)
    }
}
