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
}
