import Foundation
import TestStage
import Testing

/// A cargo that speaks in JSON lines, here and through the queue.
@Suite(.serialized) struct EventsJourney {
    let stage: Stage

    init() throws { stage = try Stage() }

    /// The example cargo under a name that the test's key may sign.
    private func storyteller() throws -> String {
        let example = Stage.repository.appending(path: "cargos/storyteller")
        let yaml = try String(contentsOf: example.appending(path: "cargo.yaml"), encoding: .utf8)
        try stage.write(yaml.replacing("longshore/storyteller", with: "test/storyteller"), to: "storyteller/cargo.yaml")
        try stage.write(
            try String(contentsOf: example.appending(path: "main.py"), encoding: .utf8), to: "storyteller/main.py")
        return stage.path("storyteller")
    }

    @Test func `tokens, progress and an image come out of cargo-run as events`() async throws {
        let finished = try await stage.run(
            "longshore", "run", try storyteller(), "--json", "--output", stage.path("out"), "--param", "words=7", "--param",
            "about=a boat")
        #expect(finished.code == 0, "\(finished.stderr)")
        let said = JSON.lines(finished.stdout).compactMap { $0["event"]?.string == "output" ? $0["output"] : nil }
        #expect(
            said.compactMap { $0["type"]?.string }
                == ["status"] + ["token", "token", "token", "token", "token", "progress"] + ["token", "token", "image", "done"])
        #expect(said.compactMap { $0["content"]?.string }.joined() == "Once there was a boat 🐋 who\n")
        let image = try #require(said.first { $0["type"]?.string == "image" })
        let outcome = try #require(JSON.lines(finished.stdout).last)
        #expect(outcome["outputs"]?.array.first?["sha256"]?.string == image["sha256"]?.string)
        let bytes = try Data(contentsOf: URL(fileURLWithPath: stage.path("out/image-1.png")))
        #expect(bytes.starts(with: [0x89, 0x50, 0x4E, 0x47]))
        #expect(bytes.count == image["size"]?.int)

        let person = try await stage.run("longshore", "run", stage.path("storyteller"), "--param", "words=4")
        #expect(person.text == "Once there was a\n")
        #expect(person.stderr.contains("telling of a whale"))
    }

    @Test func `a cargo that says error and exits 0 has failed, and lines that are no events are log`() async throws {
        let harbour = try await Harbour.open(stage)
        let agent = try harbour.startAgent("one")
        let reference = try await harbour.publish(
            "test/fails",
            script: """
                echo '{"type":"token","content":"so far"}'; echo plain words; echo '{"type":"error","message":"the sea is closed"}'

                """, yaml: "interface: stdio-jsonl")
        let finished = try await stage.run("longshore", "submit", reference, "--follow", "--wait")
        #expect(finished.code != 0)
        #expect(finished.text.contains("so far"))
        #expect(finished.text.contains("plain words\n"))
        #expect(finished.stderr.contains("the sea is closed"))
        await harbour.close(agent)
    }

    @Test func `through the queue its events are resumed after any of them, and its image is an output`() async throws {
        let harbour = try await Harbour.open(stage)
        let agent = try harbour.startAgent("one")
        let archive = stage.path("storyteller.cargo")
        let pack = try await stage.run("longshore", "pack", try storyteller(), "--key", "test", "-o", archive)
        try #require(pack.code == 0, "\(pack.stderr)")
        let push = try await stage.run("longshore", "push", archive, "test/storyteller:1.0.0")
        try #require(push.code == 0, "\(push.stderr)")
        let key = try String(contentsOfFile: harbour.keyFile, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
        let curl = ["/usr/bin/curl", "-sN", "-H", "Authorization: Bearer \(key)"]
        let submitted = try await stage.start(
            curl + [
                "-H", "Content-Type: application/json", "-d",
                #"{"cargo":"test/storyteller:1.0.0","input":{"about":"an octopus","words":6}}"#, harbour.url + "/jobs",
            ]
        ).finish()
        let id = try #require(JSON(submitted.stdout)["id"]?.string, "\(submitted.text)")
        let stream = curl + [harbour.url + "/jobs/\(id)/events"]
        let all = SentEvent.parse(try await stage.start(stream).finish().text)
        let output = all.filter { $0.name == "output" }
        #expect(output.compactMap { JSON(Data($0.data.utf8))["content"]?.string }.joined() == "Once there was an octopus 🐋\n")
        #expect(output.compactMap { JSON(Data($0.data.utf8))["type"]?.string }.suffix(2) == ["image", "done"])
        #expect(all.last?.data.contains("\"complete\"") == true)
        for (place, event) in all.enumerated() where event.name == "output" {
            let rest = SentEvent.parse(try await stage.start(stream + ["-H", "Last-Event-ID: \(event.id)"]).finish().text)
            #expect(rest == Array(all[(place + 1)...]), "after \(event.id)")
        }
        let got = try await stage.run("longshore", "outputs", id, "-o", stage.path("got"))
        #expect(got.code == 0, "\(got.stderr)")
        #expect(FileManager.default.fileExists(atPath: stage.path("got/image-1.png")))
        let result = try await stage.start(curl + [harbour.url + "/api/v1/jobs/\(id)"]).finish()
        #expect(result.text.contains("Once there was an octopus"))
        await harbour.close(agent)
    }
}

/// A server-sent event as the HTML standard parses it, section 9.2.6.
struct SentEvent: Hashable {
    var id = ""
    var name = ""
    var data = ""

    static func parse(_ text: String) -> [SentEvent] {
        text.split(separator: "\n\n").compactMap { block in
            var event = SentEvent()
            for line in block.split(separator: "\n") where !line.hasPrefix(":") {
                if line.hasPrefix("id:") { event.id = line.dropFirst(3).trimmingCharacters(in: .whitespaces) }
                if line.hasPrefix("event:") { event.name = line.dropFirst(6).trimmingCharacters(in: .whitespaces) }
                if line.hasPrefix("data:") { event.data += line.dropFirst(5).trimmingCharacters(in: .whitespaces) }
            }
            return event.data.isEmpty ? nil : event
        }
    }
}
