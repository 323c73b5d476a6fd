import CargoArtifact
import CargoFiles
import SystemPackage
import Testing

@testable import CargoPacking

@Suite struct CargoSourceTests {
    private let head = "name: acme/x\nversion: 1.0.0\nkind: process\ncommand: [a]\n"

    @Test func readsEveryField() throws {
        let source = try CargoSource(
            yaml: head + """
                description: Text
                licenses: [Apache-2.0]
                interface: stdio-jsonl
                env: {LOG_LEVEL: info}
                job-env: [TOKEN]
                files: [main.py, data/]
                resources: {cpu: 2, memory: 2GiB, disk: 1GiB, pids: 128, time: 10m, gpu: {count: 1, vram: 6GiB}}
                network: {egress: ["example.org:443"]}
                sandbox: strict
                rootfs: layers
                image: {bundled: image.tar}
                outputs: {max-bytes: 1GiB, max-files: 1000}
                pricing: {per-job: 1, per-second: 0.5, per-1k-input-tokens: 0, per-1k-output-tokens: 0, per-image: 2}
                cache: false
                """)
        #expect(source.files == ["main.py", "data"])
        #expect(source.config.resources.memory == ByteCount(2 << 30) && source.config.resources.time == Seconds(600))
        #expect(source.config.network == .egress(["example.org:443"]) && source.config.rootfs == .layers)
        #expect(source.image == .bundled("image.tar") && source.config.image == nil)
        #expect(source.config.jobEnv == ["TOKEN"] && source.config.cache == false && source.config.pricing?.perSecond == 0.5)
        let again = try StrictJSON.decode(
            CargoConfig.self, from: try CanonicalJSON.encode(source.config), limit: 1 << 20)
        #expect(again == source.config)
    }

    @Test func `what an engine runs needs no command, and names the models that it asks`() throws {
        let head = "name: acme/x\nversion: 1.0.0\nkind: process\nengine: acme/chains\n"
        let chain = try CargoSource(yaml: head + "models: [acme/one, llama3.2:latest]\n").config
        #expect(chain.models == ["acme/one", "llama3.2:latest"] && chain.command == nil)
        for wrong in [
            "models: []", "models: [a, a]", "models: [\"a b\"]",
            "models: [\(Array(0...16).map(String.init).joined(separator: ","))]",
        ] {
            #expect(throws: SourceFailure.self) { try CargoSource(yaml: head + wrong + "\n") }
        }
        #expect(throws: SourceFailure.self) { try CargoSource(yaml: self.head + "models: [acme/one]\n") }
    }

    @Test func `an engine may be a server that runs already`() throws {
        let head = "name: acme/x\nversion: 1.0.0\nkind: engine\nengine:\n  "
        let engine = try CargoSource(yaml: head + "{protocol: ollama, server: {url: 'http://127.0.0.1:11434'}, slots: 2}\n")
            .config
        #expect(engine.engineManifest?.server == .init(url: "http://127.0.0.1:11434") && engine.engineManifest?.kinds == [])
        #expect(engine.command == nil && engine.engineManifest?.slots == 2)
        for wrong in [
            "{server: {}}", "{protocol: open-inference, server: {}}", "{protocol: openai, server: {}, kinds: [gguf]}",
            "{protocol: openai, server: {port: 1}}", "{protocol: openai, server: {}, ready: {path: /x}}",
        ] {
            #expect(throws: SourceFailure.self) { try CargoSource(yaml: head + wrong + "\n") }
        }
        let named = "command: [a]\nengine: {kinds: [onnx], by-name: true, fields: [knob]}\n"
        let manifest = try CargoSource(yaml: "name: acme/x\nversion: 1.0.0\nkind: engine\n" + named).config.engineManifest
        #expect(manifest?.byName == true && manifest?.fields == ["knob"])
    }

    @Test(arguments: [
        ("nmae: x\n", 5, 1, "unknown"), ("Interface: files\n", 5, 1, "did you mean 'interface'"),
        ("interface: tcp\n", 5, 12, "choose one of"),
        ("resources: {memory: lots}\n", 5, 21, "a size"), ("resources: {time: soon}\n", 5, 19, "a time"),
        ("resources:\n  cpu: 2\n  gpu: {vrm: 1}\n", 7, 9, "unknown"), ("env: {PATH: /x}\n", 5, 13, "runtime"),
        ("env: {LD_PRELOAD: /x}\n", 5, 19, "runtime"), ("job-env: [1A]\n", 5, 11, "no name"),
        ("network: all\n", 5, 10, "network is"),
        ("network: {egress: [nowhere]}\n", 5, 20, "host:port"), ("files: [../x]\n", 5, 9, "leads out"),
        ("files: [/etc]\n", 5, 9, "absolute"),
        ("cache: maybe\n", 5, 8, "true or false"), ("name: acme/y\n", 5, 1, "twice, first on line 1"),
        ("resources:\n  cpu: 1\n  cpu: 2\n", 7, 3, "twice, first on line 6"), ("x: [\n", 6, 1, ""),
        ("description: &a b\n", 5, 14, "anchors"), ("licenses: [&a [x], *a]\n", 5, 12, "anchors"),
        ("model: {weights: x}\n", 5, 8, "does not belong"),
        ("engine: llama\n", 5, 9, "publisher/name"),
    ]) func saysLineAndColumnOfAMistake(_ text: String, _ line: Int, _ column: Int, _ part: String) throws {
        do {
            _ = try CargoSource(yaml: head + text)
            Issue.record("it was taken: \(text)")
        } catch let failure as SourceFailure {
            #expect(failure.line == line, "\(failure)")
            #expect(failure.message.contains(part), "\(failure)")
            if part != "" && part != "does not belong" { #expect(failure.column == column, "\(failure)") }
        }
    }

    @Test(arguments: [
        "", "a", "[]", "name: acme/x\n", "name: Acme/x\nversion: 1.0.0\nkind: process\ncommand: a\n",
        "name: acme/x\nversion: '1.0'\nkind: process\ncommand: a\n", "name: acme/x\nversion: 1.0.0\nkind: process\n",
        "name: acme/x\nversion: 1.0.0\nkind: gguf\n", "name: acme/x\nversion: 1.0.0\nkind: container\nimage: alpine:3.20\n",
        "name: acme/x\nversion: 1.0.0+b\nkind: process\ncommand: a\n",
    ]) func refusesWhatIsNoCargo(_ text: String) {
        #expect(throws: SourceFailure.self) { try CargoSource(yaml: text) }
    }

    @Test func refusesNestingBombsQuickly() {
        for text in [
            String(repeating: "[", count: 100_000), String(repeating: "- ", count: 100_000),
            String(repeating: "a: {", count: 5000),
        ] {
            #expect(throws: SourceFailure.self) { try CargoSource(yaml: text) }
        }
    }
}

@Suite struct CargoTemplateTests {
    @Test(arguments: CargoKind.allCases) func writesAnExampleThatReads(_ kind: CargoKind) throws {
        try withScratch { (folder: Folder) throws in
            let path = folder.path.appending("My Cargo")
            let files = try CargoTemplate(kind: kind).write(to: path)
            let source = try CargoPacker(source: path).readSource()
            #expect(source.config.kind == kind && source.config.name == "example/my-cargo" && files.contains("cargo.yaml"))
            #expect(throws: SourceFailure.self) { try CargoTemplate(kind: kind).write(to: path) }
            if kind == .process || kind == .engine {
                let packed = try CargoPacker(source: path).pack(to: folder.path.appending("a.cargo"))
                #expect(packed.config == source.config)
            }
        }
    }
}
