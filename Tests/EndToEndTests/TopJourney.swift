import Foundation
import TestStage
import Testing

/// What the owner of a host sees of it.
@Suite(.serialized) struct TopJourney {
    let stage: Stage

    init() throws { stage = try Stage() }

    private func curl(_ arguments: String...) async throws -> (status: String, text: String) {
        let finished = try await stage.start(
            ["/usr/bin/curl", "-s", "-m", "10", "-i", "--cookie-jar", stage.path("jar"), "--cookie", stage.path("jar")]
                + arguments
        ).finish()
        return (String(finished.text.split(separator: "\r\n").first ?? ""), finished.text)
    }

    @Test func `top measures the machine where no agent runs, and prints plain lines into a pipe`() async throws {
        let finished = try await stage.run("cargo-run", "top")
        #expect(finished.code == 0, "\(finished.stderr)")
        #expect(finished.text.contains("no agent runs here"))
        #expect(finished.text.contains("memory"))
        #expect(!finished.text.contains("\u{1B}"))
        let json = JSON(try await stage.run("cargo-run", "top", "--json").stdout)
        #expect((json["metrics"]?["memory_total"]?.int ?? 0) > 0)
        #expect(try await stage.run("cargo-run", "top", "--page").code == 1)
    }

    @Test func `the agent's page wants its own name and its token, and asks for nothing from anywhere`() async throws {
        let harbour = try await Harbour.open(stage)
        let home = ["LONGSHORE_HOME": stage.path("home-one")]
        let agent = try harbour.startAgent("one")
        var page = ""
        let isThere = await eventually {
            page = ((try? await stage.run("cargo-run", "top", "--page", environment: home).text) ?? "").trimmingCharacters(
                in: .whitespacesAndNewlines)
            return page.hasPrefix("http://127.0.0.1:")
        }
        #expect(isThere, "\(agent.stderr)")
        let base = String(page.prefix { $0 != "?" })
        #expect(try await curl(base).status == "HTTP/1.1 403 Forbidden")
        #expect(try await curl("-H", "Host: evil.example", page).status == "HTTP/1.1 421 Misdirected Request")
        #expect(try await curl("-H", "Host: evil.example:80", page).status == "HTTP/1.1 421 Misdirected Request")
        let welcome = try await curl(page)
        #expect(welcome.status == "HTTP/1.1 303 See Other")
        #expect(welcome.text.contains("HttpOnly; SameSite=Strict"))
        let shown = try await curl(base)
        #expect(shown.status == "HTTP/1.1 200 OK")
        #expect(shown.text.contains("default-src 'none'"))
        #expect(shown.text.contains("<h1>one</h1>"))
        #expect(!shown.text.contains("<script"))
        #expect(try await curl("-X", "POST", base).status == "HTTP/1.1 405 Method Not Allowed")
        #expect(try await curl(base + "etc/passwd").status == "HTTP/1.1 404 Not Found")
        let file = try FileManager.default.attributesOfItem(atPath: stage.path("home-one/agent/status.json"))
        #expect((file[.posixPermissions] as? NSNumber)?.intValue == 0o600)
        let json = JSON(try await stage.run("cargo-run", "top", "--json", environment: home).stdout)
        #expect(json["name"]?.string == "one")
        #expect(json["coordinator"]?.string == harbour.url)
        await harbour.close(agent)
    }
}
