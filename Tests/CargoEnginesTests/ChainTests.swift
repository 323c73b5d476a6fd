import CargoArtifact
import CargoEndpoints
import CargoRunner
import CargoStore
import CargoWire
import FoundationEssentials
import Glibc
import Synchronization
import SystemPackage
import Testing

@testable import CargoEngines

/// Chains of LangChain with their models on the same host, for real and confined.
@Suite(.serialized) struct ChainTests {
    private func bench() throws -> EngineBench {
        let bench = try EngineBench()
        try bench.addLangChain()
        try bench.addLlama()
        return bench
    }

    private func text(_ answer: JSONValue) -> String? {
        answer.member("choices")?.items?.first?.member("message")?.member("content")?.text
    }

    @Test func `the haiku chain asks its model, works on the words as they come, and counts what they took`() async throws {
        let bench = try bench()
        try bench.addChat()
        _ = try bench.add(folder: "cargos/haiku-chain")
        try await bench.withHouse { house in
            let models = await house.models()
            #expect(models.map(\.id).sorted() == ["longshore/haiku-chain", "longshore/tiny-chat"])
            let reply = Reply()
            let usage = try await house.answer(
                ModelRequest(
                    operation: .chat, model: "longshore/haiku-chain",
                    body: #"{"messages":[{"role":"user","content":"snow"}],"temperature":0.9,"seed":5,"stream":true}"#,
                    stream: true),
                account: "one", head: { head in reply.state.withLock { $0.status = head.status } },
                body: { bytes in reply.state.withLock { $0.pieces.append(bytes) } })
            #expect(reply.status == 200)
            #expect(reply.pieces > 4)
            #expect(reply.text.hasSuffix("data: [DONE]\n\n"))
            #expect((usage?.completionTokens ?? 0) > 0 && (usage?.promptTokens ?? 0) > 0)
            let answer = try await house.ask(
                "longshore/haiku-chain", .chat,
                #"{"messages":[{"role":"user","content":"snow"}],"temperature":0.9,"seed":5}"#)
            let haiku = try #require(text(answer))
            #expect(haiku.split(separator: "\n").map { $0.split(separator: " ").count } == [3, 4, 3])
            #expect(house.instanceCount == 2)
        }
    }

    @Test func `an agent answers too`() async throws {
        let bench = try bench()
        try bench.addChat()
        try bench.addChain(
            """
            from langchain.agents import create_agent
            from langchain_core.tools import tool

            @tool
            def add(a: int, b: int) -> int:
                "Adds two numbers."
                return a + b

            def chain(model):
                return create_agent(model(max_tokens=20), tools=[add])
            """, models: ["longshore/tiny-chat"])
        try await bench.withHouse { house in
            let answer = try await house.ask(
                "test/chain", .chat, #"{"messages":[{"role":"user","content":"1+1"}],"temperature":0,"ignore_eos":true}"#)
            #expect(text(answer)?.count == 20)
            #expect(answer.member("usage")?.member("completion_tokens") == .integer(20))
        }
    }

    @Test func `a chain reaches the models that its manifest names and nothing else`() async throws {
        let bench = try bench()
        try bench.addChat()
        try bench.addChat("test/other")
        try bench.addChain(
            """
            import os, socket, urllib.request
            from langchain_core.runnables import RunnableLambda

            def look(given, model):
                said = []
                for name in ("longshore/tiny-chat", "test/other", "test/chain"):
                    try:
                        model(name, max_tokens=4).invoke("hi")
                        said.append(name + " answers")
                    except Exception as error:
                        said.append(f"{name} {getattr(error, 'status_code', error)}")
                try:
                    socket.create_connection(("127.0.0.1", 22), 1)
                    said.append("network")
                except OSError:
                    said.append("no network")
                place = "/job/models"
                said.append(",".join(os.listdir(place)))
                for act in (lambda: open(place + "/x", "w"), lambda: os.unlink(place + "/models.sock"),
                            lambda: os.chmod(place + "/models.sock", 0o666)):
                    try:
                        act()
                        said.append("changed")
                    except OSError as error:
                        said.append("kept")
                return "; ".join(said)

            def chain(model):
                return RunnableLambda(lambda given: look(given, model))
            """, models: ["longshore/tiny-chat"])
        try await bench.withHouse { house in
            let said = text(try await house.ask("test/chain", .chat, #"{"messages":[{"role":"user","content":"x"}]}"#))
            #expect(
                said
                    == "longshore/tiny-chat answers; test/other 404; test/chain 404; no network; models.sock; kept; kept; kept"
            )
        }
    }

    @Test func `a chain asks no other chain, so none waits for itself`() async throws {
        let bench = try bench()
        let asks = """
            def chain(model):
                return model()
            """
        try bench.addChain(asks, name: "test/first", models: ["test/second"])
        try bench.addChain(asks, name: "test/second", models: ["test/first"])
        try await bench.withHouse { house in
            await #expect(throws: ModelFailure.self) {
                try await house.ask("test/first", .chat, #"{"messages":[{"role":"user","content":"x"}]}"#)
            }
            #expect(house.instanceCount == 1)
        }
    }

    @Test func `its model killed in mid-stream ends the chain's answer with an error, and the next request succeeds`()
        async throws
    {
        let bench = try bench()
        try bench.addChat()
        try bench.addChain(
            "def chain(model):\n    return model(max_tokens=1900, temperature=0)\n", models: ["longshore/tiny-chat"])
        try await bench.withHouse { house in
            let reply = Reply()
            await #expect(throws: ModelFailure.self) {
                _ = try await house.chat("test/chain", tokens: 1900, into: reply) { count in
                    if count == 5 { house.killAll(of: "longshore/tiny-chat") }
                }
            }
            #expect(reply.status == 200)
            #expect(!reply.text.contains("[DONE]"))
            let again = try await house.chat("test/chain")
            #expect(again.reply.text.hasSuffix("data: [DONE]\n\n"))
        }
    }

    @Test func `itself killed in mid-stream it ends with an error, its model's work ends, and the next request succeeds`()
        async throws
    {
        let bench = try bench()
        try bench.addChat()
        try bench.addChain(
            "def chain(model):\n    return model(max_tokens=1900, temperature=0)\n", models: ["longshore/tiny-chat"])
        try await bench.withHouse { house in
            await #expect(throws: ModelFailure.self) {
                _ = try await house.chat("test/chain", tokens: 1900) { count in
                    if count == 5 { house.killAll(of: "test/chain") }
                }
            }
            // Nobody asks the model any more.
            while house.activeRequests > 0 { await Task.yield() }
            let again = try await house.chat("test/chain")
            #expect(again.reply.text.hasSuffix("data: [DONE]\n\n"))
        }
    }

    @Test func `a chain that cannot be built says so to its owner alone`() async throws {
        let bench = try bench()
        try bench.addChat()
        try bench.addChain("raise RuntimeError('secret of the chain')\n", models: ["longshore/tiny-chat"])
        let told = Mutex("")
        let failure = try await bench.withHouse(
            onChange: { change in
                if case .failed(_, _, let tail) = change { told.withLock { $0 += tail } }
            }
        ) { house in
            do {
                _ = try await house.chat("test/chain")
                return nil as ModelFailure?
            } catch let failure as ModelFailure { return failure }
        }
        #expect(failure?.code == .unavailable)
        #expect(failure?.message.contains("secret") == false)
        #expect(told.withLock { $0.contains("secret of the chain") })
    }

    @Test func `two accounts never share a chain, whatever its owner trusts`() async throws {
        let bench = try EngineBench()
        try bench.addLlama(trusted: true)
        try bench.grant(
            try bench.add(folder: "cargos/engines/langchain"), ["langchain": try EngineBench.venv("langchain")], trusted: true)
        try bench.addChat()
        _ = try bench.add(folder: "cargos/haiku-chain")
        try await bench.withHouse { house in
            for account in ["one", "two"] {
                _ = try await house.ask(
                    "longshore/haiku-chain", .chat, #"{"messages":[{"role":"user","content":"x"}]}"#, account: account)
            }
            // Two chains, one model that takes data alone.
            #expect(house.instanceCount == 3)
        }
    }

    @Test func `a chain runs by itself with a prompt as its argument`() async throws {
        let bench = try bench()
        try bench.addChat()
        let cargo = try bench.add(folder: "cargos/haiku-chain")
        var request = RunRequest(cargo: cargo, jobID: "0198c0de-0000-7000-8000-000000000001", output: bench.root.appending("out"))
        request.arguments = ["the first snow"]
        request.parameters = ["temperature": .number(0.9), "seed": .integer(5)]
        let said = Mutex<[UInt8]>([])
        let outcome = try await EngineRunner(
            store: bench.store, list: bench.list, models: .stored(.integrityOnly, memory: 4 << 30)
        ).run(request) { event in
            if case .log(_, _, let bytes) = event { said.withLock { $0 += bytes } }
        }
        #expect(outcome.exitCode == 0)
        #expect(said.withLock { String(decoding: $0, as: UTF8.self) }.split(separator: "\n").count == 3)
    }
}

extension EngineHouse {
    func killAll(of model: String) {
        for instance in liveInstances where instance.request.cargo.config.name == model { instance.kill() }
    }
}
