import CargoArtifact
import CargoClient
import CargoTunnel
import CargoWire
import FoundationEssentials
import NIOHTTP1
import Testing

/// What a host that is somebody else's may say, and what must come of it: nothing that the coordinator or a client suffers from.
@Suite struct HostileHostTests {
    /// An answer's head as no host should write it.
    private struct Head: Encodable, Sendable {
        var status: Int
        var type: String

        enum CodingKeys: String, CodingKey {
            case status
            case type = "content_type"
        }
    }

    private static let wild: [Head] =
        [0, -5, 99, 101, 103, 204, 301, 304, 600, 70_000, .max, .min].map { Head(status: $0, type: "application/json") }
        + ["", "text", "text/html\r\nSet-Cookie: a=b", "text/ö", String(repeating: "a/", count: 200)].map {
            Head(status: 200, type: $0)
        }

    @Test(.timeLimit(.minutes(3))) func `an answer that begins like none reaches no client, through the tunnel`() async throws {
        try await withCoordinator { port in
            let client = try await port.memoryOnly()
            for (number, head) in Self.wild.enumerated() {
                try await port.withTunnelHost("h\(number)") { _, stream in
                    try stream.acknowledge()
                    try stream.writeHead(head)
                    try await stream.write(Array("{}".utf8))
                } _: {
                    let reply = try await client.call(
                        .POST, "/v1/chat/completions", body: Array(try JSONEncoder().encode(ModelRequestTests.question)),
                        headers: [("Longshore-Timeout", "20s")])
                    #expect(reply.status == 502 && reply.text.contains("bad_answer"), "\(head): \(reply.status) \(reply.text)")
                    #expect(!reply.headers.contains(name: "Set-Cookie"))
                }
            }
            #expect(try await port.get("/healthz").status == 200)
        }
    }

    @Test(.timeLimit(.minutes(1))) func `an answer that begins like none reaches no client, over REST`() async throws {
        try await withCoordinator { port in
            let host = try await port.servingHost()
            async let asked = port.send(.POST, "/v1/chat/completions", ModelRequestTests.question)
            let claim = try await host.claimRequest()
            for head in Self.wild {
                let answer: JSONValue = .object(["status": .integer(Int64(head.status)), "content_type": .string(head.type)])
                let beat = try await host.send(
                    .POST, "/jobs/\(claim.id)/heartbeat",
                    .object(["lease": claim.lease, "state": .string("processing"), "answer": answer]))
                #expect((400..<500).contains(beat.status), "\(head): \(beat.text)")
                let end = try await host.send(
                    .POST, "/jobs/\(claim.id)/complete",
                    .object(["lease": claim.lease, "exit_code": .integer(0), "answer": answer]))
                #expect((400..<500).contains(end.status), "\(head): \(end.text)")
            }
            _ = try await host.answer(claim, "{}", type: "application/json")
            _ = try await host.completeAnswer(claim, "{}", type: "application/json")
            #expect(try await asked.text == "{}")
        }
    }

    @Test(.timeLimit(.minutes(2)), arguments: [Int.max, Int.min, 1 << 53])
    func `a key is charged no more than what went through here`(count: Int) async throws {
        let took: JSONValue = .object(["prompt_tokens": .integer(Int64(count)), "completion_tokens": .integer(Int64(count))])
        try await withCoordinator { port in
            try await port.withTunnelHost { _, stream in
                try stream.acknowledge()
                try stream.writeHead(AnswerHead(status: 200, contentType: "application/json"))
                try await stream.write(Array("{}".utf8))
                stream.end(took)
            } _: {
                let client = try await port.memoryOnly(["tokens_per_day": .integer(1 << 40)])
                // Twice: what was counted adds up.
                for _ in 0..<2 {
                    #expect(try await client.send(.POST, "/v1/chat/completions", ModelRequestTests.question).status == 200)
                }
            }
            let host = try await port.servingHost("rest")
            async let asked = port.send(.POST, "/v1/chat/completions", ModelRequestTests.question)
            let claim = try await host.claimRequest()
            _ = try await host.answer(claim, "{}", type: "application/json")
            let end = try await host.send(
                .POST, "/jobs/\(claim.id)/complete",
                .object(["lease": claim.lease, "exit_code": .integer(0), "log_bytes": .integer(2), "usage": took]))
            #expect(end.status == 200, "\(end.text)")
            #expect(try await asked.text == "{}")
            guard case .array(let uses) = try await port.get("/usage")["usage"] else { throw TestFailure("no usage") }
            #expect(uses.count == 2)
            for use in uses {
                guard case .integer(let prompt) = use["prompt_tokens"], case .integer(let completion) = use["completion_tokens"]
                else { throw TestFailure("\(use)") }
                #expect((0...4096).contains(prompt) && (0...4).contains(completion), "\(use)")
            }
        }
    }

    /// Every number of every body that a host sends, at its extremes.
    @Test(.timeLimit(.minutes(3))) func `no number that a host says brings the coordinator down`() async throws {
        try await withCoordinator { port in
            try await port.push()
            let host = try await port.servingHost()
            func numbers(_ value: JSONValue, _ change: (JSONValue) -> JSONValue) -> [JSONValue] {
                switch value {
                case .integer, .number: return [change(value)]
                case .object(let members):
                    return members.flatMap { name, member in
                        numbers(member, change).map { changed in
                            var all = members
                            all[name] = changed
                            return .object(all)
                        }
                    }
                case .array(let elements):
                    return elements.indices.flatMap { index in
                        numbers(elements[index], change).map { changed in
                            var all = elements
                            all[index] = changed
                            return .array(all)
                        }
                    }
                default: return []
                }
            }
            let gpu: JSONValue = .object([
                "index": .integer(0), "name": .string("g"), "vram_total": .integer(1 << 34), "vram_free": .integer(1 << 33),
                "utilization": .number(0.5), "temperature": .integer(50),
            ])
            let capabilities: JSONValue = .object([
                "kinds": .array([.string("process")]), "max_context_tier": .integer(4), "cpu": .integer(8),
                "memory": .integer(1 << 34), "models": .array([ModelRequestTests.model]),
                "metrics": .object(["gpus": .array([gpu]), "memory_free": .integer(1 << 30), "memory_total": .integer(1 << 34)]),
            ])
            let lease: JSONValue = .object([
                "generation": .integer(1), "epoch": .integer(1), "token": .string("x"), "host": .string("host_00"),
                "seconds": .integer(30),
            ])
            let job = try await port.submit()
            let bodies: [(String, JSONValue)] = [
                ("/hosts/next-job", .object(["wait": .integer(0), "slots": .integer(1), "capabilities": capabilities])),
                (
                    "/hosts/heartbeat",
                    .object([
                        "free_memory": .integer(1), "free_vram": .integer(1), "models": .array([ModelRequestTests.model]),
                        "speed": .object(["acme/tiny": .number(1)]), "prices": .object(["acme/tiny": .number(1)]),
                        "max_context_tier": .integer(4), "active_jobs": .integer(1), "slots": .integer(1),
                    ])
                ),
                (
                    "/jobs/\(job)/heartbeat",
                    .object([
                        "lease": lease,
                        "logs": .array([
                            .object(["stream": .string("stdout"), "offset": .integer(0), "data": .string("x")])
                        ]),
                    ])
                ),
                (
                    "/jobs/\(job)/complete",
                    .object([
                        "lease": lease, "exit_code": .integer(0), "wall_seconds": .number(1), "cpu_seconds": .number(1),
                        "max_rss_bytes": .integer(1), "log_bytes": .integer(0), "log_lines_split": .integer(0),
                        "outputs": .array([
                            .object([
                                "path": .string("a"), "size": .integer(1), "sha256": .string(String(repeating: "0", count: 64)),
                            ])
                        ]),
                    ])
                ),
                (
                    "/api/v1/workers/heartbeat",
                    .object(["max_context_tier": .integer(4), "models": .array([.object(["id": .string("acme/tiny")])])])
                ),
            ]
            let extremes: [JSONValue] = [
                .integer(.max), .integer(.min), .integer(-1), .integer(1 << 53), .number(1e308), .number(-1e308), .number(0.5),
            ]
            for (path, body) in bodies {
                for extreme in extremes {
                    for wild in numbers(body, { _ in extreme }) {
                        let reply = try await host.send(.POST, path, wild)
                        #expect(reply.status < 500, "\(path) \(wild): \(reply.text)")
                        // What it said is used: the job and the model find their hosts, or none.
                        #expect(try await port.get("/jobs/\(job)/placement").status == 200)
                    }
                }
            }
            #expect(try await port.get("/hosts").status == 200)
            #expect(try await port.get("/metrics").status == 200)
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a host that is removed while it waits gets no job`() async throws {
        try await withCoordinator { port in
            try await port.push()
            let made = try await port.send(.POST, "/hosts", .object(["name": .string("gone")]))
            let gone = port.with(made["token"].string)
            async let waiting = gone.send(.POST, "/hosts/next-job", .object(["wait": .number(30)]))
            // It waits once it is known to have asked.
            while try await port.get("/hosts/\(made["id"].string)")["status"].string != "active" { await Task.yield() }
            #expect(try await port.call(.DELETE, "/hosts/\(made["id"].string)").status == 204)
            let id = try await port.submit()
            #expect(try await waiting.status == 401)
            // Nothing of the attempt is left: another host has it at once.
            let other = try await port.host("other")
            #expect(try await other.claim(wait: 20).id == id)
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a host that leaves its group while it waits costs no member a job`() async throws {
        try await withCoordinator { port in
            try await port.push()
            let group = try await port.send(.POST, "/groups", .object(["name": .string("friends")]))["id"].string
            let invite = try await port.send(.POST, "/groups/\(group)/invites", .object([:]))["invite"].string
            let friend = try await port.stranger()
            #expect(try await friend.send(.POST, "/groups/join", .object(["invite": .string(invite)])).status == 200)
            let fields: [String: JSONValue] = ["name": .string("h"), "groups": .array([.string(group)])]
            let made = try await port.send(.POST, "/hosts", .object(fields))
            let host = port.with(made["token"].string)
            async let waiting = host.send(.POST, "/hosts/next-job", .object(["wait": .number(5)]))
            while try await port.get("/hosts/\(made["id"].string)")["status"].string != "active" { await Task.yield() }
            #expect(try await port.call(.DELETE, "/groups/\(group)/hosts/\(made["id"].string)").status == 204)
            let id = try await friend.submit(["constraints": .object(["group": .string(group)])])
            #expect(try await waiting.status == 204)
            #expect(try await friend.get("/jobs/\(id)")["status"].string == "queued")
            // Another host of the group has it.
            let second = try await friend.send(.POST, "/hosts", .object(fields))
            #expect(try await port.with(second["token"].string).claim(wait: 20).id == id)
        }
    }
}
