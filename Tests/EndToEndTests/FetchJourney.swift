import Foundation
import TestStage
import Testing

/// A model that nobody has comes to an idle host because somebody asks for it.
@Suite struct FetchJourney {
    /// Answers every chat with one word, after reading the whole request.
    private static let engine = """
        import json, os, socketserver, sys
        from http.server import BaseHTTPRequestHandler
        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_): pass
            def address_string(self): return "engine"
            def say(self, value):
                body = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            def do_GET(self): self.say({})
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                message = {"role": "assistant", "content": "ahoy"}
                self.say({"id": "x", "object": "chat.completion", "created": 0, "model": "model",
                          "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                          "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})
        Server(sys.argv[1], Handler).serve_forever()
        """

    @Test(.timeLimit(.minutes(3))) func `an idle host fetches, verifies and serves the model that a queued request waits for`()
        async throws
    {
        let stage = try Stage()
        let harbour = try await Harbour.open(stage)
        let python = Stage.repository.appending(path: ".build/venv/bin/python").path
        for name in ["test/wanted", "evil/wanted"] {
            let source = "src-" + name.replacing("/", with: "-")
            try stage.write(
                """
                name: \(name)
                version: 1.0.0
                kind: gguf
                model: {weights: model.gguf, context: 512}
                resources: {memory: 512MiB}
                """, to: source + "/cargo.yaml")
            let made = try await stage.run(
                python, Stage.repository.appending(path: "cargos/tiny-chat/make.py").path, stage.path(source))
            try #require(made.code == 0, "\(made.stderr)")
            // Signed by the same key, which is trusted for the names test/* alone.
            let pack = try await stage.run(
                "longshore", "pack", stage.path(source), "--key", "test", "-o", stage.path(source + ".cargo"))
            try #require(pack.code == 0, "\(pack.stderr)")
            let push = try await stage.run("longshore", "push", stage.path(source + ".cargo"), name + ":1.0.0")
            try #require(push.code == 0, "\(push.stderr)")
        }
        try stage.write(
            """
            name: test/word
            version: 1.0.0
            kind: engine
            command: [/usr/bin/python3, "{engine}/main.py", "{socket}"]
            engine:
              protocol: openai
              kinds: [gguf]
              operations: [chat/completions]
              ready: {path: /health, timeout: 30s}
            """, to: "src-engine/cargo.yaml")
        try stage.write(Self.engine, to: "src-engine/main.py")
        let home = ["LONGSHORE_HOME": stage.path("home-island")]
        let add = try await stage.run("cargo-run", "engines", "add", stage.path("src-engine"), environment: home)
        try #require(add.code == 0, "\(add.stderr)")
        let agent = try stage.start(
            [
                "cargo-run", "agent", "--coordinator", harbour.url, "--api-key-file", harbour.keyFile, "--name", "island",
                "--no-scan", "--fetch-budget", "64MiB",
            ], environment: home)
        let key = try String(contentsOfFile: harbour.keyFile, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
        func submit(_ model: String) async throws -> String {
            let reply = try await stage.run(
                "/usr/bin/curl", "-s", "-H", "Authorization: Bearer \(key)", harbour.url + "/jobs", "-d",
                #"{"model":"\#(model)","input":"who is there?"}"#)
            return try #require(JSON(reply.stdout)["id"]?.string, "\(reply.text)")
        }
        let untrusted = try await submit("evil/wanted")
        let wanted = try await submit("test/wanted")
        let ended = try await harbour.await(wanted, ["complete", "error"], within: 120)
        #expect(ended["status"]?.string == "complete", "\(ended) \(agent.stderr)")
        let answer = try await stage.run(
            "/usr/bin/curl", "-s", "-H", "Authorization: Bearer \(key)", harbour.url + "/output/gen/instruct/\(wanted)")
        #expect(answer.text.contains("ahoy"), "\(answer.text)")
        #expect(agent.stderr.contains("fetched a model"), "\(agent.stderr)")
        // What no trusted signature stands for is not stored, however many wait for it.
        let list = try await stage.run("cargo-run", "cache", "ls", environment: home)
        #expect(list.text.contains("test/wanted") && !list.text.contains("evil/wanted"), "\(list.text)")
        #expect(try await harbour.job(untrusted)["status"]?.string == "queued")
        await harbour.close(agent)
    }
}
