import Foundation
import TestStage
import Testing

/// Clients that others wrote, against a coordinator and an agent that found three model servers: the base URL is all that changes.
@Suite(.serialized) struct ClientJourney {
    @Test(.timeLimit(.minutes(5))) func `clients of OpenAI, Anthropic and LangChain work by changing the base URL`() async throws
    {
        let pier = try await ModelPier.open()
        let stream = try await pier.stage.run(
            "/usr/bin/curl", "-sN", "-H", "Authorization: Bearer \(pier.key)", pier.url + "/v1/chat/completions", "-d",
            #"{"model":"tiny-chat","max_tokens":3,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#)
        #expect(stream.text.hasPrefix("data: {") && stream.text.hasSuffix("data: [DONE]\n\n"), "\(stream.text)")
        for client in ["openai_client.py", "anthropic_client.py"] {
            let finished = try await pier.ask(client)
            #expect(finished.code == 0, "\(client): \(finished.text) \(finished.stderr)")
        }
        let suite = try await pier.stage.run(
            ModelPier.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "-o",
            "asyncio_default_test_loop_scope=session", ModelPier.script("langchain_client.py"),
            environment: ["LONGSHORE_URL": pier.url, "LONGSHORE_API_KEY": pier.key])
        #expect(suite.code == 0, "\(suite.text)")
        await pier.close()
    }

    @Test(.timeLimit(.minutes(5))) func `a program in JavaScript needs its platform's fetch alone`() async throws {
        let pier = try await ModelPier.open()
        let finished = try await pier.stage.run(
            "/usr/bin/node", ModelPier.script("fetch_client.mjs"), pier.url, pier.key)
        #expect(finished.code == 0, "\(finished.text) \(finished.stderr)")
        await pier.close()
    }

    @Test(.timeLimit(.minutes(5))) func `what llama-server promises its clients holds through a coordinator`() async throws {
        let pier = try await ModelPier.open()
        let finished = try await pier.ask("llama_server_client.py", "http://127.0.0.1:\(pier.ports[0])")
        #expect(finished.code == 0, "\(finished.text) \(finished.stderr)")
        await pier.close()
    }

    @Test(.timeLimit(.minutes(10))) func `LiteLLM's proxy in front of a coordinator passes chats, streams, tools and vectors on`()
        async throws
    {
        let folder = Stage.repository.appending(path: ".build/clients/litellm").path
        let pier = try await ModelPier.open()
        try await pier.stage.run(
            Stage.repository.appending(path: "scripts/locked-venv").path, "Tests/Clients/litellm/requirements.txt", folder
        ).orFail("scripts/locked-venv")
        let finished = try await pier.ask("litellm_client.py", folder + "/bin/litellm")
        #expect(finished.code == 0, "\(finished.text) \(finished.stderr)")
        await pier.close()
    }
}

/// A coordinator and an agent that follows three model servers: a tiny model that chats, one that embeds, and one whose answers
/// are known.
private struct ModelPier {
    static let python = Stage.repository.appending(path: ".build/venv/bin/python").path

    let stage: Stage
    let harbour: Harbour
    let key: String
    /// Where the servers listen.
    let ports: [Int]
    let servers: [RunningProgram]
    let agent: RunningProgram

    var url: String { harbour.url }

    static func script(_ name: String) -> String { Stage.repository.appending(path: "Tests/Clients/" + name).path }

    /// Runs a client that is given our address and a key.
    func ask(_ client: String, _ more: String...) async throws -> Finished {
        try await stage.start([ModelPier.python, ModelPier.script(client), url, key] + more).finish()
    }

    func close() async {
        for server in servers { await server.destroy() }
        await harbour.close(agent)
    }

    static func open() async throws -> ModelPier {
        let stage = try Stage()
        let harbour = try await Harbour.open(stage)
        let made = try await stage.start([
            python, Stage.repository.appending(path: "cargos/tiny-chat/make.py").path, stage.folder.path,
        ]).finish()
        try #require(made.code == 0, "\(made.stderr)")
        let ports = try (0..<3).map { _ in try freePort() }
        let servers = try [
            [python, script("model_server.py"), stage.path("model.gguf"), "\(ports[0])", "tiny-chat"],
            [python, script("model_server.py"), stage.path("model.gguf"), "\(ports[1])", "tiny-embed", "--embeddings"],
            [python, script("scripted_server.py"), "\(ports[2])"],
        ].map { try stage.start($0) }
        let agent = try stage.start(
            [
                "cargo-run", "agent", "--coordinator", harbour.url, "--api-key-file", harbour.keyFile, "--name", "island",
                "--no-scan",
            ]
                + ports.flatMap { ["--endpoint", "http://127.0.0.1:\($0)"] },
            environment: ["LONGSHORE_HOME": stage.path("home-island")])
        let key = try String(contentsOfFile: harbour.keyFile, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
        let served = try await eventually(within: 60) {
            let list = try await stage.run(
                "/usr/bin/curl", "-s", "-H", "Authorization: Bearer \(key)", harbour.url + "/v1/models")
            return ["tiny-chat", "tiny-embed", "scripted", "flux-pixel"].allSatisfy(list.text.contains)
        }
        try #require(served, "\(agent.stderr) \(servers.map(\.stderr))")
        return ModelPier(stage: stage, harbour: harbour, key: key, ports: ports, servers: servers, agent: agent)
    }
}

/// A port that was free a moment ago: llama.cpp's server does not say which one it took.
private func freePort() throws -> Int {
    let socket = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(socket) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(socket, $0, length) == 0 && getsockname(socket, $0, &length) == 0
        }
    }
    try #require(bound)
    return Int(UInt16(bigEndian: address.sin_port))
}
