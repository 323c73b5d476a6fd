import CargoArtifact
import CargoEndpoints
import CargoStore
import CargoWire
import FoundationEssentials
import Testing

@testable import CargoEngines

/// Engines that are servers of the host already, and what engines are told of a request.
@Suite(.serialized) struct ServerEngineTests {
    private func add(_ bench: EngineBench, _ server: String, url: String?) async throws -> EngineSet {
        let cargo = try bench.add(files: [
            "cargo.yaml": "name: me/server\nversion: 1.0.0\nkind: engine\nengine:\n  \(server)\n", "note": "x",
        ])
        var entry = EngineList.Entry(name: "me/server", digest: cargo.digest)
        entry.url = url
        var list = EngineList()
        list.add(entry)
        try list.write(to: bench.list)
        return await EngineSet.load(store: bench.store, list: bench.list)
    }

    @Test func `ten lines of YAML describe a server, and its owner says where it is`() async throws {
        let bench = try EngineBench()
        let yaml =
            "{protocol: openai, server: {url: 'http://127.0.0.1:8000'}, operations: [embeddings], fields: [knob], slots: 9}"
        let set = try await add(bench, yaml, url: "http://127.0.0.1:9/v1")
        #expect(set.ready.isEmpty && set.refused.isEmpty)
        let server = try #require(set.servers.first?.server)
        // The cargo's own word is a proposal only.
        #expect(server.address.description == "http://127.0.0.1:9/v1")
        #expect(server.language == .speaks(.openAI) && server.operations == [.embeddings] && server.fields == ["knob"])
        #expect(server.slots == 9)
        let without = try await add(bench, yaml, url: nil)
        #expect(without.servers.isEmpty)
        #expect(without.refused.first?.reason.contains("--url http://127.0.0.1:8000") == true)
    }

    @Test(arguments: ["http://10.0.0.1:80", "http://169.254.169.254", "http://example.org", "https://127.0.0.1", "ftp://x", "x"])
    func `a server on another machine is no engine of this one`(url: String) async throws {
        let bench = try EngineBench()
        let set = try await add(bench, "{protocol: ollama, server: {}}", url: url)
        #expect(set.servers.isEmpty && set.refused.count == 1)
    }

    @Test func `check says what answers and what does not`() async throws {
        let bench = try EngineBench()
        _ = try await add(bench, "{protocol: ollama, server: {}}", url: "unix:///nowhere/model.sock")
        let findings = await EngineCheck(store: bench.store, list: bench.list).run()
        #expect(findings.map(\.works) == [false])
        #expect(findings.first?.message.contains("/nowhere/model.sock") == true)
    }

    @Test func `fields beyond the usual ones reach an engine whose manifest lists them`() async throws {
        let bench = try EngineBench()
        // Says which fields it got.
        let script = """
            import json, socketserver, sys
            from http.server import BaseHTTPRequestHandler
            class Handler(BaseHTTPRequestHandler):
                address_string = lambda self: "local"
                def say(self, value):
                    body = json.dumps(value).encode()
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                def do_GET(self):
                    self.say({})
                def do_POST(self):
                    got = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                    self.say({"object": "chat.completion", "got": sorted(got), "knob": got.get("knob"), "choices": []})
            class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
                daemon_threads = True
            Server(sys.argv[1], Handler).serve_forever()
            """
        try bench.addScript(script, timeout: "20s", silence: "20s", more: "  fields: [knob, top_k]")
        try bench.addChat()
        try await bench.withHouse { house in
            let messages = #""messages":[{"role":"user","content":"x"}]"#
            func ask(_ more: String) async throws -> JSONValue {
                try await house.ask("longshore/tiny-chat", .chat, "{\(messages),\(more)}")
            }
            let answer = try await ask(#""knob":[1,"two",true],"top_k":4,"slot_id":3,"lora":"x","cache_prompt":true"#)
            #expect(answer.member("got") == .array(["knob", "messages", "model", "top_k"].map(JSONValue.string)))
            #expect(answer.member("knob") == .array([.integer(1), .string("two"), .bool(true)]))
            // Scalars and lists of them: nothing deep, nothing huge; and a usual field keeps its bounds.
            let long = String(repeating: "x", count: 70_000)
            for wrong in [#""knob":{"a":{"b":1}}"#, #""knob":[[1]]"#, #""knob":"\#(long)""#, #""top_k":"four""#] {
                await #expect { _ = try await ask(wrong) } throws: { ($0 as? ModelFailure)?.code == .badRequest }
            }
        }
    }

    @Test func `each engine in Python has the same file for its socket`() throws {
        let files = try ["image", "onnxruntime", "transformers", "langchain"].map {
            try String(contentsOfFile: "cargos/engines/\($0)/wire.py", encoding: .utf8)
        }
        #expect(Set(files).count == 1)
    }
}
