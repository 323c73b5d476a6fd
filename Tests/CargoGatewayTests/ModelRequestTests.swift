import AsyncHTTPClient
import CargoArtifact
import CargoWire
import FoundationEssentials
import NIOCore
import NIOHTTP1
import Testing

/// OpenAI's interface in front of a host that is played by the test.
@Suite struct ModelRequestTests {
    static let model: JSONValue = .object([
        "id": .string("acme/tiny"), "source": .string("endpoint"), "presence": .string("loaded"), "active": .integer(0),
        "slots": .integer(4), "context": .integer(2048),
        "operations": .array(["chat/completions", "completions", "embeddings"].map(JSONValue.string)),
    ])

    static let question: JSONValue = .object([
        "model": .string("acme/tiny"),
        "messages": .array([.object(["role": .string("user"), "content": .string("hello")])]),
    ])

    @Test(.timeLimit(.minutes(1))) func `an answer comes back byte for byte, and its job says what it took`() async throws {
        try await withCoordinator { port in
            let host = try await port.servingHost()
            async let asked = port.send(.POST, "/v1/chat/completions", Self.question)
            let claim = try await host.claimRequest()
            #expect(claim.request["operation"].string == "chat/completions" && claim.request["model"].string == "acme/tiny")
            #expect(claim.request["body"].string.contains("hello"))
            let body = #"{"id":"x",  "choices":[] }"#
            #expect(try await host.answer(claim, body, type: "application/json").status == 200)
            #expect(try await host.completeAnswer(claim, body, type: "application/json").status == 200)
            let answer = try await asked
            #expect(answer.status == 200 && answer.text == body)
            let job = try #require(answer.headers.first(name: "Longshore-Job"))
            let seen = try await port.get("/jobs/\(job)")
            #expect(seen["status"].string == "complete" && seen["model"].string == "acme/tiny")
            #expect(try await port.stranger().get("/jobs/\(job)").status == 404)
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a stream arrives while the model still writes`() async throws {
        try await withCoordinator { port in
            let host = try await port.servingHost()
            async let streaming = port.open("/api/v1/chat/completions", Self.question)
            let claim = try await host.claimRequest()
            let first = "data: {\"n\":1}\n\n"
            #expect(try await host.answer(claim, first).status == 200)
            let response = try await streaming
            #expect(response.status == .ok && response.headers.first(name: "content-type") == "text/event-stream")
            var pieces = response.body.makeAsyncIterator()
            #expect(try await pieces.next().map { String(buffer: $0) } == first)
            let rest = "data: [DONE]\n\n"
            #expect(try await host.answer(claim, rest, at: first.utf8.count).status == 200)
            #expect(try await host.completeAnswer(claim, first + rest).status == 200)
            var text = ""
            while let piece = try await pieces.next() { text += String(buffer: piece) }
            #expect(text == rest)
        }
    }

    @Test(.timeLimit(.minutes(1))) func `who was cut off comes back with the job and reads on after the last event`() async throws
    {
        try await withCoordinator { port in
            let host = try await port.servingHost()
            async let streaming = port.open("/v1/chat/completions", Self.question)
            let claim = try await host.claimRequest()
            let events = (1...4).map { "data: {\"n\":\($0)}\n\n" }
            _ = try await host.answer(claim, events[0] + events[1])
            var first = try await streaming.body.makeAsyncIterator()
            _ = try await first.next()
            // The first reader is gone; the second comes while the model still writes.
            async let again = port.get("/jobs/\(claim.id)/answer", headers: [("Last-Event-ID", "1")])
            let all = events.joined()
            _ = try await host.answer(claim, events[2] + events[3], at: (events[0] + events[1]).utf8.count)
            _ = try await host.completeAnswer(claim, all)
            #expect(try await again.text == events[1...].joined())
            for seen in 0...4 {
                let rest = try await port.get("/jobs/\(claim.id)/answer?after=\(seen)")
                #expect(rest.text == events[seen...].joined() && rest.headers.first(name: "content-type") == "text/event-stream")
            }
            #expect(try await port.stranger().get("/jobs/\(claim.id)/answer").status == 404)
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a request whose host fails before the first byte is answered by another`() async throws {
        try await withCoordinator { port in
            let (one, two) = (try await port.servingHost("one"), try await port.servingHost("two"))
            async let asked = port.send(.POST, "/v1/completions", Self.question)
            let lost = try await one.claimRequest()
            #expect(try await one.failRequest(lost, code: "model_unavailable").status == 200)
            let claim = try await two.claimRequest()
            #expect(claim.id == lost.id)
            _ = try await two.answer(claim, "{}", type: "application/json")
            _ = try await two.completeAnswer(claim, "{}", type: "application/json")
            #expect(try await asked.text == "{}")
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a stream whose host fails ends with an error event, and is not tried again`()
        async throws
    {
        try await withCoordinator { port in
            let host = try await port.servingHost()
            async let streaming = port.open("/v1/chat/completions", Self.question)
            let claim = try await host.claimRequest()
            _ = try await host.answer(claim, "data: {\"n\":1}\n\n")
            _ = try await host.failRequest(claim, code: "host_lost")
            let text = String(buffer: try await streaming.body.collect(upTo: 1 << 20))
            #expect(text.hasPrefix("data: {\"n\":1}\n\ndata: {\"error\":{\"code\":\"host_lost\""))
            #expect(try await port.get("/jobs/\(claim.id)")["status"].string == "error")
        }
    }

    @Test(.timeLimit(.minutes(1))) func `what nobody serves is refused at once, in the shape that OpenAI's clients read`()
        async throws
    {
        try await withCoordinator { port in
            _ = try await port.servingHost()
            let other = JSONValue.object(["model": .string("no/such"), "messages": .array([])])
            let unknown = try await port.send(.POST, "/v1/chat/completions", other)
            #expect(unknown.status == 404 && unknown["error"]["code"].string == "model_not_found")
            #expect(unknown["error"]["type"].string == "invalid_request_error" && unknown["error"]["param"].string == "model")
            let images = try await port.send(.POST, "/v1/images/generations", Self.question)
            #expect(images.status == 400 && images["error"]["code"].string == "unsupported_operation")
            #expect(
                try await port.send(.POST, "/v1/chat/completions", .array([]))["error"]["type"].string == "invalid_request_error")
            #expect(try await port.with("ls_no").get("/v1/models")["error"]["code"].string == "invalid_api_key")
            #expect(try await port.get("/v1/nothing")["error"]["type"].string == "invalid_request_error")
            let reader = try await port.key(scopes: ["read"])
            let refused = try await reader.send(.POST, "/v1/chat/completions", Self.question)
            #expect(refused.status == 403 && refused["error"]["type"].string == "permission_error")
            #expect(try await reader.get("/v1/models").status == 200)
        }
    }

    @Test(.timeLimit(.minutes(1))) func `models are listed and found by ids with slashes`() async throws {
        try await withCoordinator { port in
            _ = try await port.servingHost()
            guard case .array(let models) = try await port.get("/v1/models")["data"] else { throw TestFailure("no list") }
            #expect(models.map { $0["id"].string } == ["acme/tiny"] && models.first?["object"].string == "model")
            for path in ["/v1/models/acme/tiny", "/api/v1/models/acme%2Ftiny"] {
                #expect(try await port.get(path)["id"].string == "acme/tiny")
            }
            #expect(try await port.get("/v1/models/acme/other")["error"]["code"].string == "model_not_found")
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a request that nobody answers in its time ends with an error, and its job is cancelled`()
        async throws
    {
        try await withCoordinator { port in
            _ = try await port.servingHost()
            let late = try await port.send(
                .POST, "/v1/chat/completions", Self.question, headers: [("Longshore-Timeout", "300ms")])
            #expect(late.status == 504 && late["error"]["code"].string == "timed_out")
            guard case .array(let jobs) = try await port.get("/jobs")["jobs"] else { throw TestFailure("no list") }
            #expect(jobs.map { $0["status"].string } == ["cancelled"])
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a program in a browser may call from any page`() async throws {
        try await withCoordinator { port in
            let asked = try await port.call(
                .OPTIONS, "/v1/chat/completions",
                headers: [
                    ("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST"),
                    ("Access-Control-Request-Headers", "authorization, content-type"),
                ])
            #expect(asked.status == 204 && asked.headers.first(name: "Access-Control-Allow-Origin") == "*")
            #expect(asked.headers.first(name: "Access-Control-Allow-Headers") == "authorization, content-type")
            let list = try await port.get("/v1/models", headers: [("Origin", "https://app.example")])
            #expect(list.headers.first(name: "Access-Control-Allow-Origin") == "*")
            #expect(
                try await port.get("/jobs", headers: [("Origin", "https://x")]).headers.contains(
                    name: "Access-Control-Allow-Origin") == false)
        }
    }
}

/// A request as the host has it.
struct ClaimedRequest: Sendable {
    var id: String
    var lease: JSONValue
    var request: JSONValue
}

extension Port {
    func key(scopes: [String]) async throws -> Port {
        let reply = try await send(.POST, "/admin/keys", .object(["scopes": .array(scopes.map(JSONValue.string))]))
        return with(reply["key"].string)
    }

    private static func offer(_ models: [JSONValue]) -> JSONValue { .object(["kinds": .array([]), "models": .array(models)]) }

    /// A host that has said what it serves.
    func servingHost(_ name: String = "h", models: [JSONValue] = [ModelRequestTests.model]) async throws -> Port {
        let host = try await host(name)
        let reply = try await host.send(.POST, "/hosts/next-job", .object(["capabilities": Self.offer(models)]))
        guard reply.status == 204 else { throw TestFailure("offer: \(reply.status) \(reply.text)") }
        return host
    }

    func claimRequest(models: [JSONValue] = [ModelRequestTests.model]) async throws -> ClaimedRequest {
        let reply = try await send(.POST, "/hosts/next-job", .object(["wait": .number(20), "capabilities": Self.offer(models)]))
        guard reply.status == 200 else { throw TestFailure("claim: \(reply.status) \(reply.text)") }
        return ClaimedRequest(id: reply["job"]["id"].string, lease: reply["lease"], request: reply["job"]["request"])
    }

    private static func head(_ type: String, status: Int64 = 200) -> JSONValue {
        .object(["status": .integer(status), "content_type": .string(type)])
    }

    func answer(
        _ claim: ClaimedRequest, _ text: String, at offset: Int = 0, type: String = "text/event-stream"
    ) async throws -> Reply {
        try await send(
            .POST, "/jobs/\(claim.id)/heartbeat",
            .object([
                "lease": claim.lease, "state": .string("processing"), "answer": Self.head(type),
                "logs": .array([
                    .object(["stream": .string("answer"), "offset": .integer(Int64(offset)), "data": .string(text)])
                ]),
            ]))
    }

    func completeAnswer(_ claim: ClaimedRequest, _ text: String, type: String = "text/event-stream") async throws -> Reply {
        try await send(
            .POST, "/jobs/\(claim.id)/complete",
            .object([
                "lease": claim.lease, "exit_code": .integer(0), "answer": Self.head(type),
                "log_bytes": .integer(Int64(text.utf8.count)),
                "usage": .object(["prompt_tokens": .integer(3), "completion_tokens": .integer(5)]),
            ]))
    }

    func failRequest(_ claim: ClaimedRequest, code: String) async throws -> Reply {
        try await send(
            .POST, "/jobs/\(claim.id)/fail",
            .object([
                "lease": claim.lease, "retryable": .bool(true),
                "error": .object(["code": .string(code), "message": .string("The backend is gone.")]),
            ]))
    }

    /// Asks for a stream and returns with its head.
    func open(_ path: String, _ value: JSONValue) async throws -> HTTPClientResponse {
        guard case .object(var fields) = value else { throw TestFailure("not an object") }
        fields["stream"] = .bool(true)
        var request = HTTPClientRequest(url: url + path)
        request.method = .POST
        request.headers.add(name: "Authorization", value: "Bearer \(key)")
        request.body = .bytes(ByteBuffer(bytes: try JSONEncoder().encode(JSONValue.object(fields))))
        return try await HTTPClient.shared.execute(request, timeout: .seconds(30))
    }
}
