import CargoArchive
import CargoArtifact
import CargoEndpoints
import CargoPacking
import CargoStore
import CargoWire
import FoundationEssentials
import Glibc
import Synchronization
import SystemPackage

@testable import CargoEngines

/// A store, an owner's list, and engines and models in them.
final class EngineBench: Sendable {
    let root: FilePath
    let store: CargoStore
    var list: FilePath { root.appending("config/engines.json") }

    /// The locked wheels of an engine, as scripts/setup installs them.
    static func venv(_ engine: String) throws -> String {
        guard system("scripts/engine-venv \(engine) >&2") == 0 else { throw Errno.noSuchFileOrDirectory }
        return FileManager.default.currentDirectoryPath + "/.build/engines/" + engine
    }

    init() throws {
        var template = Array("/tmp/longshore-engines-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Errno(rawValue: errno) }
        root = FilePath(String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
        _ = made
        store = try CargoStore(root: root.appending("store"))
    }

    deinit { _ = system("rm -rf '\(root.string)'") }

    /// Packs a folder and stores it.
    func add(folder: FilePath) throws -> StoredCargo {
        let archive = root.appending("cargo-\(UInt32.random(in: 0 ... .max)).cargo")
        _ = try CargoPacker(source: folder).pack(to: archive)
        return try store.ingest(archive: archive, policy: .integrityOnly)
    }

    @discardableResult func add(files: [String: String]) throws -> StoredCargo {
        let folder = root.appending("source-\(UInt32.random(in: 0 ... .max))")
        try FileManager.default.createDirectory(atPath: folder.string, withIntermediateDirectories: true)
        for (name, text) in files { try text.write(toFile: folder.appending(name).string, atomically: true, encoding: .utf8) }
        return try add(folder: folder)
    }

    /// Puts an engine into the owner's list.
    func grant(_ cargo: StoredCargo, _ grants: [String: String] = [:], visible: [String]? = nil, trusted: Bool = false) throws {
        var entry = EngineList.Entry(name: cargo.config.name, digest: cargo.digest)
        entry.grants = grants
        entry.visible = visible
        entry.trusted = trusted
        var all = try EngineList(contentsOf: list)
        all.add(entry)
        try all.write(to: list)
    }

    /// The GGUF engine of this product with the wheel of this checkout.
    func addLlama(trusted: Bool = false) throws {
        try grant(try add(folder: "cargos/engines/llama-cpp"), ["xllamacpp": try EngineBench.venv("llama-cpp")], trusted: trusted)
    }

    /// The ONNX engine of this product.
    func addONNX() throws {
        try grant(try add(folder: "cargos/engines/onnxruntime"), ["onnxruntime": try EngineBench.venv("onnxruntime")])
    }

    /// The engine for pictures, which stands on the same wheels.
    func addImage() throws {
        try grant(try add(folder: "cargos/engines/image"), ["onnxruntime": try EngineBench.venv("onnxruntime")])
    }

    func addTransformers() throws {
        try grant(try add(folder: "cargos/engines/transformers"), ["transformers": try EngineBench.venv("transformers")])
    }

    func addLangChain() throws {
        try grant(try add(folder: "cargos/engines/langchain"), ["langchain": try EngineBench.venv("langchain")])
    }

    /// A chain of its own for the LangChain engine, over the models that it names.
    @discardableResult func addChain(_ text: String, name: String = "test/chain", models: [String]) throws -> StoredCargo {
        try add(files: [
            "cargo.yaml": """
            name: \(name)
            version: 1.0.0
            kind: process
            engine: longshore/langchain
            models: [\(models.joined(separator: ", "))]
            resources: {cpu: 1, memory: 1GiB, pids: 128, time: 10m}
            """,
            "chain.py": text,
        ])
    }

    /// The generated Hugging Face model under another architecture, or with another chat template.
    @discardableResult func addTalk(_ name: String, architecture: String? = nil, template: String? = nil) throws -> StoredCargo {
        try EngineBench.makeExample("tiny-talk")
        let folder = root.appending("talk-\(UInt32.random(in: 0 ... .max))")
        _ = system("cp -r .build/cargos/tiny-talk '\(folder.string)'")
        func change(_ file: String, _ old: String, _ new: String) throws {
            let path = folder.appending(file).string
            let text = try String(contentsOfFile: path, encoding: .utf8)
            try text.replacing(old, with: new).write(toFile: path, atomically: true, encoding: .utf8)
        }
        try change("cargo.yaml", "longshore/tiny-talk", name)
        if let architecture { try change("config.json", "LlamaForCausalLM", architecture) }
        if let template {
            try change("tokenizer_config.json", "{{ bos_token }}", template)
        }
        return try add(folder: folder)
    }

    static func makeExample(_ name: String) throws {
        // What was made before the example changed is made anew.
        func text(_ folder: String) -> String? { try? String(contentsOfFile: folder + "/\(name)/cargo.yaml", encoding: .utf8) }
        guard text(".build/cargos") != text("cargos") else { return }
        guard system("scripts/cargos .build/cargos \(name) >/dev/null") == 0 else { throw Errno.noSuchFileOrDirectory }
    }

    /// An example cargo with what its script generates.
    @discardableResult func addExample(_ name: String) throws -> StoredCargo {
        try EngineBench.makeExample(name)
        return try add(folder: FilePath(".build/cargos/\(name)"))
    }

    /// An engine for GGUF cargos that is a small Python script. `more`: further lines of its manifest.
    func addScript(
        _ script: String, timeout: String = "5s", silence: String = "2s", kind: String = "gguf", more: String = ""
    ) throws {
        let engine = try add(files: [
            "cargo.yaml": """
            name: test/script
            version: 1.0.0
            kind: engine
            command: [/usr/bin/python3, "{engine}/main.py", "{socket}", "{models}"]
            engine:
              protocol: openai
              kinds: [\(kind)]
              operations: [chat/completions]
              ready: {path: /health, timeout: \(timeout)}
              silence: \(silence)
              slots: 4
            \(more)
            """,
            "main.py": script,
        ])
        try grant(engine)
    }

    /// The generated chat model, made once for this checkout, under a name of its own.
    @discardableResult func addChat(_ name: String = "longshore/tiny-chat", memory: String = "512MiB") throws -> StoredCargo {
        let source = FilePath(".build/cargos/tiny-chat")
        if !FileManager.default.fileExists(atPath: source.appending("model.gguf").string) {
            guard system("scripts/cargos .build/cargos tiny-chat >/dev/null") == 0 else { throw Errno.noSuchFileOrDirectory }
        }
        let folder = root.appending("chat-\(UInt32.random(in: 0 ... .max))")
        _ = system("cp -r '\(source.string)' '\(folder.string)'")
        let yaml = folder.appending("cargo.yaml").string
        let text = try String(contentsOfFile: yaml, encoding: .utf8)
        let lines = text.split(separator: "\n").map { line in
            line.hasPrefix("name:") ? "name: \(name)" : line.replacing("512MiB", with: memory)
        }
        try (lines.joined(separator: "\n") + "\n").write(toFile: yaml, atomically: true, encoding: .utf8)
        return try add(folder: folder)
    }

    /// A cargo whose config is that of an honest model and whose weights are anything: what nobody's `pack` makes.
    func addHostile(weights: [UInt8]) throws -> StoredCargo {
        var config = try addChat().config
        config.name = "test/hostile"
        let configBytes = try CanonicalJSON.encode(config)
        var layer = Descriptor(mediaType: MediaType.weight, digest: Digest(of: weights), size: Int64(weights.count))
        layer.annotations = ["org.cncf.model.filepath": "model.gguf", "org.opencontainers.image.title": "model.gguf"]
        let manifest = ImageManifest(
            artifactType: MediaType.cargo,
            config: Descriptor(
                mediaType: MediaType.cargoConfig, digest: Digest(of: configBytes), size: Int64(configBytes.count)),
            layers: [layer], annotations: nil)
        let bytes = try CanonicalJSON.encode(manifest)
        let archive = root.appending("hostile-\(UInt32.random(in: 0 ... .max)).cargo")
        try ArchiveWriter(
            root: Descriptor(mediaType: MediaType.imageManifest, digest: Digest(of: bytes), size: Int64(bytes.count)),
            rootBytes: bytes, content: .manifest(manifest), version: config.version, signatures: []
        ) { $0.digest == layer.digest ? .bytes(weights) : .bytes(configBytes) }.write(to: archive)
        return try store.ingest(archive: archive, policy: .integrityOnly)
    }

    /// Runs a house while `body` works with it.
    @discardableResult func withHouse<Value: Sendable>(
        memory: Int64 = 4 << 30, onChange: @escaping @Sendable (EngineHouse.ModelChange) -> Void = { _ in },
        _ body: @escaping @Sendable (EngineHouse) async throws -> Value
    ) async throws -> Value {
        var settings = EngineHouse.Settings(store: store, list: list, memory: memory) { .integrityOnly }
        settings.onChange = onChange
        let house = EngineHouse(settings)
        return try await withThrowingTaskGroup(of: Value?.self) { group in
            group.addTask {
                await house.run()
                return nil
            }
            group.addTask { try await body(house) }
            while let value = try await group.next() {
                guard let value else { continue }
                group.cancelAll()
                return value
            }
            throw CancellationError()
        }
    }
}

/// What came of one request.
final class Reply: Sendable {
    let state = Mutex((status: 0, type: "", pieces: [[UInt8]]()))

    var text: String { state.withLock { String(decoding: $0.pieces.flatMap { $0 }, as: UTF8.self) } }
    var status: Int { state.withLock { $0.status } }
    var pieces: Int { state.withLock { $0.pieces.count } }
}

extension EngineHouse {
    /// Asks something whose answer comes whole.
    func ask(
        _ model: String, _ operation: ModelRequest.Operation, _ body: String, account: String = "one"
    ) async throws -> JSONValue {
        let reply = Reply()
        _ = try await answer(
            ModelRequest(operation: operation, model: model, body: body), account: account,
            head: { head in reply.state.withLock { $0.status = head.status } },
            body: { bytes in reply.state.withLock { $0.pieces.append(bytes) } })
        return try StrictJSON.parse(Array(reply.text.utf8), limit: 64 << 20)
    }

    /// Asks a chat model something; `onPiece` hears of each piece.
    func chat(
        _ model: String, _ prompt: String = "hello", account: String = "one", tokens: Int = 16, stream: Bool = true,
        into reply: Reply = Reply(), onPiece: @escaping @Sendable (Int) async -> Void = { _ in }
    ) async throws -> (reply: Reply, usage: ModelUsage?) {
        let body =
            #"{"messages":[{"role":"user","content":"\#(prompt)"}],"max_tokens":\#(tokens),"temperature":0,"ignore_eos":true,"stream":\#(stream)}"#
        let usage = try await answer(
            ModelRequest(operation: .chat, model: model, body: body, stream: stream), account: account,
            head: { head in reply.state.withLock { ($0.status, $0.type) = (head.status, head.contentType) } },
            body: { bytes in
                let count = reply.state.withLock { state in
                    state.pieces.append(bytes)
                    return state.pieces.count
                }
                await onPiece(count)
            })
        return (reply, usage)
    }
}
