import CargoArtifact
import NIOHTTP1
import Testing

/// What a program meets that knows the interfaces and not this server: names of requests, shapes of errors, methods, base URLs.
@Suite struct InterfaceTests {
    @Test(.timeLimit(.minutes(1)))
    func `every answer to a client of models names its request, an error too, by the client's name where it gave one`()
        async throws
    {
        try await withCoordinator { port in
            for path in ["/v1/models", "/api/v1/models", "/v1/models/no/such", "/v1/nothing", "/run/nothing"] {
                let reply = try await port.get(path)
                #expect(reply.headers.first(name: "X-Request-Id")?.count == 36, "\(path)")
                let named = try await port.get(path, headers: [("X-Request-Id", "proxy-7")])
                #expect(named.headers.first(name: "X-Request-Id") == "proxy-7", "\(path)")
            }
            let refused = try await port.get("/v1/models", headers: [("Authorization", "Bearer ls_wrong")])
            #expect(refused.status == 401 && refused.headers.first(name: "X-Request-Id") != nil)
            let odd = try await port.get("/v1/models", headers: [("X-Request-Id", "two words")])
            #expect(odd.headers.first(name: "X-Request-Id")?.count == 36)
            let message = try await port.send(.POST, "/v1/messages", .object([:]))
            #expect(message.status == 400 && message.headers.first(name: "Request-Id") != nil)
        }
    }

    /// Path, status, and the member that only this interface's errors have.
    @Test(
        .timeLimit(.minutes(1)),
        arguments: [
            ("/v1/nothing", "error"), ("/api/v1/nothing", "error"), ("/v1", "error"), ("/api/v1/assistants", "error"),
            ("/v1/messages/nothing", "type"), ("/api/v1/messages/nothing", "type"), ("/api/v1/jobs/a/b/c", "detail"),
            ("/api/v1/workers/nothing", "detail"), ("/nothing", "detail"), ("/chat/completions", "error"),
        ])
    func `what is not there is said in the shape of the interface that was asked`(_ path: String, _ member: String)
        async throws
    {
        try await withCoordinator { port in
            let reply = try await port.send(.POST, path, .object([:]))
            #expect(reply.status == 404 && reply[member] != .null, "\(reply.text)")
            if member == "error" { #expect(reply["error"]["code"].string == "unknown_url") }
            if member == "type" { #expect(reply["error"]["type"].string == "not_found_error") }
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a base URL with one version too few or too many is named`() async throws {
        try await withCoordinator { port in
            for path in ["/chat/completions", "/embeddings", "/responses"] {
                let few = try await port.send(.POST, path, .object([:]))
                #expect(few["error"]["message"].string.contains("stands under /v1"), "\(few.text)")
            }
            for path in ["/v1/v1/chat/completions", "/api/v1/v1/models", "/v1/v1/messages"] {
                let many = try await port.send(.POST, path, .object([:]))
                #expect(many["error"]["message"].string.contains("adds it by itself"), "\(many.text)")
            }
        }
    }

    @Test(.timeLimit(.minutes(1))) func `HEAD is answered as GET is, without a body, and OPTIONS says what a path takes`()
        async throws
    {
        try await withCoordinator { port in
            for path in ["/v1/models", "/api/v1/models", "/healthz", "/openapi.json", "/jobs", "/metrics"] {
                let (head, get) = (try await port.call(.HEAD, path), try await port.get(path))
                #expect(head.status == get.status && head.status == 200, "\(path): \(head.status), \(get.status)")
                #expect(head.bytes.isEmpty && !get.bytes.isEmpty)
                #expect(head.headers.first(name: "Content-Type") == get.headers.first(name: "Content-Type"))
            }
            // The next request on that connection gets its own answer.
            #expect(try await port.get("/v1/models")["object"].string == "list")
            #expect(try await port.call(.HEAD, "/v1/models", headers: [("Authorization", "Bearer ls_no")]).status == 401)
            #expect(try await port.call(.HEAD, "/v1/chat/completions").status == 405)
            for (path, methods) in [("/v1/models", "GET, HEAD"), ("/v1/chat/completions", "POST")] {
                let asked = try await port.call(.OPTIONS, path)
                #expect(asked.status == 204 && asked.headers.first(name: "Allow") == methods, "\(path)")
                let wrong = try await port.call(.PUT, path)
                #expect(wrong.status == 405 && wrong.headers.first(name: "Allow") == methods)
            }
            #expect(try await port.call(.OPTIONS, "/v1/nothing").status == 404)
        }
    }
}
