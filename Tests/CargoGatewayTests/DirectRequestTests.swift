import AsyncHTTPClient
import CargoArtifact
import CargoClient
import CargoTunnel
import CargoWire
import FoundationEssentials
import NIOCore
import NIOHTTP1
import Synchronization
import Testing

@testable import CargoGateway

/// Requests of keys whose policy says `"durable": false`: over a tunnel that the test itself holds, past every store.
@Suite struct DirectRequestTests {
    private static let stream = AnswerHead(status: 200, contentType: "text/event-stream")
    private static let whole = AnswerHead(status: 200, contentType: "application/json")

    @Test(.timeLimit(.minutes(2))) func `an answer streams through the tunnel and leaves no job, and its key pays`() async throws
    {
        try await withCoordinator { port in
            let (asked, heard) = AsyncStream<TunnelOpening>.makeStream()
            try await port.withTunnelHost { opening, stream in
                heard.yield(opening)
                #expect(String(decoding: try await stream.collect(limit: 1 << 20), as: UTF8.self).contains("hello"))
                try stream.acknowledge()
                try stream.writeHead(Self.stream)
                try await stream.write(Array("data: {\"n\":1}\n\n".utf8))
                try await stream.write(Array("data: [DONE]\n\n".utf8))
                stream.end(ModelUsage(promptTokens: 3, completionTokens: 5))
            } _: {
                let client = try await port.memoryOnly()
                let response = try await client.open("/v1/chat/completions", ModelRequestTests.question)
                #expect(response.status == .ok && response.headers.first(name: "content-type") == "text/event-stream")
                #expect(!response.headers.contains(name: "Longshore-Job") && response.headers.contains(name: "X-Request-Id"))
                let text = String(buffer: try await response.body.collect(upTo: 1 << 20))
                #expect(text == "data: {\"n\":1}\n\ndata: [DONE]\n\n")
                var openings = asked.makeAsyncIterator()
                let question = try #require(await openings.next()?.question)
                #expect(question.model == "acme/tiny" && question.operation == "chat/completions" && question.stream)
                #expect(try await client.get("/jobs").text.contains("\"jobs\":[]"))
                let metrics = try await port.get("/metrics").text
                #expect(
                    metrics.contains("longshore_direct_requests 0\n") && metrics.contains("longshore_direct_requests_total 1\n"))
                let usage = try await client.get("/usage")
                guard case .array(let uses) = usage["usage"], let use = uses.first else { throw TestFailure(usage.text) }
                #expect(
                    use["requests"] == .integer(1) && use["prompt_tokens"] == .integer(3)
                        && use["completion_tokens"] == .integer(5) && use["failed"] == .integer(0), "\(usage.text)")
            }
        }
    }

    @Test(.timeLimit(.minutes(2)), arguments: [true, false])
    func `a host that is lost before the first byte is replaced by another, unseen`(isStream: Bool) async throws {
        try await withCoordinator { port in
            let tries = Mutex(0)
            let handler: TunnelLink.Handler = { _, stream in
                _ = try await stream.collect(limit: 1 << 20)
                try stream.acknowledge()
                let number = tries.withLock { tries in
                    tries += 1
                    return tries
                }
                // Whichever is asked first: what an answer that is not streamed has said by then nobody has seen.
                if number == 1, isStream { throw TunnelFault.lost }
                try stream.writeHead(isStream ? Self.stream : Self.whole)
                try await stream.write(Array("{\"by\":".utf8))
                if number == 1 { throw TunnelFault.lost }
                try await stream.write(Array("\(number)}".utf8))
            }
            try await port.withTunnelHost("one", handler) {
                try await port.withTunnelHost("two", handler) {
                    let client = try await port.memoryOnly()
                    var fields = ModelRequestTests.question
                    if isStream, case .object(var all) = fields {
                        all["stream"] = .bool(true)
                        fields = .object(all)
                    }
                    let reply = try await client.send(.POST, "/v1/chat/completions", fields)
                    #expect(reply.status == 200 && reply.text == "{\"by\":2}", "\(reply.text)")
                    #expect(tries.withLock { $0 } == 2)
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(2)), arguments: ["/v1/chat/completions", "/v1/messages"])
    func `a host that is lost in the middle ends the stream with an error in the dialect's own shape`(path: String) async throws {
        try await withCoordinator { port in
            try await port.withTunnelHost { _, stream in
                try stream.acknowledge()
                try stream.writeHead(Self.stream)
                try await stream.write(Array("data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n".utf8))
                throw TunnelFault.lost
            } _: {
                let client = try await port.memoryOnly()
                guard case .object(var fields) = ModelRequestTests.question else { return }
                fields["max_tokens"] = .integer(5)
                let response = try await client.open(path, .object(fields))
                let text = String(buffer: try await response.body.collect(upTo: 1 << 20))
                let end =
                    path == "/v1/messages"
                    ? "event: error\ndata: {\"error\":{\"message\":\"The host was lost while it answered; ask again.\",\"type\":\"api_error\"},\"type\":\"error\"}\n\n"
                    : "data: {\"error\":{\"code\":\"host_lost\",\"message\":\"The host was lost while it answered; ask again.\",\"param\":null,\"type\":\"server_error\"}}\n\n"
                #expect(text.hasSuffix(end) && text.contains("\"a\""), "\(text)")
                #expect(try await port.get("/metrics").text.contains("longshore_direct_requests_failed_total 1\n"))
            }
        }
    }

    @Test(.timeLimit(.minutes(2))) func `who hangs up ends the host's work, and pays for what has come`() async throws {
        try await withCoordinator { port in
            let (ended, end) = AsyncStream<Bool>.makeStream()
            try await port.withTunnelHost { _, stream in
                try stream.acknowledge()
                try stream.writeHead(Self.stream)
                try await stream.write(Array("data: {\"n\":1}\n\ndata: {\"n\":2}\n\n".utf8))
                do {
                    try await Task.sleep(for: .seconds(90))
                    end.yield(false)
                } catch {
                    end.yield(true)
                    throw error
                }
            } _: {
                let client = try await port.memoryOnly()
                do {
                    let response = try await client.open("/v1/chat/completions", ModelRequestTests.question)
                    var pieces = response.body.makeAsyncIterator()
                    #expect(try await pieces.next() != nil)
                }
                var iterator = ended.makeAsyncIterator()
                #expect(await iterator.next() == true)
                // The host hears it before the books are closed.
                while try await port.get("/metrics").text.contains("longshore_direct_requests 1\n") { await Task.yield() }
                let usage = try await client.get("/usage")
                guard case .array(let uses) = usage["usage"], let use = uses.first else { throw TestFailure(usage.text) }
                #expect(use["completion_tokens"] == .integer(2) && use["prompt_tokens"] != .integer(0), "\(usage.text)")
            }
        }
    }

    @Test func `one account leaves room for others, however much it asks`() throws {
        let requests = DirectRequests()
        let large = DirectRequests.mostBytes / 16
        var taken: [Int64] = []
        for account in [Int64(1), 2, 3] {
            var count: Int64 = 0
            while (try? requests.begin(account: account, bytes: large)) != nil { count += 1 }
            taken.append(count)
        }
        #expect(taken == [8, 4, 2])
        for _ in 0..<8 { requests.end(account: 1, bytes: large, failed: false) }
        for _ in 0..<4 { requests.end(account: 2, bytes: large, failed: false) }
        for _ in 0..<2 { requests.end(account: 3, bytes: large, failed: false) }
        #expect(requests.open == 0)
        try requests.begin(account: 4, bytes: large)
    }

    @Test(.timeLimit(.minutes(2))) func `a refusal of the model's host is the client's answer, and is not asked again`()
        async throws
    {
        try await withCoordinator { port in
            let tries = Mutex(0)
            try await port.withTunnelHost { _, _ in
                tries.withLock { $0 += 1 }
                throw TunnelFault(code: "bad_request", message: "temperature is a number.", status: 400)
            } _: {
                let client = try await port.memoryOnly()
                let reply = try await client.send(.POST, "/v1/chat/completions", ModelRequestTests.question)
                #expect(reply.status == 400 && reply["error"]["code"].string == "bad_request", "\(reply.text)")
                #expect(reply["error"]["message"].string == "temperature is a number." && tries.withLock { $0 } == 1)
                let other = JSONValue.object(["model": .string("no/such"), "messages": .array([])])
                let unknown = try await client.send(.POST, "/v1/chat/completions", other)
                #expect(unknown.status == 404 && unknown["error"]["code"].string == "model_not_found")
                let images = try await client.send(.POST, "/v1/images/generations", ModelRequestTests.question)
                #expect(images.status == 400 && images["error"]["code"].string == "unsupported_operation")
            }
        }
    }

    @Test(.timeLimit(.minutes(2))) func `a request waits while every slot is taken, and goes on when one is free`() async throws {
        try await withCoordinator { port in
            let (release, releaser) = AsyncStream<Void>.makeStream()
            let now = Mutex((running: 0, most: 0))
            try await port.withTunnelHost(slots: 1) { _, stream in
                now.withLock { now in
                    now.running += 1
                    now.most = max(now.most, now.running)
                }
                defer { now.withLock { $0.running -= 1 } }
                try stream.acknowledge()
                var iterator = release.makeAsyncIterator()
                _ = await iterator.next()
                try stream.writeHead(Self.whole)
                try await stream.write(Array("{}".utf8))
            } _: {
                let client = try await port.memoryOnly()
                async let first = client.send(.POST, "/v1/completions", ModelRequestTests.question)
                async let second = client.send(.POST, "/v1/completions", ModelRequestTests.question)
                while now.withLock({ $0.running }) == 0 { await Task.yield() }
                releaser.yield()
                releaser.yield()
                #expect(try await first.status == 200)
                #expect(try await second.status == 200)
                #expect(now.withLock { $0.most } == 1)
            }
        }
    }

    @Test(.timeLimit(.minutes(2))) func `a host that does not take a request in its time is passed over`() async throws {
        try await withCoordinator { port in
            let asked = Mutex<[String]>([])
            func handler(_ name: String) -> TunnelLink.Handler {
                { _, stream in
                    let isFirst = asked.withLock { asked in
                        asked.append(name)
                        return asked.count == 1
                    }
                    if isFirst { try await Task.sleep(for: .seconds(90)) }
                    try stream.acknowledge()
                    try stream.writeHead(Self.whole)
                    try await stream.write(Array("{}".utf8))
                }
            }
            try await port.withTunnelHost("one", handler("one")) {
                try await port.withTunnelHost("two", handler("two")) {
                    let reply = try await port.memoryOnly().send(.POST, "/v1/chat/completions", ModelRequestTests.question)
                    #expect(reply.status == 200 && reply.text == "{}")
                    #expect(Set(asked.withLock { $0 }) == ["one", "two"])
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(2))) func `a request ends with its time, whatever the host does`() async throws {
        try await withCoordinator { port in
            try await port.withTunnelHost { _, stream in
                try stream.acknowledge()
                try await Task.sleep(for: .seconds(90))
            } _: {
                let late = try await port.memoryOnly().send(
                    .POST, "/v1/chat/completions", ModelRequestTests.question, headers: [("Longshore-Timeout", "300ms")])
                #expect(late.status == 504 && late["error"]["code"].string == "timed_out", "\(late.text)")
            }
        }
    }

    @Test(.timeLimit(.minutes(2))) func `the limits of a key hold for what is kept in memory`() async throws {
        try await withCoordinator { port in
            try await port.withTunnelHost { _, stream in
                try stream.writeHead(Self.whole)
                try await stream.write(Array("{}".utf8))
            } _: {
                let client = try await port.memoryOnly(["requests_per_minute": .integer(1)])
                #expect(try await client.send(.POST, "/v1/chat/completions", ModelRequestTests.question).status == 200)
                let second = try await client.send(.POST, "/v1/chat/completions", ModelRequestTests.question)
                #expect(second.status == 429 && second["error"]["code"].string == "rate_limited", "\(second.text)")
            }
        }
    }

    @Test(.timeLimit(.minutes(2))) func `a durable request of a host whose connection is dead goes to another at once`()
        async throws
    {
        try await withCoordinator { port in
            // Its lease is good for thirty seconds; nobody waits for its end.
            let began = ContinuousClock.now
            let two = try await port.servingHost("two")
            let asking = Mutex<Task<Reply, any Error>?>(nil)
            let first = Mutex("")
            try await port.withTunnelHost("one") { _, _ in
            } claiming: { client, models in
                let task = Task { try await port.send(.POST, "/v1/chat/completions", ModelRequestTests.question) }
                asking.withLock { $0 = task }
                var capabilities = HostCapabilities(kinds: [])
                capabilities.models = models
                let claim = try #require(
                    try await client.claim(ClaimRequest(wait: 20, capabilities: capabilities, claimID: UUIDv7.make())))
                first.withLock { $0 = claim.job.id }
            }
            let claim = try await two.claimRequest()
            #expect(claim.id == first.withLock { $0 } && ContinuousClock.now - began < .seconds(25))
            _ = try await two.answer(claim, "{}", type: "application/json")
            _ = try await two.completeAnswer(claim, "{}", type: "application/json")
            #expect(try await asking.withLock { $0 }?.value.text == "{}")
        }
    }
}

extension Port {
    /// A key whose requests to models are kept in memory only.
    func memoryOnly(_ policy: [String: JSONValue] = [:]) async throws -> Port {
        let reply = try await send(
            .POST, "/admin/keys",
            .object([
                "scopes": .array(["read", "write"].map(JSONValue.string)),
                "policy": .object(policy.merging(["durable": .bool(false)]) { $1 }),
            ]))
        guard reply.status == 201 else { throw TestFailure("key: \(reply.text)") }
        return with(reply["key"].string)
    }

    /// A host that serves `acme/tiny` through an open tunnel while `body` runs.
    func withTunnelHost(
        _ name: String = "h", slots: Int = 4, _ handler: @escaping TunnelLink.Handler, _ body: () async throws -> Void
    ) async throws {
        try await withTunnelHost(name, slots: slots, handler) { _, _ in try await body() }
    }

    func withTunnelHost(
        _ name: String = "h", slots: Int = 4, _ handler: @escaping TunnelLink.Handler,
        claiming body: (CoordinatorClient, [ServedModel]) async throws -> Void
    ) async throws {
        let host = try await host(name)
        let door = TunnelDoor()
        let client = try CoordinatorClient(url: url, token: host.key).through(door)
        let dialling = Task { try await client.runTunnel(through: door, handler: handler) }
        let outcome: Result<Void, any Error>
        do {
            while door.current == nil { try await Task.sleep(for: .milliseconds(5)) }
            let models = [
                ServedModel(
                    id: "acme/tiny", source: .endpoint, operations: [.chat, .completions, .embeddings], slots: slots)
            ]
            var capabilities = HostCapabilities(kinds: [])
            capabilities.models = models
            _ = try await client.claim(ClaimRequest(wait: 0, capabilities: capabilities, claimID: UUIDv7.make()))
            try await body(client, models)
            outcome = .success(())
        } catch {
            outcome = .failure(error)
        }
        dialling.cancel()
        _ = try? await dialling.value
        await client.shutdown()
        try outcome.get()
    }
}
