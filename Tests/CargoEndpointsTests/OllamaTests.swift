import CargoArtifact
import CargoEndpoints
import CargoWire
import Testing

/// Ollama's own API, as its documentation records it, comes out as OpenAI's.
@Suite struct OllamaTests {
    static let stream = """
        {"model":"llama3.2","created_at":"2023-08-04T08:52:19.385406455-07:00","message":{"role":"assistant","content":"Grüße","images":null},"done":false}
        {"model":"llama3.2","created_at":"2023-08-04T08:52:19.485406455-07:00","message":{"role":"assistant","content":" 🌊 \\"x\\"\\n"},"done":false}
        {"model":"llama3.2","created_at":"2023-08-04T19:22:45.499127Z","message":{"role":"assistant","content":""},"done_reason":"stop","done":true,"total_duration":4883583458,"load_duration":1334875,"prompt_eval_count":26,"prompt_eval_duration":342546000,"eval_count":282,"eval_duration":4535599000}

        """

    private func server(_ port: Int) -> ModelServer { ModelServer(.tcp(host: "127.0.0.1", port: port), dialect: .ollama) }

    private func object(_ text: String) throws -> [String: JSONValue] {
        guard case .object(let object) = try StrictJSON.parse(Array(text.utf8), limit: 1 << 20) else { throw Wrong() }
        return object
    }

    private func choice(_ event: String) throws -> [String: JSONValue] {
        guard case .array(let choices)? = try object(event)["choices"], case .object(let choice)? = choices.first else {
            throw Wrong()
        }
        return choice
    }

    @Test(arguments: [1, 2, 3, 5, 17, 4096])
    func jsonLinesBecomeEventsWhereverTheyAreCut(size: Int) async throws {
        let bytes = Array(OllamaTests.stream.utf8)
        try await ScriptedServer.run { exchange in
            try await exchange.begin(type: "application/x-ndjson")
            for start in stride(from: 0, to: bytes.count, by: size) {
                try await exchange.chunk(bytes[start..<min(start + size, bytes.count)])
            }
            try await exchange.end()
        } body: { port in
            let answer = Answer()
            let usage = try await server(port).ask(
                chat(stream: true, more: #","stream_options":{"include_usage":true}"#), as: "llama3.2", into: answer)
            #expect(usage == ModelUsage(promptTokens: 26, completionTokens: 282))
            #expect(answer.head == AnswerHead(status: 200, contentType: "text/event-stream"))
            let events = answer.events
            #expect(events.count == 5)
            #expect(events.last == "[DONE]")
            #expect(try choice(events[0])["delta"] == .object(["role": .string("assistant"), "content": .string("Grüße")]))
            #expect(try choice(events[1])["delta"] == .object(["content": .string(" 🌊 \"x\"\n")]))
            #expect(try choice(events[2])["finish_reason"] == .string("stop"))
            let last = try object(events[3])
            #expect(last["choices"] == .array([]))
            #expect(
                last["usage"]
                    == .object(["prompt_tokens": .integer(26), "completion_tokens": .integer(282), "total_tokens": .integer(308)])
            )
            #expect(try object(events[0])["model"] == .string("acme/m"))
            #expect(try object(events[0])["object"] == .string("chat.completion.chunk"))
            #expect(Set(try events.dropLast().map { try object($0)["id"] }).count == 1)
        }
    }

    @Test func aWholeAnswerIsACompletion() async throws {
        let reply =
            #"{"model":"llama3.2","created_at":"2023-12-12T14:13:43.416799Z","message":{"role":"assistant","content":"Hello! How are you today?"},"done":true,"total_duration":5191566416,"load_duration":2154458,"prompt_eval_count":26,"prompt_eval_duration":383809000,"eval_count":298,"eval_duration":4799921000}"#
        try await ScriptedServer.run {
            try await $0.answer(reply)
        } body: { port in
            let answer = Answer()
            _ = try await server(port).ask(chat(), into: answer)
            let whole = try object(answer.text)
            #expect(whole["object"] == .string("chat.completion"))
            #expect(
                try choice(answer.text)["message"]
                    == .object(["role": .string("assistant"), "content": .string("Hello! How are you today?")]))
            #expect(try choice(answer.text)["finish_reason"] == .string("stop"))
        }
    }

    @Test func theRequestIsWhatOllamaTakes() async throws {
        try await ScriptedServer.run { exchange in
            guard exchange.path == "/api/chat" else { return try await exchange.answer("{}", status: "404 Not Found") }
            let quoted = exchange.body.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
            try await exchange.answer(#"{"message":{"content":"\#(quoted)"},"done":true}"#)
        } body: { port in
            let body = #"""
                {"messages":[{"role":"developer","content":"Be short."},
                {"role":"user","content":[{"type":"text","text":"What is this?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]},
                {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"look","arguments":"{\"at\":3}"}}]},
                {"role":"tool","tool_call_id":"c1","content":"a whale"}],
                "max_tokens":7,"temperature":0,"stop":"END","response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object"}}}}
                """#
            let answer = Answer()
            _ = try await server(port).ask(ModelRequest(operation: .chat, model: "m", body: body), as: "llava:7b", into: answer)
            guard case .object(let message)? = try choice(answer.text)["message"], case .string(let echo)? = message["content"]
            else {
                throw Wrong()
            }
            let expected = #"""
                {"format":{"type":"object"},"messages":[{"content":"Be short.","role":"system"},
                {"content":"What is this?","images":["iVBORw0KGgo="],"role":"user"},
                {"content":"","role":"assistant","tool_calls":[{"function":{"arguments":{"at":3},"name":"look"}}]},
                {"content":"a whale","role":"tool","tool_name":"look"}],"model":"llava:7b",
                "options":{"num_predict":7,"stop":["END"],"temperature":0},"stream":false}
                """#
            #expect(try object(echo) == object(expected))
        }
    }

    @Test func toolCallsThoughtsAndLengthComeThrough() async throws {
        let lines = """
            {"message":{"role":"assistant","content":"","thinking":"hm"},"done":false}
            {"message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},"done":false}
            {"message":{"role":"assistant","content":""},"done":true,"done_reason":"stop"}
            """
        try await ScriptedServer.run {
            try await $0.answer(lines, type: "application/x-ndjson")
        } body: { port in
            let answer = Answer()
            _ = try await server(port).ask(chat(stream: true), into: answer)
            let events = answer.events
            guard case .object(let thought)? = try choice(events[0])["delta"],
                case .object(let call)? = try choice(events[1])["delta"],
                case .array(let calls)? = call["tool_calls"], case .object(let first)? = calls.first
            else { throw Wrong() }
            #expect(thought["reasoning_content"] == .string("hm"))
            #expect(first["function"] == .object(["name": .string("f"), "arguments": .string(#"{"a":1}"#)]))
            #expect(first["index"] == .integer(0))
            #expect(try choice(events[2])["finish_reason"] == .string("tool_calls"))
            #expect(events[3] == "[DONE]")
        }
        let cut = #"{"message":{"content":"x"},"done":true,"done_reason":"length"}"#
        try await ScriptedServer.run {
            try await $0.answer(cut)
        } body: { port in
            let answer = Answer()
            _ = try await server(port).ask(chat(), into: answer)
            #expect(try choice(answer.text)["finish_reason"] == .string("length"))
        }
    }

    @Test func completionsTravelAsGenerate() async throws {
        let lines = """
            {"model":"llama3.2","created_at":"2023-08-04T08:52:19.385406455-07:00","response":"The","done":false}
            {"model":"llama3.2","created_at":"2023-08-04T19:22:45.499127Z","response":"","done":true,"context":[1,2,3],"prompt_eval_count":26,"eval_count":290}
            """
        try await ScriptedServer.run { exchange in
            guard exchange.path == "/api/generate", exchange.body.contains(#""raw":true"#) else { return }
            try await exchange.answer(lines, type: "application/x-ndjson")
        } body: { port in
            let answer = Answer()
            let request = ModelRequest(operation: .completions, model: "m", body: #"{"prompt":"Why?"}"#, stream: true)
            let usage = try await server(port).ask(request, into: answer)
            #expect(usage == ModelUsage(promptTokens: 26, completionTokens: 290))
            #expect(try choice(answer.events[0])["text"] == .string("The"))
            #expect(answer.events.last == "[DONE]")
        }
    }

    @Test func embeddingsComeAsNumbersOrPackedAsTheOpenAIClientsAsk() async throws {
        let reply =
            #"{"model":"all-minilm","embeddings":[[0.5,-2],[1,0.25]],"total_duration":14143917,"load_duration":1019500,"prompt_eval_count":8}"#
        try await ScriptedServer.run {
            try await $0.answer(reply)
        } body: { port in
            for (format, expected) in [
                ("float", JSONValue.array([.number(0.5), .integer(-2)])), ("base64", .string("AAAAPwAAAMA=")),
            ] {
                let answer = Answer()
                let body = #"{"input":["a","b"],"encoding_format":"\#(format)"}"#
                let usage = try await server(port).ask(ModelRequest(operation: .embeddings, model: "m", body: body), into: answer)
                guard case .array(let data)? = try object(answer.text)["data"], case .object(let first)? = data.first else {
                    throw Wrong()
                }
                #expect(first["embedding"] == expected)
                #expect(data.count == 2)
                #expect(usage == ModelUsage(promptTokens: 8))
            }
        }
    }

    @Test(arguments: [
        (ModelRequest.Operation.images, #"{"prompt":"a whale"}"#, "images/generations"),
        (.chat, #"{"messages":[{"role":"user","content":"x"}],"n":2}"#, "'n'"),
        (.chat, #"{"messages":[{"role":"user","content":"x"}],"logit_bias":{"5":-100}}"#, "logit_bias"),
        (.completions, #"{"prompt":["a","b"]}"#, "one prompt"),
        (.embeddings, #"{"input":[[1,2]]}"#, "embeds text"),
    ])
    func whatOllamaCannotDoIsRefusedByName(operation: ModelRequest.Operation, body: String, named: String) async throws {
        let failure = await failure {
            try await server(1).ask(ModelRequest(operation: operation, model: "m", body: body), into: Answer())
        }
        #expect(failure?.code == .badRequest)
        #expect(failure?.message.contains(named) == true)
    }

    @Test func itsErrorsAreOursInTheHeadAndInTheMiddle() async throws {
        try await ScriptedServer.run { exchange in
            try await exchange.answer(#"{"error":"model 'x' not found"}"#, status: "404 Not Found")
        } body: { port in
            let failure = await failure { try await server(port).ask(chat(stream: true), into: Answer()) }
            #expect(failure?.code == .modelNotFound)
            #expect(failure?.message.contains("model 'x' not found") == true)
        }
        let broken = #"{"message":{"content":"a"},"done":false}"# + "\n"
        for (ending, code) in [
            (#"{"error":"an error was encountered while running the model"}"#, ModelFailure.Code.failed), ("", .failed),
            ("<html>", .badAnswer),
        ] {
            try await ScriptedServer.run {
                try await $0.answer(broken + ending, type: "application/x-ndjson")
            } body: { port in
                let answer = Answer()
                let failure = await failure { try await server(port).ask(chat(stream: true), into: answer) }
                #expect(failure?.code == code)
            }
        }
    }
}
