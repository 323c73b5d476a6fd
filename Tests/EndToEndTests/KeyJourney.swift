import Foundation
import TestStage
import Testing

/// A publisher's keys from their making to their end: passphrases, the environment, delegation, revocation.
@Suite(.serialized) struct KeyJourney {
    let stage: Stage

    init() throws { stage = try Stage() }

    /// Runs a program that must succeed; what it printed.
    @discardableResult
    private func good(_ command: String..., environment: [String: String] = [:]) async throws -> String {
        let finished = try await stage.start(command, environment: environment).finish()
        try #require(finished.code == 0, "\(command.joined(separator: " ")): \(finished.stderr)")
        return finished.text
    }

    /// Runs a program that must be refused by this rule.
    private func refused(_ rule: String, _ code: Int32, _ command: String...) async throws {
        let finished = try await stage.start(command).finish()
        #expect(finished.code == code && finished.stdout.isEmpty, "\(command): \(finished.code) \(finished.text)")
        #expect(finished.stderr.contains("refused (\(rule))"), "\(command): \(finished.stderr)")
    }

    @Test func `a protected key signs with its passphrase alone, wherever that comes from`() async throws {
        let source = try stage.cargo("test/hello", script: "echo ran\n")
        let archive = stage.path("a.cargo")
        try stage.write("open sesame\n", to: "passphrase")
        try await good("longshore", "key", "create", "safe", "--passphrase-file", stage.path("passphrase"))
        try await good("longshore", "key", "trust", "safe", "--for", "test/*")
        let file = stage.path("config/keys/safe.key")
        #expect(try String(contentsOfFile: file, encoding: .utf8).hasPrefix("-----BEGIN ENCRYPTED PRIVATE KEY-----"))
        try await good("/usr/bin/openssl", "pkey", "-in", file, "-passin", "pass:open sesame", "-noout")

        let none = try await stage.run(
            "/usr/bin/setsid", "-w", Stage.programs.path + "/longshore", "pack", source, "--key", "safe")
        #expect(none.code == 1 && none.stderr.contains("--passphrase-file"), "\(none.code) \(none.stderr)")
        let wrong = try await stage.run(
            "longshore", "pack", source, "--key", "safe", "-o", archive, environment: ["LONGSHORE_KEY_PASSPHRASE": "wrong"])
        #expect(wrong.code == 1 && wrong.stderr.contains("passphrase"))
        #expect(!FileManager.default.fileExists(atPath: archive))
        try await good("longshore", "pack", source, "--key", "safe", "--passphrase-file", stage.path("passphrase"), "-o", archive)
        try await good("longshore", "verify", archive)
        try await good(
            "longshore", "sign", archive, "--key", "safe", environment: ["LONGSHORE_KEY_PASSPHRASE": "open sesame"])
        #expect(try await good("cargo-run", archive) == "ran\n")

        // One that a terminal asks for: `script` gives the program a terminal of its own.
        let typed = try await stage.run(
            "/bin/sh", "-c",
            "(sleep 1; echo 'open sesame') | script -qec '\(Stage.programs.path)/longshore sign \(archive) --key safe' /dev/null")
        #expect(typed.code == 0 && typed.text.contains("Passphrase of the key 'safe':"), "\(typed.text)")
        #expect(!typed.text.contains("open sesame"))
    }

    @Test func `a key in the environment signs where no other is named`() async throws {
        let source = try stage.cargo("test/hello", script: "echo ran\n")
        try await good("longshore", "key", "create", "ci", "--type", "p256")
        try await good("longshore", "key", "trust", "ci", "--for", "test/*")
        let pem = try String(contentsOfFile: stage.path("config/keys/ci.key"), encoding: .utf8)
        try FileManager.default.removeItem(atPath: stage.path("config/keys/ci.key"))
        let environment = ["LONGSHORE_SIGNING_KEY": pem]
        try await good("longshore", "pack", source, "-o", stage.path("a.cargo"), environment: environment)
        try await good("longshore", "verify", stage.path("a.cargo"))
        try await good("longshore", "pack", source, "-o", stage.path("b.cargo"))
        try await refused("unsigned", 1, "longshore", "verify", stage.path("b.cargo"))
        try await good("longshore", "sign", stage.path("b.cargo"), environment: environment)
        try await good("longshore", "verify", stage.path("b.cargo"))
        let nothing = try await stage.run("longshore", "sign", stage.path("b.cargo"))
        #expect(nothing.code == 2 && nothing.stderr.contains("LONGSHORE_SIGNING_KEY"))
    }

    @Test func `a delegation travels through the registry with the signatures and ends when it is revoked`() async throws {
        let harbour = try await Harbour.open(stage)
        try FileManager.default.removeItem(atPath: stage.path("config/trust.json"))
        try await good("longshore", "key", "create", "root")
        try await good("longshore", "key", "trust", "root", "--root", "--for", "test/*")
        let source = try stage.cargo("test/hello", script: "echo ran\n")
        let archive = stage.path("hello.cargo")
        try await good("longshore", "pack", source, "--key", "test", "-o", archive)
        try await refused("unknown-key", 1, "longshore", "verify", archive)
        try await good("longshore", "key", "delegate", "test", "--key", "root", "--for", "other/*", "--expires", "1d")
        try await good("longshore", "pack", source, "--key", "test", "-o", archive)
        try await refused("unknown-key", 1, "longshore", "verify", archive)
        try await good("longshore", "key", "delegate", "test", "--key", "root", "--for", "test/*", "--expires", "1d")
        try await good("longshore", "pack", source, "--key", "test", "-o", archive)
        try await good("longshore", "verify", archive)

        try await good("longshore", "push", archive, "test/hello:1.0.0")
        let pulled = stage.path("pulled.cargo")
        try await good("longshore", "pull", "test/hello:1.0.0", "-o", pulled)
        try await good("/usr/bin/cmp", archive, pulled)
        #expect(try await good("longshore", "inspect", "test/hello:1.0.0").contains("may sign test/* until"))
        let (there, here) = (
            JSON(Data(try await good("longshore", "inspect", "test/hello:1.0.0", "--json").utf8)),
            JSON(Data(try await good("longshore", "inspect", archive, "--json").utf8))
        )
        #expect(there["digest"]?.string == here["digest"]?.string && there["digest"]?.string != nil)
        #expect(try await good("cargo-run", "test/hello:1.0.0") == "ran\n")
        let copy = try await stage.run(
            "/usr/bin/skopeo", "--insecure-policy", "copy", "oci-archive:\(archive):1.0.0", "dir:" + stage.path("copied"))
        #expect(copy.code == 0, "\(copy.stderr)")
        let sum = try await good("/usr/bin/sha256sum", stage.path("copied/manifest.json"))
        #expect("sha256:" + sum.prefix(64) == here["digest"]?.string)

        let agent = try harbour.startAgent("one")
        #expect(try await good("longshore", "submit", "test/hello:1.0.0", "--follow", "--wait") == "ran\n")
        try await good("longshore", "key", "revoke", stage.path("config/keys/test.delegation"))
        try await refused("revoked-delegation", 126, "cargo-run", "test/hello:1.0.0")
        try await refused("revoked-delegation", 126, "cargo-run", archive)
        let job = try await stage.run("longshore", "submit", "test/hello:1.0.0", "--wait")
        #expect(job.code == 126 && job.stderr.contains("revoked-delegation"), "\(job.code) \(job.stderr)")
        await harbour.close(agent)
    }

    @Test func `a revocation list closes what it names, and everything once it is stale, for agents too`() async throws {
        let harbour = try await Harbour.open(stage)
        let reference = try await harbour.publish("test/hello", script: "echo ran\n")
        let list = stage.path("list.json")
        try await good("longshore", "key", "create", "root")
        try await good("longshore", "key", "revoke", "--list", list, "--key", "root", "--expires", "1h")
        try await good("longshore", "key", "trust", "root", "--revocations", list)
        #expect(try await good("cargo-run", reference) == "ran\n")
        try await good("longshore", "key", "revoke", "test", "--list", list, "--key", "root", "--expires", "1h")
        try await refused("revoked-key", 126, "cargo-run", reference)
        try FileManager.default.removeItem(atPath: list)
        try await refused("revocations", 126, "cargo-run", reference)
        // The same list, past its time: `faketime` moves the clock of the run alone.
        try await good("longshore", "key", "revoke", "--list", list, "--key", "root", "--expires", "1h")
        #expect(try await good("cargo-run", reference) == "ran\n")
        let later = try await stage.run(
            "/usr/bin/faketime", "-f", "+2h", Stage.programs.path + "/longshore", "verify", stage.path("test-hello.cargo"))
        #expect(later.code == 1 && later.stderr.contains("refused (stale-revocations)"), "\(later.code) \(later.stderr)")
        let foreign = try await stage.run(
            "longshore", "key", "revoke", "test", "--list", list, "--key", "test", "--expires", "1h")
        #expect(foreign.code == 1 && foreign.stderr.contains("cannot be added to"), "\(foreign.stderr)")
        try FileManager.default.removeItem(atPath: list)
        let agent = try harbour.startAgent("one")
        let job = try await stage.run("longshore", "submit", reference, "--wait")
        #expect(job.code == 126 && job.stderr.contains("revocation"), "\(job.code) \(job.stderr)")
        await harbour.close(agent)
    }

    @Test func `audit mode is heard by unsigned local work alone`() async throws {
        let harbour = try await Harbour.open(stage)
        let source = try stage.cargo("test/bare", script: "echo ran\n")
        let archive = stage.path("bare.cargo")
        try await good("longshore", "pack", source, "-o", archive)
        let strict = try await stage.run("cargo-run", archive, "--unsigned")
        #expect(strict.code == 0 && !strict.stderr.contains("audit"), "\(strict.stderr)")
        let trust = stage.path("config/trust.json")
        let text = try String(contentsOfFile: trust, encoding: .utf8)
        try Data(text.replacing("\"version\":1", with: "\"mode\":\"audit\",\"version\":1").utf8)
            .write(to: URL(fileURLWithPath: trust))
        let audited = try await stage.run("cargo-run", archive, "--unsigned")
        #expect(audited.code == 0 && audited.text == "ran\n")
        #expect(audited.stderr.contains("audit: without --unsigned this would be refused (unsigned)"), "\(audited.stderr)")
        try await refused("unsigned", 126, "cargo-run", archive)
        try await good("longshore", "push", archive, "test/bare:1.0.0")
        let agent = try harbour.startAgent("one")
        let job = try await stage.run("longshore", "submit", "test/bare:1.0.0", "--wait")
        #expect(job.code == 126 && job.stdout.isEmpty, "\(job.code) \(job.stderr)")
        await harbour.close(agent)
    }

    @Test func `keys are listed, shown, trusted by name and revoked`() async throws {
        #expect(try await good("longshore", "key", "list") == "")
        try await good("longshore", "key", "create", "one")
        try await good("longshore", "key", "create", "two", environment: ["LONGSHORE_KEY_PASSPHRASE": "x"])
        let lines = try await good("longshore", "key", "list").split(separator: "\n")
        #expect(lines.count == 2 && lines[0].hasPrefix("one  ed25519  plain") && lines[1].hasPrefix("two  ed25519  protected"))
        for word in ["show", "export"] {
            let pem = try await good("longshore", "key", word, "one")
            #expect(try pem == String(contentsOfFile: stage.path("config/keys/one.pub"), encoding: .utf8))
        }
        let source = try stage.cargo("test/hello", script: "echo ran\n")
        let archive = stage.path("a.cargo")
        try await good("longshore", "pack", source, "--key", "one", "-o", archive)
        try await good("longshore", "key", "trust", "one", "--for", "test/*")
        try await good("longshore", "verify", archive)
        try await good("longshore", "key", "revoke", "one")
        try await refused("revoked-key", 1, "longshore", "verify", archive)
        let digest = try #require(JSON(Data(try await good("longshore", "inspect", archive, "--json").utf8))["digest"]?.string)
        try await good("longshore", "key", "revoke", digest)
        try await refused("revoked-digest", 1, "longshore", "verify", archive)
        let absent = try await stage.run("longshore", "key", "trust", "nobody", "--for", "test/*")
        #expect(absent.code == 1 && absent.stderr.contains("key list"), "\(absent.stderr)")
    }
}
