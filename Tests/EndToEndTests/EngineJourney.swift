import Foundation
import TestStage
import Testing

/// Models behind confined engines, asked as OpenAI's clients ask, through a real coordinator and a real agent.
@Suite(.serialized) struct EngineJourney {
    let stage: Stage

    init() throws { stage = try Stage() }

    private static let home = "home-one"

    /// A coordinator and the engines and models of its host; `agent` is started last, because what it offers lies in its store.
    private struct Pier {
        let stage: Stage
        let harbour: Harbour
        let key: String

        static func open(_ stage: Stage) async throws -> Pier {
            let harbour = try await Harbour.open(stage)
            let key = try String(contentsOfFile: harbour.keyFile, encoding: .utf8)
                .trimmingCharacters(in: .whitespacesAndNewlines)
            return Pier(stage: stage, harbour: harbour, key: key)
        }

        private var environment: [String: String] { ["LONGSHORE_HOME": stage.path(EngineJourney.home)] }

        /// Adds an engine of this product with its locked wheels.
        func addEngine(_ name: String, grant: String) async throws {
            let venv = Stage.repository.appending(path: ".build/engines/\(name)").path
            try await stage.run(Stage.repository.appending(path: "scripts/engine-venv").path, name).orFail("scripts/engine-venv")
            try await stage.run(
                "cargo-run", "engines", "add", Stage.repository.appending(path: "cargos/engines/\(name)").path, "--grant",
                "\(grant)=\(venv)", environment: environment
            ).orFail("engines add")
        }

        /// Stores an example's model under a name that the test's key may sign.
        func addModel(_ example: String, as name: String) async throws {
            let made = Stage.repository.appending(path: ".build/cargos/\(example)")
            if !FileManager.default.fileExists(atPath: made.appending(path: "cargo.yaml").path) {
                let program = Stage.repository.appending(path: "scripts/cargos").path
                try await stage.run(program, Stage.repository.appending(path: ".build/cargos").path, example).orFail(program)
            }
            let folder = name.replacing("/", with: "-")
            try FileManager.default.copyItem(at: made, to: stage.folder.appending(path: folder))
            let yaml = try String(contentsOfFile: stage.path(folder + "/cargo.yaml"), encoding: .utf8)
            try stage.write(yaml.replacing("name: longshore/\(example)", with: "name: \(name)"), to: folder + "/cargo.yaml")
            try await store(folder)
        }

        /// Packs, signs and stores a folder of the stage.
        func store(_ folder: String) async throws {
            let archive = stage.path(folder + ".cargo")
            try await stage.run("longshore", "pack", stage.path(folder), "--key", "test", "-o", archive).orFail("pack")
            try await stage.run("cargo-run", "cache", "add", archive, environment: environment).orFail("cache add")
        }

        /// An agent that offers what is stored, once the coordinator knows all of it.
        func startAgent(offering models: [String], _ more: String...) async throws -> RunningProgram {
            let agent = try stage.start(
                [
                    "cargo-run", "agent", "--coordinator", harbour.url, "--api-key-file", harbour.keyFile, "--name", "one",
                    "--no-scan",
                ] + more, environment: environment)
            let listed = await eventually(within: 60) {
                guard let answer = try? await get("/v1/models") else { return false }
                let known = Set(JSON(answer.stdout)["data"]?.array.compactMap { $0["id"]?.string } ?? [])
                return known.isSuperset(of: models)
            }
            guard listed else { throw StageFailure("the models are not offered: \(agent.stderr)") }
            return agent
        }

        private var curl: [String] {
            ["/usr/bin/curl", "-sN", "-H", "Authorization: Bearer \(key)", "-H", "Content-Type: application/json"]
        }

        func get(_ path: String) async throws -> Finished { try await stage.start(curl + [harbour.url + path]).finish() }

        /// Starts a request; its head goes to the standard error.
        func post(_ path: String, _ body: String) throws -> RunningProgram {
            try stage.start(curl + ["-D", "/dev/stderr", "-d", body, harbour.url + path])
        }

        /// Asks a chat model and waits for the answer.
        func chat(_ model: String, tokens: Int = 8, stream: Bool = false) async throws -> Finished {
            try await post("/v1/chat/completions", chatBody(model, tokens: tokens, stream: stream)).finish()
        }

        func chatBody(_ model: String, tokens: Int, stream: Bool) -> String {
            """
            {"model":"\(model)","messages":[{"role":"user","content":"hello"}],"max_tokens":\(tokens),"temperature":0,\
            "ignore_eos":true,"stream":\(stream),"stream_options":{"include_usage":true}}
            """
        }
    }

    private static func job(_ answer: Finished) -> String? {
        answer.stderr.firstMatch(of: /(?i)longshore-job: ([0-9a-f-]+)/).map { String($0.1) }
    }

    private static func text(_ events: [SentEvent]) -> String {
        events.compactMap { JSON(Data($0.data.utf8))["choices"]?.array.first?["delta"]?["content"]?.string }.joined()
    }

    @Test func `chat streams tokens, tensors and texts get their answers, and the audit names the engine that gave them`()
        async throws
    {
        let pier = try await Pier.open(stage)
        try await pier.addEngine("llama-cpp", grant: "xllamacpp")
        try await pier.addEngine("onnxruntime", grant: "onnxruntime")
        try await pier.addModel("tiny-chat", as: "test/chat")
        try await pier.addModel("digits", as: "test/digits")
        try await pier.addModel("embed-text", as: "test/embed")
        let agent = try await pier.startAgent(
            offering: ["test/chat", "test/digits", "test/embed"], "--max-context-tier", "3")

        let streamed = try await pier.chat("test/chat", tokens: 24, stream: true)
        let events = SentEvent.parse(streamed.text)
        #expect(events.last?.data == "[DONE]", "\(streamed.text) \(agent.stderr)")
        #expect(events.count > 12)
        let usage = events.lazy.compactMap { JSON(Data($0.data.utf8))["usage"]?["completion_tokens"]?.int }.last
        #expect(usage == 24)
        let whole = JSON(try await pier.chat("test/chat", tokens: 24).stdout)
        #expect(whole["choices"]?.array.first?["message"]?["content"]?.string == Self.text(events))

        let known = JSON(try Data(contentsOf: URL(filePath: stage.path("test-digits/expected.json"))))
        let pixels = try #require(known["pixels"]?.array.dropFirst(7).first).array.compactMap(\.double)
        let expected = try #require(known["probabilities"]?.array.dropFirst(7).first).array.compactMap(\.double)
        let data = pixels.map { "\($0)" }.joined(separator: ",")
        let inferred = try await pier.post(
            "/run/test/digits", #"{"inputs":[{"name":"pixels","datatype":"FP32","shape":[1,64],"data":[\#(data)]}]}"#
        ).finish()
        let outputs = JSON(inferred.stdout)["outputs"]?.array ?? []
        let said = outputs.first { $0["name"]?.string == "probabilities" }?["data"]?.array.compactMap(\.double) ?? []
        #expect(said.count == 10, "\(inferred.text)")
        for (mine, theirs) in zip(said, expected) { #expect(abs(mine - theirs) <= 1e-5) }
        #expect(outputs.first { $0["name"]?.string == "label" }?["data"]?.array.first?.int == 7)

        let embedded = try await pier.post(
            "/v1/embeddings", #"{"model":"test/embed","input":["the cat sleeps","prime numbers"]}"#
        ).finish()
        let rows = JSON(embedded.stdout)["data"]?.array.compactMap { $0["embedding"]?.array.count }
        #expect(rows == [64, 64], "\(embedded.text)")

        // Each model answers what it can, and is not offered for anything else.
        let wrong = try await pier.post("/v1/embeddings", #"{"model":"test/chat","input":"x"}"#).finish()
        #expect(JSON(wrong.stdout)["error"]?["message"]?.string != nil, "\(wrong.text)")
        #expect(wrong.stderr.firstMatch(of: /HTTP\/1.1 4\d\d/) != nil, "\(wrong.stderr)")

        // What the host says of itself in its heartbeats.
        var report: JSON?
        _ = await eventually {
            guard let hosts = try? await pier.get("/hosts") else { return false }
            report = JSON(hosts.stdout)["hosts"]?.array.first?["report"]
            return report?["speed"]?["test/chat"]?.double != nil
        }
        #expect((report?["speed"]?["test/chat"]?.double ?? 0) > 1, "\(report?.description ?? "no report")")
        #expect((report?["free_memory"]?.int ?? 0) > 1 << 20)
        let formats = report?["formats"]?.array.compactMap(\.string) ?? []
        #expect(formats.contains("gguf") && formats.contains("onnx"))
        #expect(report?["models"]?.array.count == 3 && report?["max_context_tier"]?.int == 3)

        for (answer, engine, package) in [
            (streamed, "longshore/llama-cpp", "xllamacpp"), (inferred, "longshore/onnxruntime", "onnxruntime"),
        ] {
            let id = try #require(Self.job(answer), "\(answer.stderr)")
            var audit = try await stage.run("longshore", "jobs", "audit", id, "--verify")
            _ = try await eventually {
                audit = try await stage.run("longshore", "jobs", "audit", id, "--verify")
                return audit.stderr.contains("engine ")
            }
            #expect(audit.code == 0, "\(audit.stderr)")
            #expect(audit.stderr.contains("signed by host"))
            #expect(
                audit.stderr.firstMatch(of: try Regex("engine \(engine) [0-9.]+ sha256:[0-9a-f]{64}, which ran sha256:")) != nil
            )
            #expect(audit.stderr.firstMatch(of: try Regex("\(package) [0-9.]+.*sha256:[0-9a-f]{64}")) != nil, "\(audit.stderr)")
        }
        await pier.harbour.close(agent)
    }

    @Test func `an engine killed in mid-stream ends the stream with an error event, and the next request has its answer`()
        async throws
    {
        let pier = try await Pier.open(stage)
        try await pier.addEngine("llama-cpp", grant: "xllamacpp")
        try await pier.addModel("tiny-chat", as: "test/chat")
        let agent = try await pier.startAgent(offering: ["test/chat"])
        let before = try await pier.chat("test/chat")
        let engine = try #require(Self.engines(of: agent.pid).first, "no engine runs: \(agent.stderr)")
        let stream = try pier.post(
            "/v1/chat/completions", pier.chatBody("test/chat", tokens: 1900, stream: true))
        while stream.isRunning, stream.stdout.count(where: { $0 == 10 }) < 8 { try await Task.sleep(for: .milliseconds(1)) }
        kill(engine, SIGKILL)
        let cut = await stream.finish()
        let events = SentEvent.parse(cut.text)
        #expect(events.count > 3)
        #expect(events.last { $0.data != "[DONE]" }.map { JSON(Data($0.data.utf8))["error"]?["message"]?.string } != nil)
        #expect(events.contains { $0.data.contains(#""error""#) }, "\(cut.text.suffix(400)) \(agent.stderr)")
        let after = try await pier.chat("test/chat")
        #expect(JSON(after.stdout)["choices"]?.array.first?["message"]?["content"]?.string != nil, "\(after.text)")
        #expect(
            JSON(after.stdout)["choices"]?.array.first?["message"]?["content"]?.string
                == JSON(before.stdout)["choices"]?.array.first?["message"]?["content"]?.string)
        let second = try #require(Self.engines(of: agent.pid).first)
        #expect(second != engine)
        await pier.harbour.close(agent)
    }

    @Test func `ten models in room for three: only the least recently used go, and no request fails`() async throws {
        let pier = try await Pier.open(stage)
        try await pier.addEngine("llama-cpp", grant: "xllamacpp")
        let models = (0..<10).map { "test/chat-\($0)" }
        for model in models { try await pier.addModel("tiny-chat", as: model) }
        // What one takes is measured first; one that was never loaded counts as its header says.
        let first = try await pier.startAgent(offering: models)
        _ = try await pier.chat("test/chat-0")
        let ready = "a model is loaded"
        _ = await eventually { first.stderr.contains(ready) }
        let measured = try #require(first.stderr.firstMatch(of: /memory=(\d+)/).flatMap { Int($0.1) }, "\(first.stderr)")
        await first.destroy()
        let inspected = JSON(
            try await stage.run("longshore", "inspect", stage.path("test-chat-0.cargo"), "--json").orFail("inspect").stdout)
        let estimate = try #require(
            inspected["config"]?["serving"]?["estimate"], "\(inspected)")
        let expected = ["weights", "cache", "compute"].compactMap { estimate[$0]?.int }.reduce(256 << 20, +)
        // Two that are loaded and one that comes fit, three and one do not.
        let agent = try await pier.startAgent(offering: models, "--model-memory", "\(expected + measured * 5 / 2)")
        for model in models {
            let answer = try await pier.chat(model)
            #expect(JSON(answer.stdout)["choices"]?.array.count == 1, "\(model): \(answer.text) \(agent.stderr)")
        }
        let unloaded = agent.stderr.matches(of: /model=(test\/chat-\d) .*a model was unloaded/).map { String($0.1) }
        #expect(unloaded.count >= 7 && unloaded == Array(models.prefix(unloaded.count)), "\(unloaded)")
        // All at once: they take turns.
        let asked = try models.map { try pier.post("/v1/chat/completions", pier.chatBody($0, tokens: 4, stream: false)) }
        for (model, request) in zip(models, asked) {
            let answer = await request.finish()
            #expect(JSON(answer.stdout)["choices"]?.array.count == 1, "\(model): \(answer.text)")
        }
        await pier.harbour.close(agent)
    }

    @Test func `while a model is loaded, its request is provisioned and says how far the load is`() async throws {
        let pier = try await Pier.open(stage)
        try stage.write(
            """
            name: test/slow
            version: 1.0.0
            kind: engine
            command: [/usr/bin/python3, "{engine}/main.py", "{socket}"]
            engine: {protocol: openai, kinds: [gguf], operations: [chat/completions], ready: {path: /health, timeout: 60s}}
            """, to: "slow/cargo.yaml")
        // Two seconds until it listens; then every answer is the same.
        try stage.write(
            #"""
            import json, socketserver, sys, time
            from http.server import BaseHTTPRequestHandler
            class Handler(BaseHTTPRequestHandler):
                def address_string(self): return "local"
                def log_message(self, *_): pass
                def reply(self, value):
                    body = json.dumps(value).encode()
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                def do_GET(self): self.reply({})
                def do_POST(self):
                    self.rfile.read(int(self.headers["Content-Length"]))
                    message = {"role": "assistant", "content": "at last"}
                    self.reply({"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                                "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}})
            time.sleep(2)
            socketserver.ThreadingUnixStreamServer(sys.argv[1], Handler).serve_forever()
            """#, to: "slow/main.py")
        try await stage.run(
            "cargo-run", "engines", "add", stage.path("slow"), environment: ["LONGSHORE_HOME": stage.path(Self.home)]
        ).orFail("engines add")
        try await pier.addModel("tiny-chat", as: "test/chat")
        let agent = try await pier.startAgent(offering: ["test/chat"])
        let request = try pier.post("/v1/chat/completions", pier.chatBody("test/chat", tokens: 4, stream: false))
        let submitted = await eventually {
            (try? await pier.get("/jobs")).map { !(JSON($0.stdout)["jobs"]?.array ?? []).isEmpty } ?? false
        }
        #expect(submitted)
        let jobs = JSON(try await pier.get("/jobs").stdout)["jobs"]?.array ?? []
        let id = try #require(jobs.first?["id"]?.string)
        let events = SentEvent.parse(try await pier.get("/jobs/\(id)/events").text)
        let loads = events.filter { $0.name == "progress" }.map { JSON(Data($0.data.utf8)) }
        #expect(loads.contains { $0["phase"]?.string == "loading" && ($0["total"]?.int ?? 0) > 100_000 }, "\(events)")
        let states = events.filter { $0.name == "status" }.compactMap { JSON(Data($0.data.utf8))["status"]?.string }
        #expect(states.contains("provisioning") && states.last == "complete", "\(states)")
        _ = await request.finish()
        await pier.harbour.close(agent)
    }

    /// The model servers that live below a process.
    private static func engines(of ancestor: pid_t) -> [pid_t] {
        let processes = ((try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []).compactMap { pid_t($0) }
        func parent(_ process: pid_t) -> pid_t? {
            guard let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8) else { return nil }
            // The name in parentheses may hold anything.
            return text.split(separator: ")").last?.split(separator: " ").dropFirst().first.flatMap { pid_t($0) }
        }
        return processes.filter { process in
            guard let line = FileManager.default.contents(atPath: "/proc/\(process)/cmdline"),
                String(decoding: line, as: UTF8.self).contains("/engine/serve.py")
            else { return false }
            var next = parent(process)
            for _ in 0..<16 {
                if next == ancestor { return true }
                next = next.flatMap { $0 > 1 ? parent($0) : nil }
            }
            return false
        }
    }
}
