import CargoArtifact
import CargoEndpoints
import CargoRunner
import CargoStore
import CargoWire
import Synchronization
import Testing

@testable import CargoEngines

/// The engine for Hugging Face models with its example cargo, for real and confined.
@Suite(.serialized) struct TransformersTests {
    @Test func `a Hugging Face model streams its tokens, the same for the same seed`() async throws {
        let bench = try EngineBench()
        try bench.addTransformers()
        try bench.addExample("tiny-talk")
        try await bench.withHouse { house in
            let first = try await house.chat("longshore/tiny-talk", tokens: 24)
            #expect(first.reply.text.hasPrefix("data: {"))
            #expect(first.reply.text.hasSuffix("data: [DONE]\n\n"))
            #expect(first.reply.pieces > 4)
            #expect(first.usage?.completionTokens == 24)
            func say(_ seed: Int, _ more: String = "") async throws -> JSONValue {
                try await house.ask(
                    "longshore/tiny-talk", .chat,
                    #"{"messages":[{"role":"user","content":"hi"}],"max_tokens":40,"temperature":0.9,"seed":\#(seed)\#(more)}"#)
            }
            func text(_ answer: JSONValue) -> String? {
                answer.member("choices")?.items?.first?.member("message")?.member("content")?.text
            }
            let said = try #require(text(try await say(1)))
            #expect(text(try await say(1)) == said)
            #expect(text(try await say(2)) != said)
            // Byte by byte with the template's own words: <s>, <|user|>, hi, <|assistant|> and three line ends.
            #expect(try await say(1).member("usage")?.member("prompt_tokens") == .integer(1 + 9 + 3 + 14))
            let stop = String(try #require(said.dropFirst(5).first))
            let cut = try await say(1, #","stop":["\#(stop)"]"#)
            #expect(text(cut) == String(said.prefix { String($0) != stop }))
            #expect(cut.member("choices")?.items?.first?.member("finish_reason") == .string("stop"))
        }
    }

    @Test func `the model's own chat template speaks, and one that never ends is ended`() async throws {
        let bench = try EngineBench()
        try bench.addTransformers()
        try bench.addTalk("test/strict", template: "{{ raise_exception('users only') }}")
        let loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
        try bench.addTalk("test/loop", template: loop)
        try await bench.withHouse { house in
            await #expect {
                _ = try await house.chat("test/strict")
            } throws: { error in
                (error as? ModelFailure)?.code == .badRequest && "\(error)".contains("users only")
            }
            await #expect(throws: ModelFailure.self) { try await house.chat("test/loop") }
        }
    }

    @Test func `a classifier and an embedder answer in their protocols`() async throws {
        let bench = try EngineBench()
        try bench.addTransformers()
        try bench.addTalk("test/mood", architecture: "LlamaForSequenceClassification")
        try bench.addTalk("test/near", architecture: "LlamaModel")
        try await bench.withHouse { house in
            let answer = try await house.ask(
                "test/mood", .infer, #"{"inputs":[{"name":"text","datatype":"BYTES","shape":[2],"data":["good","bad"]}]}"#)
            let outputs = try #require(answer.member("outputs")?.items)
            let scores = try #require(outputs.first { $0.member("name") == .string("scores") }?.member("data")?.items)
            #expect(scores.count == 6)
            #expect(abs(scores.prefix(3).compactMap(\.double).reduce(0, +) - 1) < 1e-5)
            let labels = outputs.first { $0.member("name") == .string("label") }?.member("data")?.items ?? []
            #expect(labels.count == 2 && labels.allSatisfy { ["low", "middle", "high"].contains($0.text) })
            let near = try await house.ask("test/near", .embeddings, #"{"input":["a sea","a sea","prime numbers"]}"#)
            let rows = (near.member("data")?.items ?? []).map { ($0.member("embedding")?.items ?? []).compactMap(\.double) }
            #expect(rows.map(\.count) == [64, 64, 64])
            #expect(rows.first == rows.dropFirst().first && rows.first != rows.last)
            #expect(abs((rows.first ?? []).reduce(-1) { $0 + $1 * $1 }) < 1e-5)
            await #expect {
                _ = try await house.chat("test/near")
            } throws: { error in
                (error as? ModelFailure)?.code != nil
            }
        }
    }

    @Test func `killed in mid-stream it ends with an error, and the next request succeeds`() async throws {
        let bench = try EngineBench()
        try bench.addTransformers()
        try bench.addExample("tiny-talk")
        try await bench.withHouse { house in
            let reply = Reply()
            await #expect(throws: ModelFailure.self) {
                _ = try await house.chat("longshore/tiny-talk", tokens: 1900, into: reply) { count in
                    if count == 3 { house.killAll() }
                }
            }
            #expect(reply.status == 200)
            #expect(!reply.text.contains("[DONE]"))
            let again = try await house.chat("longshore/tiny-talk")
            #expect(again.reply.text.hasSuffix("data: [DONE]\n\n"))
        }
    }

    @Test func `whoever hangs up ends the generation, and the next one begins`() async throws {
        let bench = try EngineBench()
        try bench.addTransformers()
        try bench.addExample("tiny-talk")
        try await bench.withHouse { house in
            struct Enough: Error {}
            let first = Task {
                try await house.chat("longshore/tiny-talk", tokens: 1900) { count in
                    if count == 2 { withUnsafeCurrentTask { $0?.cancel() } }
                }
            }
            _ = await first.result
            let again = try await house.chat("longshore/tiny-talk", tokens: 4)
            #expect(again.usage?.completionTokens == 4)
        }
    }

    @Test func `weights that are no safetensors are not loaded`() async throws {
        let bench = try EngineBench()
        try bench.addTransformers()
        try bench.add(files: [
            "cargo.yaml": """
            name: test/pickle
            version: 1.0.0
            kind: process
            engine: longshore/transformers
            resources: {cpu: 1, memory: 2GiB, pids: 128}
            """,
            "config.json":
                #"{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":8,"num_attention_heads":1}"#,
            "pytorch_model.bin": "cos\nsystem\n(S'touch /job/output/pwned'\ntR.",
        ])
        try await bench.withHouse { house in
            await #expect {
                _ = try await house.chat("test/pickle")
            } throws: { error in
                (error as? ModelFailure)?.code == .unavailable && "\(error)".contains("exit code")
            }
        }
    }
}
