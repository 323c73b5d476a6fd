import AsyncHTTPClient
import CargoArtifact
import CargoTunnel
import CargoWire
import FoundationEssentials
import NIOCore
import NIOHTTP1
import Testing

/// Keys under streams and under many requests at once: what ends a key ends what it reads, and a limit is a limit.
@Suite struct KeyStreamTests {
    private func key(_ port: Port, _ fields: [String: JSONValue] = [:]) async throws -> (id: String, port: Port) {
        let scopes = JSONValue.array(["read", "write"].map(JSONValue.string))
        let reply = try await port.send(.POST, "/admin/keys", .object(fields.merging(["scopes": scopes]) { $1 }))
        guard reply.status == 201 else { throw TestFailure("key: \(reply.text)") }
        return (reply["id"].string, port.with(reply["key"].string))
    }

    @Test(.timeLimit(.minutes(2)), arguments: [true, false])
    func `a revoked key reads no further in an answer`(isDurable: Bool) async throws {
        try await withCoordinator { port in
            let (gate, opener) = AsyncStream<Void>.makeStream()
            let handler: TunnelLink.Handler = { _, stream in
                try stream.acknowledge()
                try stream.writeHead(AnswerHead(status: 200, contentType: "text/event-stream"))
                try await stream.write(Array("data: {\"n\":1}\n\n".utf8))
                for await _ in gate {}
                try await stream.write(Array("data: {\"n\":2}\n\n".utf8))
            }
            try await port.withTunnelHost("tunnel", handler) {
                let (id, client) = try await key(port, ["policy": .object(["durable": .bool(isDurable)])])
                let host = isDurable ? try await port.servingHost("rest") : port
                async let streaming = client.open("/v1/chat/completions", ModelRequestTests.question)
                var claim: ClaimedRequest?
                if isDurable {
                    claim = try await host.claimRequest()
                    if let claim { _ = try await host.answer(claim, "data: {\"n\":1}\n\n") }
                }
                var pieces = try await streaming.body.makeAsyncIterator()
                #expect(try await pieces.next().map { String(buffer: $0) } == "data: {\"n\":1}\n\n")
                #expect(try await port.call(.DELETE, "/keys/\(id)").status == 204)
                if let claim { _ = try await host.answer(claim, "data: {\"n\":2}\n\n", at: 14) }
                opener.finish()
                var rest = ""
                while let piece = try await pieces.next() { rest += String(buffer: piece) }
                #expect(rest.contains("\"error\"") && rest.contains("revoked") && !rest.contains("\"n\":2"), "\(rest)")
                // Nor does the host work for it any longer.
                if let claim {
                    let beat = try await host.answer(claim, "data: {\"n\":3}\n\n", at: 28)
                    #expect(beat["cancel"] == .bool(true), "\(beat.text)")
                }
            }
        }
    }

    @Test(.timeLimit(.minutes(2)), arguments: ["/jobs/ID/events", "/api/v1/jobs/ID/stream"])
    func `a revoked key follows its jobs no further`(path: String) async throws {
        try await withCoordinator { port in
            try await port.push()
            let (id, client) = try await key(port)
            let job = try await client.submit()
            let host = try await port.host()
            let claim = try await host.claim()
            _ = try await host.beat(job, claim.lease, log: "one\n")
            let response = try await client.stream(path.replacing("ID", with: job))
            var pieces = response.body.makeAsyncIterator()
            var text = ""
            while !text.contains("one"), let piece = try await pieces.next() { text += String(buffer: piece) }
            #expect(try await port.call(.DELETE, "/keys/\(id)").status == 204)
            _ = try await host.beat(job, claim.lease, log: "two\n", at: 4)
            // It ends though the job goes on, and says nothing more of it.
            while let piece = try await pieces.next() { text += String(buffer: piece) }
            #expect(text.contains("one") && !text.contains("two"), "\(text)")
            #expect(try await port.get("/jobs/\(job)")["status"].string == "processing")
        }
    }

    @Test(.timeLimit(.minutes(2))) func `who is removed from a group reads what has begun to its end, and asks no more`()
        async throws
    {
        try await withCoordinator { port in
            let (gate, opener) = AsyncStream<Void>.makeStream()
            let handler: TunnelLink.Handler = { _, stream in
                try stream.acknowledge()
                try stream.writeHead(AnswerHead(status: 200, contentType: "text/event-stream"))
                try await stream.write(Array("data: {\"n\":1}\n\n".utf8))
                for await _ in gate {}
                try await stream.write(Array("data: {\"n\":2}\n\n".utf8))
            }
            let group = try await port.send(.POST, "/groups", .object(["name": .string("friends")]))["id"].string
            let invite = try await port.send(.POST, "/groups/\(group)/invites", .object([:]))["invite"].string
            try await port.withTunnelHost("shared", handler) {
                guard case .array(let hosts) = try await port.get("/hosts")["hosts"],
                    let host = hosts.first(where: { $0["name"].string == "shared" })?["id"].string
                else { throw TestFailure("no host") }
                #expect(try await port.call(.PUT, "/groups/\(group)/hosts/\(host)").status == 200)
                let (_, friend) = try await key(
                    port, ["account": .string("friend"), "policy": .object(["durable": .bool(false)])])
                #expect(try await friend.send(.POST, "/v1/chat/completions", ModelRequestTests.question).status == 404)
                #expect(try await friend.send(.POST, "/groups/join", .object(["invite": .string(invite)])).status == 200)
                let response = try await friend.open("/v1/chat/completions", ModelRequestTests.question)
                var pieces = response.body.makeAsyncIterator()
                #expect(try await pieces.next() != nil)
                #expect(try await port.call(.DELETE, "/groups/\(group)/members/friend").status == 204)
                opener.finish()
                var rest = ""
                while let piece = try await pieces.next() { rest += String(buffer: piece) }
                #expect(rest == "data: {\"n\":2}\n\n")
                #expect(try await friend.send(.POST, "/v1/chat/completions", ModelRequestTests.question).status == 404)
                #expect(try await !friend.get("/v1/models").text.contains("acme/tiny"))
            }
        }
    }

    @Test(.timeLimit(.minutes(1))) func `of fifty requests at once as many are let in as a minute allows`() async throws {
        try await withCoordinator { port in
            try await port.push()
            let (_, client) = try await key(port, ["policy": .object(["requests_per_minute": .integer(7)])])
            // Whatever the requests are called: jobs, messages of page 003, requests to a model.
            let job: JSONValue = .object(["cargo": .string("acme/hello:1.0.0")])
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for number in 0..<50 {
                    let path = ["/jobs", "/gen/instruct", "/api/v1/jobs/submit"][number % 3]
                    group.addTask { try await client.send(.POST, path, job).status }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses.filter { $0 == 202 }.count == 7 && statuses.filter { $0 == 429 }.count == 43, "\(statuses)")
            let refused = try await client.send(.POST, "/jobs", job)
            #expect(refused.status == 429 && refused.code == "rate_limited")
            let wait = Int(refused.headers.first(name: "Retry-After") ?? "") ?? 0
            #expect((1...60).contains(wait), "\(wait)")
            // What was refused is nowhere.
            guard case .array(let jobs) = try await client.get("/jobs")["jobs"] else { throw TestFailure("no list") }
            #expect(jobs.count == 7)
        }
    }

    @Test(.timeLimit(.minutes(1))) func `of fifty requests at once no more are let in than a day's tokens allow`() async throws {
        try await withCoordinator { port in
            let host = try await port.servingHost()
            let (_, client) = try await key(port, ["policy": .object(["tokens_per_day": .integer(1000)])])
            guard case .object(var fields) = ModelRequestTests.question else { return }
            fields["max_tokens"] = .integer(200)
            let question = JSONValue.object(["model": .string("acme/tiny"), "input": .object(fields)])
            // Two hundred and some for the prompt each: four are within the bound, the fifth passes it.
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<50 { group.addTask { try await client.send(.POST, "/jobs", question).status } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            let allowed = statuses.filter { $0 == 202 }.count
            #expect((4...5).contains(allowed) && statuses.allSatisfy { $0 == 202 || $0 == 429 }, "\(statuses)")
            // One that took little makes room for another.
            let claim = try await host.claimRequest()
            _ = try await host.answer(claim, "{}", type: "application/json")
            #expect(try await host.completeAnswer(claim, "{}", type: "application/json").status == 200)
            #expect(try await client.send(.POST, "/jobs", question).status == 202)
            #expect(try await client.send(.POST, "/jobs", question).status == 429)
            // It stands in the key's usage, though it came as a job.
            guard case .array(let uses) = try await client.get("/usage")["usage"], let use = uses.first else {
                throw TestFailure("no usage")
            }
            #expect(
                use["requests"] == .integer(1) && use["model"].string == "acme/tiny" && use["completion_tokens"] != .integer(0))
        }
    }
}

extension Port {
    /// Begins to read what does not end soon.
    fileprivate func stream(_ path: String) async throws -> HTTPClientResponse {
        var request = HTTPClientRequest(url: url + path)
        request.headers.add(name: "Authorization", value: "Bearer \(key)")
        return try await HTTPClient.shared.execute(request, timeout: .seconds(60))
    }
}
