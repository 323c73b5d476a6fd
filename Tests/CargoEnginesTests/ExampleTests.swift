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

/// Each engine of this product with its example cargo, for real and confined.
@Suite(.serialized) struct ExampleTests {
    @Test func `ONNX outputs equal onnxruntime's own within a millionth`() async throws {
        let bench = try EngineBench()
        try bench.addONNX()
        try bench.addExample("digits")
        let expected = try expectation()
        try await bench.withHouse { house in
            for (pixels, probabilities) in expected {
                let data = pixels.map { "\($0)" }.joined(separator: ",")
                let body = #"{"inputs":[{"name":"pixels","datatype":"FP32","shape":[1,64],"data":[\#(data)]}]}"#
                let answer = try await house.ask("longshore/digits", .infer, body)
                let outputs = try #require(answer.member("outputs")?.items)
                let said = try #require(outputs.first { $0.member("name") == .string("probabilities") }?.member("data")?.items)
                for (mine, theirs) in zip(said, probabilities) { #expect(abs((mine.double ?? 9) - theirs) <= 1e-6) }
                #expect(said.count == 10)
            }
        }
    }

    /// What onnxruntime says when it is called directly, with no engine between.
    private func expectation() throws -> [(pixels: [Double], probabilities: [Double])] {
        let script = """
            import json, numpy, onnxruntime
            s = onnxruntime.InferenceSession('.build/cargos/digits/model.onnx', providers=['CPUExecutionProvider'])
            r = numpy.random.default_rng(7).random((5, 64), dtype=numpy.float32)
            p = [s.run(['probabilities'], {'pixels': row[None]})[0][0].tolist() for row in r]
            print(json.dumps([[a.tolist(), b] for a, b in zip(r, p)]))
            """
        let file = "/tmp/longshore-digits-\(getpid()).json"
        defer { unlink(file) }
        let python = try EngineBench.venv("onnxruntime") + "/bin/python3"
        #expect(system("\(python) -c \"\(script)\" > \(file)") == 0)
        let rows = try StrictJSON.parse(Array(try Data(contentsOf: URL(filePath: file))), limit: 1 << 20).items ?? []
        return rows.compactMap { row in
            guard let both = row.items, both.count == 2 else { return nil }
            return ((both[0].items ?? []).compactMap(\.double), (both[1].items ?? []).compactMap(\.double))
        }
    }

    @Test func `texts that share words lie close together`() async throws {
        let bench = try EngineBench()
        try bench.addONNX()
        try bench.addExample("embed-text")
        try await bench.withHouse { house in
            let answer = try await house.ask(
                "longshore/embed-text", .embeddings, #"{"input":["the cat sleeps","the cat slept","prime numbers"]}"#)
            let rows = (answer.member("data")?.items ?? []).map { ($0.member("embedding")?.items ?? []).compactMap(\.double) }
            #expect(rows.map(\.count) == [64, 64, 64])
            func near(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
            guard rows.count == 3 else { return }
            #expect(near(rows[0], rows[1]) > near(rows[0], rows[2]) + 0.2)
        }
    }

    @Test func `a request that a model cannot do is refused with a sentence`() async throws {
        let bench = try EngineBench()
        try bench.addONNX()
        try bench.addExample("digits")
        try await bench.withHouse { house in
            await #expect {
                _ = try await house.ask(
                    "longshore/digits", .infer, #"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}"#)
            } throws: {
                ($0 as? ModelFailure)?.code == .badRequest && "\($0)".contains("no input 'x'")
            }
        }
    }

    // MARK: Jobs

    private struct Job {
        var log: String
        var outcome: RunOutcome
    }

    private func run(_ bench: EngineBench, _ cargo: StoredCargo, _ change: (inout RunRequest) -> Void) async throws -> Job {
        var request = RunRequest(cargo: cargo, jobID: "0198c0de-0000-7000-8000-000000000000", output: bench.root.appending("out"))
        change(&request)
        let said = Mutex<[UInt8]>([])
        let outcome = try await EngineRunner(
            store: bench.store, list: bench.list, models: .stored(.integrityOnly, memory: 4 << 30)
        ).run(request) { event in
            if case .log(_, _, let bytes) = event { said.withLock { $0 += bytes } }
        }
        return Job(log: said.withLock { String(decoding: $0, as: UTF8.self) }, outcome: outcome)
    }

    /// Both engines for modules, by name.
    private func addWasm(_ bench: EngineBench, _ engine: String) throws {
        let cargo = try bench.add(folder: FilePath("cargos/engines/\(engine)"))
        if engine == "wasmkit" {
            let program = try #require(HostProgram.found().first { $0.name == "wasmkit" })
            try bench.grant(cargo, ["wasmkit": program.path], visible: program.visible)
        } else {
            try bench.grant(cargo, ["wasmtime-wheel": try EngineBench.venv("wasmtime")])
        }
    }

    @Test(arguments: ["wasmkit", "wasmtime"])
    func `a module gets its arguments, and prints what wasmkit prints outside`(engine: String) async throws {
        let bench = try EngineBench()
        try addWasm(bench, engine)
        let cargo = try bench.addExample("primes-wasm")
        let job = try await run(bench, cargo) { $0.arguments = ["30"] }
        let file = "/tmp/longshore-primes-\(getpid())"
        defer { unlink(file) }
        _ = system("wasmkit run .build/cargos/primes-wasm/primes.wasm 30 > \(file) 2>&1")
        #expect(job.log == (try String(contentsOfFile: file, encoding: .utf8)))
        #expect(job.log.hasPrefix("2\n3\n5\n7\n"))
        #expect(job.outcome.exitCode == 0)
    }

    @Test(arguments: ["wasmkit", "wasmtime"])
    func `a module that speaks in JSON lines streams tokens, progress and an image`(engine: String) async throws {
        let bench = try EngineBench()
        try addWasm(bench, engine)
        let cargo = try bench.addExample("tides-wasm")
        let said = Mutex<[UInt8]>([])
        let streams = Mutex<Set<RunEvent.Stream>>([])
        // More than any pipe holds.
        let hours = 20_000
        var request = RunRequest(
            cargo: cargo, jobID: "0198c0de-0000-7000-8000-000000000000", output: bench.root.appending("out"))
        request.parameters = ["hours": .integer(Int64(hours)), "place": .string("Dover")]
        request.logLimits = LogLimits(total: 64 << 20, rate: 1 << 30, burst: 1 << 30)
        let outcome = try await EngineRunner(store: bench.store, list: bench.list).run(request) { event in
            guard case .log(let stream, _, let bytes) = event else { return }
            _ = streams.withLock { $0.insert(stream) }
            said.withLock { $0 += bytes }
        }
        #expect(outcome.exitCode == 0)
        #expect(outcome.malformedLines == 0)
        #expect(streams.withLock { $0 } == [.event])
        let lines = try said.withLock { $0 }.split(separator: 10).map { try StrictJSON.parse(Array($0), limit: 1 << 20) }
        let types = lines.compactMap { $0.member("type")?.text }
        #expect(types.count(where: { $0 == "token" }) == hours)
        #expect(types.count(where: { $0 == "progress" }) == hours / 10)
        #expect(types.first == "status" && types.suffix(2) == ["image", "done"])
        #expect(lines[1].member("content") == .string("flood ") && lines[7].member("content") == .string("ebb "))
        #expect(outcome.outputs.map(\.path) == ["image-1.png"])
        let image = try Data(contentsOf: URL(filePath: bench.root.appending("out/image-1.png").string))
        #expect(image.starts(with: [0x89, 0x50, 0x4E, 0x47]))
    }

    @Test func `an outcome names the engine that made it and what that stood on`() async throws {
        let bench = try EngineBench()
        try addWasm(bench, "wasmkit")
        let cargo = try bench.addExample("primes-wasm")
        var request = RunRequest(
            cargo: cargo, jobID: "0198c0de-0000-7000-8000-000000000000", output: bench.root.appending("out"))
        request.arguments = ["10"]
        let outcome = try await EngineRunner(store: bench.store, list: bench.list, recordsEngines: true).run(request) { _ in }
        let record = try #require(outcome.engine)
        #expect(record.name == "longshore/wasmkit" && record.version == "1.0.0")
        #expect(record.digest == (try EngineList(contentsOf: bench.list)).engines.first?.digest.description)
        #expect(record.model == cargo.digest.description)
        #expect(record.programs.map(\.name) == ["wasmkit"])
        let program = try #require(HostProgram.found().first { $0.name == "wasmkit" })
        #expect(
            record.programs.first?.digest == Digest(of: Array(try Data(contentsOf: URL(filePath: program.path)))).description)
        let plain = try await EngineRunner(store: bench.store, list: bench.list).run(request) { _ in }
        #expect(plain.engine == nil)
    }

    @Test func `a model is offered for what it can do, and for nothing else that its engine answers`() async throws {
        let bench = try EngineBench()
        try bench.addONNX()
        try bench.addLlama()
        for example in ["digits", "embed-text", "tiny-chat"] { try bench.addExample(example) }
        try await bench.withHouse { house in
            let offered = Dictionary(uniqueKeysWithValues: await house.models().map { ($0.id, $0.operations) })
            #expect(offered["longshore/digits"] == [.infer])
            #expect(offered["longshore/embed-text"] == [.infer, .embeddings])
            #expect(offered["longshore/tiny-chat"] == [.chat, .completions])
            await #expect {
                _ = try await house.ask("longshore/digits", .embeddings, #"{"input":"x"}"#)
            } throws: {
                ($0 as? ModelFailure)?.code == .badRequest && "\($0)".contains("does not answer embeddings")
            }
        }
    }

    @Test func `a GGUF model that pools makes vectors of texts, and is offered for nothing else`() async throws {
        let bench = try EngineBench()
        try bench.addLlama()
        // The example's model, but for the line that makes it a chat.
        let folder = bench.root.appending("vectors").string
        let made = system(
            """
            mkdir -p '\(folder)' && sed 's/add_chat_template(TEMPLATE)/add_pooling_type(gguf.PoolingType.MEAN)/' \
            cargos/tiny-chat/make.py > '\(folder)/make.py' && .build/venv/bin/python '\(folder)/make.py' '\(folder)' \
            && rm '\(folder)/make.py' && sed 's/tiny-chat/vectors/' cargos/tiny-chat/cargo.yaml > '\(folder)/cargo.yaml'
            """)
        #expect(made == 0)
        _ = try bench.add(folder: FilePath(folder))
        try await bench.withHouse { house in
            #expect(await house.models().map(\.operations) == [[.embeddings]])
            let answer = try await house.ask(
                "longshore/vectors", .embeddings, #"{"input":["the cat sleeps","the cat slept"]}"#)
            let rows = (answer.member("data")?.items ?? []).map { ($0.member("embedding")?.items ?? []).compactMap(\.double) }
            #expect(rows.map(\.count) == [64, 64])
            #expect(rows.first != rows.last)
        }
    }

    @Test func `a module that takes too long is ended`() async throws {
        let bench = try EngineBench()
        try addWasm(bench, "wasmkit")
        let cargo = try bench.addExample("primes-wasm")
        let job = try await run(bench, cargo) {
            $0.arguments = ["10000000"]
            $0.limits.time = Seconds(0.2)
        }
        #expect(job.outcome.timedOut)
        #expect(job.outcome.wallSeconds < 10)
    }

    @Test func `a module that takes more memory than it has is ended`() async throws {
        let bench = try EngineBench()
        try addWasm(bench, "wasmkit")
        let cargo = try bench.addExample("primes-wasm")
        let job = try await run(bench, cargo) {
            $0.arguments = ["10000000"]
            $0.limits.memory = ByteCount(8 << 20)
        }
        #expect(job.outcome.oomKilled)
        #expect(job.outcome.exitCode != 0)
    }

    @Test func `a batch answers each line in its order, and a bad line stops no other`() async throws {
        let bench = try EngineBench()
        try bench.addLlama()
        let cargo = try bench.addChat()
        let lines = bench.root.appending("requests.jsonl")
        let body = #"{"messages":[{"role":"user","content":"hi"}],"max_tokens":4,"temperature":0}"#
        let text = (0..<9).map { number in
            number == 4 ? "no json" : #"{"custom_id":"q\#(number)","method":"POST","url":"/v1/chat/completions","body":\#(body)}"#
        }
        try text.joined(separator: "\n").write(toFile: lines.string, atomically: true, encoding: .utf8)
        let job = try await run(bench, cargo) { $0.inputs = [.init(name: "requests.jsonl", path: lines)] }
        #expect(job.outcome.exitCode == 1)
        #expect(job.outcome.outputs.map(\.path) == ["requests.answers.jsonl"])
        let answers = try String(contentsOfFile: bench.root.appending("out/requests.answers.jsonl").string, encoding: .utf8)
            .split(separator: "\n").map { try StrictJSON.parse(Array($0.utf8), limit: 1 << 20) }
        #expect(answers.count == 9)
        for (number, answer) in answers.enumerated() {
            if number == 4 {
                #expect(answer.member("error")?.member("code") == .string("bad_request"))
            } else {
                #expect(answer.member("custom_id") == .string("q\(number)"))
                #expect(answer.member("response")?.member("status_code") == .integer(200))
            }
        }
        #expect(
            job.outcome.outputs.first?.digest
                == Digest(
                    of: Array(try Data(contentsOf: URL(filePath: bench.root.appending("out/requests.answers.jsonl").string)))))
    }

    @Test func `a prompt as an argument streams its answer to the log`() async throws {
        let bench = try EngineBench()
        try bench.addLlama()
        let cargo = try bench.addChat()
        let job = try await run(bench, cargo) {
            $0.arguments = ["hello"]
            $0.parameters = ["max_tokens": .integer(12), "temperature": .integer(0), "ignore_eos": .bool(true)]
        }
        #expect(job.outcome.exitCode == 0)
        #expect(job.log.count > 4)
        #expect(job.log.hasSuffix("\n"))
    }

    @Test func `a model without an engine says how its owner adds one`() async throws {
        let bench = try EngineBench()
        let cargo = try bench.addChat()
        await #expect {
            _ = try await run(bench, cargo) { $0.arguments = ["hello"] }
        } throws: {
            "\($0)".contains("cargo-run engines add")
        }
    }

    @Test func `a path that was not granted is asked for by its name, and no cargo can name one`() async throws {
        let bench = try EngineBench()
        try bench.grant(try bench.add(folder: "cargos/engines/llama-cpp"))
        let set = await EngineSet.load(store: bench.store, list: bench.list)
        #expect(set.ready.isEmpty)
        #expect(set.refused.first?.reason.contains("llama-server, or xllamacpp") == true)
        for path in ["/etc", "/proc/1", "/run/docker.sock", "relative", "/opt/../etc", "/"] {
            try bench.grant(try bench.add(folder: "cargos/engines/llama-cpp"), ["xllamacpp": path])
            let cargo = try bench.addChat()
            await #expect(throws: Refusal.self) { _ = try await run(bench, cargo) { $0.arguments = ["hello"] } }
        }
    }
}

extension JSONValue {
    func member(_ name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members[name]
    }

    var items: [JSONValue]? {
        guard case .array(let items) = self else { return nil }
        return items
    }

    var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }

    var text: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }
}
