import CargoArtifact
import CargoWire
import FoundationEssentials
import NIOCore
import NIOHTTP1
import Testing

/// Anthropic's Messages API and the products' own `/run` in front of a host that is played by the test.
@Suite struct DialectTests {
    static let chat = """
        {"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"Hello there."}}],\
        "usage":{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}}
        """
    static let stream =
        [
            #"{"choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}}]}"#,
            #"{"choices":[{"index":0,"delta":{"content":"lo"}}]}"#,
            #"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"look","arguments":"{\"a\":"}}]}}]}"#,
            #"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}}]}"#,
            #"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
            #"{"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7}}"#,
        ].map { "data: \($0)\n\n" }.joined() + "data: [DONE]\n\n"

    static func message(_ more: [String: JSONValue] = [:]) -> JSONValue {
        var fields: [String: JSONValue] = [
            "model": .string("acme/tiny"), "max_tokens": .integer(64), "system": .string("Be brief."),
            "messages": .array([.object(["role": .string("user"), "content": .string("hello")])]),
        ]
        fields.merge(more) { $1 }
        return .object(fields)
    }

    /// Asks, lets the host answer, and gives what the host was asked and what the client got.
    static func exchange(
        _ port: Port, _ path: String, _ body: JSONValue, _ answer: String, type: String = "application/json",
        headers: [(String, String)] = []
    ) async throws -> (asked: JSONValue, reply: Reply) {
        let host = try await port.servingHost()
        async let waiting = port.send(.POST, path, body, headers: headers)
        let claim = try await host.claimRequest()
        // Cut where it hurts: inside an event.
        let bytes = Array(answer.utf8)
        let half = String(decoding: bytes[..<(bytes.count / 2)], as: UTF8.self)
        _ = try await host.answer(claim, half, type: type)
        _ = try await host.answer(claim, String(answer.dropFirst(half.count)), at: half.utf8.count, type: type)
        _ = try await host.completeAnswer(claim, answer, type: type)
        let asked = try JSONDecoder().decode(JSONValue.self, from: Data(claim.request["body"].string.utf8))
        return (asked, try await waiting)
    }

    @Test(.timeLimit(.minutes(1))) func `a message of Anthropic's clients is a chat, and its answer a message`() async throws {
        try await withCoordinator { port in
            let blocks: JSONValue = .array([
                .object(["role": .string("user"), "content": .string("look")]),
                .object([
                    "role": .string("assistant"),
                    "content": .array([
                        .object([
                            "type": .string("tool_use"), "id": .string("t1"), "name": .string("look"),
                            "input": .object(["a": .integer(1)]),
                        ])
                    ]),
                ]),
                .object([
                    "role": .string("user"),
                    "content": .array([
                        .object([
                            "type": .string("tool_result"), "tool_use_id": .string("t1"), "content": .string("found"),
                        ]),
                        .object(["type": .string("text"), "text": .string("go on")]),
                    ]),
                ]),
            ])
            let (asked, reply) = try await Self.exchange(
                port, "/v1/messages",
                Self.message([
                    "messages": blocks, "stop_sequences": .array([.string("END")]),
                    "tools": .array([
                        .object(["name": .string("look"), "input_schema": .object(["type": .string("object")])])
                    ]), "tool_choice": .object(["type": .string("any")]),
                ]), Self.chat, headers: [("x-api-key", "\(port.key)")])
            guard case .array(let turns) = asked["messages"] else { throw TestFailure("no messages") }
            #expect(turns.map { $0["role"].string } == ["system", "user", "assistant", "tool", "user"])
            #expect(turns[2]["tool_calls"].elementsOrEmpty.first?["function"]["arguments"].string == #"{"a":1}"#)
            #expect(turns[3]["tool_call_id"].string == "t1" && turns[4]["content"].string == "go on")
            #expect(asked["tool_choice"].string == "required" && asked["stop"].elementsOrEmpty == [.string("END")])
            #expect(asked["tools"].elementsOrEmpty.first?["function"]["name"].string == "look")
            #expect(reply.status == 200 && reply["type"].string == "message" && reply["role"].string == "assistant")
            #expect(reply["content"].elementsOrEmpty.first?["text"].string == "Hello there.")
            #expect(reply["stop_reason"].string == "end_turn" && reply["usage"]["input_tokens"] == .integer(11))
            #expect(reply["usage"]["output_tokens"] == .integer(3))
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a stream becomes Anthropic's events, block after block`() async throws {
        try await withCoordinator { port in
            let (asked, reply) = try await Self.exchange(
                port, "/v1/messages", Self.message(["stream": .bool(true)]), Self.stream, type: "text/event-stream")
            #expect(asked["stream_options"]["include_usage"] == .bool(true))
            let events = reply.text.split(separator: "\n\n").map { $0.split(separator: "\n") }
            #expect(
                events.map { $0.first.map(String.init) } == [
                    "event: message_start", "event: content_block_start", "event: content_block_delta",
                    "event: content_block_delta", "event: content_block_stop", "event: content_block_start",
                    "event: content_block_delta", "event: content_block_delta", "event: content_block_stop",
                    "event: message_delta", "event: message_stop",
                ])
            let data = try events.map { event in
                try JSONDecoder().decode(JSONValue.self, from: Data((event.last?.dropFirst(6) ?? "").utf8))
            }
            #expect(data[2]["delta"]["text"].string + data[3]["delta"]["text"].string == "Hello")
            #expect(data[5]["content_block"]["name"].string == "look" && data[5]["index"] == .integer(1))
            #expect(data[6]["delta"]["partial_json"].string + data[7]["delta"]["partial_json"].string == #"{"a":1}"#)
            #expect(data[9]["delta"]["stop_reason"].string == "tool_use" && data[9]["usage"]["output_tokens"] == .integer(7))
        }
    }

    @Test(.timeLimit(.minutes(1))) func `Anthropic's clients get errors in their own shape`() async throws {
        try await withCoordinator { port in
            _ = try await port.servingHost()
            func error(_ body: JSONValue) async throws -> (Int, String) {
                let reply = try await port.send(.POST, "/v1/messages", body)
                #expect(reply["type"].string == "error")
                return (reply.status, reply["error"]["type"].string)
            }
            #expect(try await error(Self.message(["model": .string("no/such")])) == (404, "not_found_error"))
            #expect(try await error(Self.message(["max_tokens": .null])) == (400, "invalid_request_error"))
            #expect(try await error(.array([])) == (400, "invalid_request_error"))
            let image: JSONValue = .object([
                "type": .string("image"),
                "source": .object(["type": .string("url"), "url": .string("http://169.254.169.254/")]),
            ])
            let turn: JSONValue = .object(["role": .string("user"), "content": .array([image])])
            #expect(try await error(Self.message(["messages": .array([turn])])) == (400, "invalid_request_error"))
            let nobody = try await port.with("ls_no").send(.POST, "/v1/messages", Self.message())
            #expect(nobody.status == 401 && nobody["error"]["type"].string == "authentication_error")
            #expect(try await port.get("/jobs/none")["title"].string == "Not Found")
            let reader = try await port.key(scopes: ["read"])
            #expect(try await reader.send(.POST, "/v1/messages", Self.message())["error"]["type"].string == "permission_error")
        }
    }

    @Test(.timeLimit(.minutes(1))) func `tokens are counted by the model itself`() async throws {
        try await withCoordinator { port in
            let (asked, reply) = try await Self.exchange(port, "/v1/messages/count_tokens", Self.message(), Self.chat)
            #expect(asked["max_tokens"] == .integer(1) && asked["stream"] == .null)
            #expect(reply.text == #"{"input_tokens":11}"#)
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a model runs by its name, in the words of page 001 or its own`() async throws {
        try await withCoordinator { port in
            let plain: JSONValue = .object([
                "model_name": .string("acme/tiny"), "prompt": .string("hello"), "max_tokens": .integer(5),
            ])
            let (asked, reply) = try await Self.exchange(port, "/run/model", plain, Self.chat)
            #expect(asked["messages"].elementsOrEmpty.first?["content"].string == "hello" && asked["max_tokens"] == .integer(5))
            #expect(asked["model_name"] == .null && asked["prompt"] == .null)
            #expect(reply["output"].string == "Hello there." && reply["status"].string == "completed")
            #expect(reply["usage"]["completion_tokens"] == .integer(3) && !reply["job_id"].string.isEmpty)

            let own = try await Self.exchange(
                port, "/run/acme/tiny", .object(["input": .string("hello")]), Self.chat)
            #expect(own.asked["model"].string == "acme/tiny" && own.reply.text == Self.chat)

            let streamed = try await Self.exchange(
                port, "/run/model",
                .object(["model": .string("acme/tiny"), "input_text": .string("hello"), "stream": .bool(true)]), Self.stream,
                type: "text/event-stream")
            let events = streamed.reply.text.split(separator: "\n\n").map(String.init)
            #expect(streamed.asked["stream_options"]["include_usage"] == .bool(true))
            #expect(events.count == 3 && events.first?.contains(#""type":"token""#) == true)
            #expect(
                events.last?.contains(#""type":"completed""#) == true && events.last?.contains(#""completion_tokens":7"#) == true)
            #expect(
                try await port.send(.POST, "/run/model", .object(["model": .string("no/such"), "prompt": .string("x")])).status
                    == 404)
            #expect(try await port.send(.POST, "/run/model", .object(["model": .string("acme/tiny")])).status == 400)
            #expect(try await port.get("/models")["models"].elementsOrEmpty.first?["name"].string == "acme/tiny")
        }
    }

    /// Lets the host answer the next request whole.
    static func serve(_ host: Port, _ answer: String, type: String = "application/json") async throws -> JSONValue {
        let claim = try await host.claimRequest()
        _ = try await host.answer(claim, answer, type: type)
        _ = try await host.completeAnswer(claim, answer, type: type)
        return try JSONDecoder().decode(JSONValue.self, from: Data(claim.request["body"].string.utf8))
    }

    @Test(.timeLimit(.minutes(1))) func `a request to a model can wait in the queue until a host serves it`() async throws {
        try await withCoordinator { port in
            let job: JSONValue = .object([
                "model": .string("acme/tiny"), "input": .object(["prompt": .string("hello"), "max_tokens": .integer(5)]),
                "metadata": .object(["row": .integer(7)]), "priority": .integer(60),
            ])
            let sent = try await port.send(.POST, "/jobs", job)
            #expect(sent.status == 202 && sent["model"].string == "acme/tiny" && sent["priority"] == .integer(60))
            let message = try await port.send(
                .POST, "/gen/instruct",
                .object([
                    "model": .string("acme/tiny"),
                    "messages": .array([
                        .object(["role": .string("user"), "content": .string("later")])
                    ]), "temperature": .integer(0),
                ]))
            #expect(message.status == 202)
            let host = try await port.host("h")
            let first = try await Self.serve(host, Self.chat)
            #expect(first["messages"].elementsOrEmpty.first?["content"].string == "hello" && first["max_tokens"] == .integer(5))
            let second = try await Self.serve(host, Self.chat)
            #expect(
                second["messages"].elementsOrEmpty.first?["content"].string == "later" && second["temperature"] == .integer(0))
            let output = try await port.get("/output/gen/instruct/\(message["message_id"].string)")
            #expect(output["status"].string == "complete")
            #expect(output["result"]["choices"].elementsOrEmpty.first?["message"]["content"].string == "Hello there.")
            #expect(output["result"]["usage"]["prompt_tokens"] == .integer(11))
            let done = try await port.get("/jobs/\(sent["id"].string)")
            #expect(done["status"].string == "complete" && done["metadata"]["row"] == .integer(7))
            let wrong = try await port.send(
                .POST, "/jobs", .object(["model": .string("acme/tiny"), "args": .array([.string("x")]), "input": .string("x")]))
            #expect(wrong.status == 422 && wrong["code"].string == "not_allowed")
            #expect(try await port.send(.POST, "/jobs", .object(["model": .string("acme/tiny")])).status == 422)
        }
    }

    @Test(.timeLimit(.minutes(1))) func `page 004's clients submit a workload, follow its tokens and read its output`()
        async throws
    {
        try await withCoordinator { port in
            let host = try await port.servingHost()
            let sent = try await port.send(
                .POST, "/api/v1/jobs",
                .object(["workload": .string("acme/tiny"), "input": .object(["prompt": .string("hello")])]))
            let id = sent["data"]["id"].string
            #expect(sent.status == 201 && sent["data"]["status"].string == "submitted")
            #expect(sent["data"]["workload_slug"].string == "acme/tiny")
            let asked = try await Self.serve(host, Self.stream, type: "text/event-stream")
            #expect(asked["stream"] == .bool(true))
            let stream = try await port.get("/api/v1/jobs/\(id)/stream")
            let events = stream.text.split(separator: "\n\n").map(String.init)
            #expect(events.contains { $0.contains(#""content":"Hel","type":"token""#) })
            #expect(events.dropLast().last?.contains(#""type":"done""#) == true && events.last == "data: [DONE]")
            let job = try await port.get("/api/v1/jobs/\(id)")
            #expect(job["status"].string == "complete" && job["data"]["status"].string == "completed")
            #expect(job["data"]["output"].string == "Hello")
            #expect(try await port.get("/api/v1/jobs")["data"].elementsOrEmpty.first?["id"].string == id)
            #expect(try await port.stranger().get("/api/v1/jobs/\(id)/stream").status == 404)

            let other = try await port.send(
                .POST, "/api/v1/jobs", .object(["workload": .string("acme/tiny"), "input": .object(["prompt": .string("x")])]))
            let gone = try await port.call(.DELETE, "/api/v1/jobs/\(other["data"]["id"].string)")
            #expect(gone["data"]["status"].string == "cancelled")
            #expect(try await port.send(.POST, "/api/v1/jobs", .object(["workload": .string("no/such:1.0.0")])).status == 422)
        }
    }
}

extension JSONValue {
    var elementsOrEmpty: [JSONValue] { if case .array(let elements) = self { elements } else { [] } }
}
