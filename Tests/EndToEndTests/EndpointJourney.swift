import Foundation
import TestStage
import Testing

/// From an OpenAI client through coordinator and agent to a model server that was on the host already.
@Suite(.serialized) struct EndpointJourney {
    let stage: Stage

    init() throws { stage = try Stage() }

    @Test(arguments: [("ollama", "llama3.2:latest", 5), ("lmstudio", "granite-3.0-2b-instruct", 53)])
    func `a model server is found by its port alone and answers in OpenAI's shape`(kind: String, model: String, tokens: Int)
        async throws
    {
        let script = Stage.repository.appending(path: "Tests/Interop/model_servers.py").path
        let server = try stage.start(["/usr/bin/python3", script, kind])
        _ = await eventually { server.stdout.contains(10) || !server.isRunning }
        let port = try #require(
            Int(String(decoding: server.stdout, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)))
        let harbour = try await Harbour.open(stage)
        let agent = try stage.start(
            [
                "cargo-run", "agent", "--coordinator", harbour.url, "--api-key-file", harbour.keyFile, "--name", "one",
                "--scan-port",
                "\(port)",
            ], environment: ["LONGSHORE_HOME": stage.path("home-one")])
        let key = try String(contentsOfFile: harbour.keyFile, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
        let curl = ["/usr/bin/curl", "-sN", "-H", "Authorization: Bearer \(key)", "-H", "Content-Type: application/json"]
        let listed = await eventually {
            guard let answer = try? await stage.start(curl + [harbour.url + "/v1/models"]).finish() else { return false }
            return answer.text.contains("\"\(model)\"")
        }
        #expect(listed, "\(agent.stderr)")
        let body =
            #"{"model":"\#(model)","messages":[{"role":"user","content":"Hello"}],"stream":true,"stream_options":{"include_usage":true}}"#
        let answer = try await stage.start(curl + ["-d", body, harbour.url + "/v1/chat/completions"]).finish()
        let events = SentEvent.parse(answer.text)
        let text = events.compactMap { JSON(Data($0.data.utf8))["choices"]?.array.first?["delta"]?["content"]?.string }.joined()
        #expect(text == "Grüße aus der Tiefe 🌊", "\(answer.text) \(agent.stderr)")
        #expect(events.last?.data == "[DONE]")
        #expect(events.dropLast().last.map { JSON(Data($0.data.utf8))["usage"]?["completion_tokens"]?.int } == tokens)
        await harbour.close(agent)
        await server.destroy()
    }

    @Test func `a host's owner adds a server in ten lines of YAML, and it is listed, checked, served and removed`() async throws {
        let script = Stage.repository.appending(path: "Tests/Interop/model_servers.py").path
        let server = try stage.start(["/usr/bin/python3", script, "ollama"])
        _ = await eventually { server.stdout.contains(10) || !server.isRunning }
        let port = try #require(
            Int(String(decoding: server.stdout, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)))
        try FileManager.default.createDirectory(atPath: stage.path("mine"), withIntermediateDirectories: true)
        try """
        name: me/my-ollama
        version: 1.0.0
        kind: engine
        engine:
          protocol: ollama
          server: {url: "http://127.0.0.1:\(port)"}
          slots: 2
        """.write(toFile: stage.path("mine/cargo.yaml"), atomically: true, encoding: .utf8)
        let harbour = try await Harbour.open(stage)
        let home = ["LONGSHORE_HOME": stage.path("home-one")]
        func engines(_ words: String...) async throws -> String {
            let run = try await stage.start(["cargo-run", "engines"] + words, environment: home).finish()
            return run.text + run.stderr
        }
        #expect(try await engines("add", stage.path("mine")).contains("me/my-ollama sha256:"))
        #expect(try await engines("list").contains("me/my-ollama  ready  server at http://127.0.0.1:\(port)"))
        #expect(try await engines("list", "--json").contains("\"url\":\"http://127.0.0.1:\(port)\""))
        #expect(try await engines("check").contains("me/my-ollama  works: http://127.0.0.1:\(port) answers, with "))
        // Somebody else's word is a proposal: what is no folder of one's own needs --url.
        _ = try await stage.start(["longshore", "pack", stage.path("mine"), "-o", stage.path("mine.cargo")]).finish()
        #expect(try await engines("add", stage.path("mine.cargo"), "--unsigned").contains("--url http://127.0.0.1:\(port)"))
        let agent = try stage.start(
            [
                "cargo-run", "agent", "--coordinator", harbour.url, "--api-key-file", harbour.keyFile, "--name", "one",
                "--no-scan",
            ], environment: home)
        let key = try String(contentsOfFile: harbour.keyFile, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
        let curl = ["/usr/bin/curl", "-sN", "-H", "Authorization: Bearer \(key)", "-H", "Content-Type: application/json"]
        let listed = await eventually {
            guard let answer = try? await stage.start(curl + [harbour.url + "/v1/models"]).finish() else { return false }
            return answer.text.contains("\"llama3.2:latest\"")
        }
        #expect(listed, "\(agent.stderr)")
        let body = #"{"model":"llama3.2:latest","messages":[{"role":"user","content":"Hello"}],"stream":true}"#
        let answer = try await stage.start(curl + ["-d", body, harbour.url + "/v1/chat/completions"]).finish()
        #expect(answer.text.hasSuffix("data: [DONE]\n\n"), "\(answer.text) \(agent.stderr)")
        // The agent hears of it without a new start.
        #expect(try await engines("rm", "me/my-ollama").isEmpty)
        let isGone = await eventually {
            guard let answer = try? await stage.start(curl + [harbour.url + "/v1/models"]).finish() else { return false }
            return !answer.text.contains("llama3.2:latest")
        }
        #expect(isGone, "\(agent.stderr)")
        await harbour.close(agent)
        await server.destroy()
    }
}
