public import CargoArtifact
internal import CargoFiles
public import SystemPackage

/// A small working example of each kind, as `longshore init` writes it.
public struct CargoTemplate: Sendable {
    public let kind: CargoKind

    private static let schema = "cargo.schema.json"

    public init(kind: CargoKind) { self.kind = kind }

    /// Writes the files into a folder and returns their names; refused when one of them exists already.
    public func write(to path: FilePath) throws -> [String] {
        let folder = try Folder.open(path, create: 0o755)
        let name = CargoTemplate.name(of: path)
        // Beside the file that it describes, so that an editor finds it without a network; it is not packed.
        let files = contents(name: name) + [(CargoTemplate.schema, Array(EmbeddedSchema.text.utf8))]
        for (file, _) in files where try folder.status(file) != nil {
            throw SourceFailure(path.appending(file).string, "exists already; choose an empty folder")
        }
        for (file, bytes) in files { try folder.writeDurably(file, bytes, permissions: 0o644) }
        return files.map(\.0)
    }

    /// A name that a cargo may have, from a folder's.
    private static func name(of path: FilePath) -> String {
        let last = path.lastComponent?.string.lowercased() ?? ""
        let plain = String(last.unicodeScalars.map { ("a"..."z").contains($0) || ("0"..."9").contains($0) ? Character($0) : "-" })
        let parts = plain.split(separator: "-")
        let joined = parts.joined(separator: "-").prefix(64)
        return CargoName("example/" + joined) == nil ? "hello" : String(joined)
    }

    private func contents(name: String) -> [(String, [UInt8])] {
        let head = """
            # yaml-language-server: $schema=\(CargoTemplate.schema)
            name: example/\(name)
            version: 0.1.0
            kind: \(kind.rawValue)

            """
        func text(_ name: String, _ text: String) -> (String, [UInt8]) { (name, Array(text.utf8)) }
        let ignore = text(".cargoignore", ".git\n.env\n*.md\n\(CargoTemplate.schema)\n")
        switch kind {
        case .process:
            return [text("cargo.yaml", head + process), text("main.sh", CargoTemplate.script), ignore]
        case .engine:
            return [text("cargo.yaml", head + CargoTemplate.engine), text("serve.py", CargoTemplate.server), ignore]
        case .container:
            return [
                text("cargo.yaml", head + CargoTemplate.container), ("image.tar", ExampleFiles.image()),
                text("README.md", CargoTemplate.imageNote), ignore,
            ]
        case .gguf, .onnx:
            let bytes = kind == .gguf ? ExampleFiles.gguf() : ExampleFiles.onnx()
            return [
                text("cargo.yaml", head + model), ("model.\(kind.rawValue)", bytes), text("README.md", modelNote), ignore,
            ]
        case .wasm:
            return [
                text("cargo.yaml", head + CargoTemplate.wasm), ("main.wasm", ExampleFiles.wasm()),
                text("main.wat", CargoTemplate.wat), text("README.md", CargoTemplate.watNote), ignore,
            ]
        }
    }

    private var process: String {
        """
        description: Counts the bytes of its input files.
        command: [/bin/sh, main.sh]
        resources: {cpu: 1, memory: 256MiB, pids: 32, time: 1m}

        """
    }

    private static let engine = """
        description: A model server. See docs/engines.md for the words in braces.
        command: [/usr/bin/python3, "{engine}/serve.py", "{model}", "{socket}"]
        engine:
          protocol: openai
          kinds: [gguf]
          operations: [chat/completions]
          ready: {path: /health, timeout: 2m}
        files: [serve.py]

        """

    private static let server = #"""
        import json, socketserver, sys
        from http.server import BaseHTTPRequestHandler


        class Handler(BaseHTTPRequestHandler):
            address_string = lambda self: "local"

            def reply(self, value):
                body = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self.reply({})

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                text = "You said: " + str(asked["messages"][-1]["content"])
                self.reply({"object": "chat.completion", "model": "model", "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]})


        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True


        Server(sys.argv[2], Handler).serve_forever()

        """#

    private static let script = """
        set -eu
        for file in "$CARGO_INPUT"/*; do
            [ -f "$file" ] || continue
            wc -c < "$file" > "$CARGO_OUTPUT/$(basename "$file").count"
        done
        echo "done"

        """

    private static let container = """
        description: Runs a command of an image that travels inside the cargo.
        image: {bundled: image.tar}
        command: [/hello]
        resources: {cpu: 1, memory: 256MiB, pids: 64, time: 5m}

        """

    private static let imageNote = """
        image.tar holds one program that says hello. Put your own image in its place, and its command into cargo.yaml:

            docker save -o image.tar alpine:3.20

        """

    private var model: String {
        """
        description: \(kind == .gguf ? "A chat model with random weights." : "Multiplies rows of four numbers with a matrix.")
        model:
          weights: model.\(kind.rawValue)
        # memory is estimated from the model's header when it is left out
        resources: {cpu: 2, time: 10m}

        """
    }

    private var modelNote: String {
        """
        model.\(kind.rawValue) is \(kind == .gguf ? "a llama of a few hundred kilobytes with random weights" : "one multiplication"). Put your own
        model in its place before packing. The files of a split model, and an ONNX model's external
        data, are found from the first file and become layers of their own.

        """
    }

    private static let wasm = """
        description: A WebAssembly module for WASI.
        command: [main.wasm]
        files: [main.wasm]
        resources: {cpu: 1, memory: 256MiB, time: 1m}

        """

    private static let wat = #"""
        (module
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 8) "hello\0a")
          (func (export "_start")
            (i32.store (i32.const 0) (i32.const 8))
            (i32.store (i32.const 4) (i32.const 6))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))))

        """#

    private static let watNote = """
        main.wasm is main.wat, translated:

            wat2wasm main.wat -o main.wasm

        """
}
