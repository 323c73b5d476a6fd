import CargoArtifact
import CargoWire
import FoundationEssentials
import NIOHTTP1
import Testing

/// Page 000's workers: browse, then claim.
@Suite struct WorkerTests {
    private static let base = "/api/v1/workers"

    /// A registered worker with its token.
    private func worker(_ port: Port, _ name: String, models: [String] = [], more: [String: JSONValue] = [:]) async throws -> Port
    {
        let made = try await port.send(.POST, Self.base + "/register", .object(["name": .string(name)]))
        guard made.status == 201 else { throw TestFailure("register: \(made.text)") }
        let login: JSONValue = .object(["node_id": made["node_id"], "secret_key": made["secret_key"]])
        let token = try await port.with("").send(.POST, Self.base + "/login", login)["worker_token"].string
        let worker = port.with(token)
        try await beat(worker, models, more)
        return worker
    }

    private func beat(_ worker: Port, _ models: [String], _ more: [String: JSONValue] = [:]) async throws {
        let list = models.map { JSONValue.object(["id": .string($0), "platform": .string("ollama")]) }
        let fields: [String: JSONValue] = ["engines": .array([.string("ollama")]), "models": .array(list)]
        let reply = try await worker.send(.POST, Self.base + "/heartbeat", .object(fields.merging(more) { $1 }))
        guard reply.status == 200 else { throw TestFailure("heartbeat: \(reply.text)") }
    }

    private func offers(_ worker: Port, limit: Int = 5) async throws -> [JSONValue] {
        let reply = try await worker.get(Self.base + "/jobs/available?limit=\(limit)")
        guard case .array(let jobs) = reply["jobs"] else { throw TestFailure("available: \(reply.text)") }
        return jobs
    }

    private func claim(_ worker: Port, _ id: String) async throws -> Reply {
        try await worker.call(.POST, Self.base + "/jobs/\(id)/claim")
    }

    @Test(.timeLimit(.minutes(1))) func `whoever claims first has the job, and looking reserves nothing`() async throws {
        try await withCoordinator { port in
            try await port.push()
            let (one, two) = (try await worker(port, "one"), try await worker(port, "two"))
            #expect(try await offers(one).isEmpty)
            let (low, high) = (
                try await port.submit(["priority": .integer(10)]), try await port.submit(["priority": .integer(90)])
            )
            for worker in [one, two] {
                let jobs = try await offers(worker)
                #expect(jobs.map { $0["job_id"].string } == [high, low])
                #expect(jobs.first?["priority"].string == "high" && jobs.first?["expires_in"] == .integer(30))
            }
            #expect(try await offers(one, limit: 1).map { $0["job_id"].string } == [high])
            // The one further down may be chosen.
            let first = try await claim(two, low)
            #expect(first.status == 200 && first["job_id"].string == low, "\(first.text)")
            #expect(try await claim(one, low).code == "not_available")
            #expect(try await claim(one, "01a1fb7b-0000-7000-8000-000000000000").status == 409)
            #expect(try await offers(one).map { $0["job_id"].string } == [high])
            let done: JSONValue = .object(["lease": first["lease"], "result": .string("seven"), "exit_code": .integer(0)])
            #expect(try await one.send(.POST, Self.base + "/jobs/\(low)/complete", done).code == "lease_lost")
            #expect(try await two.send(.POST, Self.base + "/jobs/\(low)/complete", done).status == 200)
            #expect(try await port.get("/jobs/\(low)")["status"].string == "complete")
            #expect(try await port.get("/jobs/\(low)/logs").text.contains("seven"))
            // What another host claims the usual way is gone from the list as well.
            #expect(try await one.claim().id == high)
            #expect(try await offers(two).isEmpty)
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a worker answers a chat with a text, and an embedding with vectors`() async throws {
        try await withCoordinator { port in
            let worker = try await worker(port, "gpu", models: ["tiny"], more: ["max_context_tier": .integer(2)])
            #expect(try await port.get("/v1/models").text.contains("\"tiny\""))
            func answer(_ path: String, _ body: JSONValue, _ result: JSONValue) async throws -> (Reply, JSONValue) {
                async let asked = port.send(.POST, path, body, headers: [("Longshore-Timeout", "30s")])
                var jobs: [JSONValue] = []
                for _ in 0..<2000 where jobs.isEmpty { jobs = try await offers(worker) }
                let id = jobs.first?["job_id"].string ?? ""
                #expect(jobs.first?["type"].string == "llm" && jobs.first?["model"].string == "tiny")
                let claimed = try await claim(worker, id)
                let usage: JSONValue = .object(["prompt_tokens": .integer(3), "completion_tokens": .integer(1)])
                let done: JSONValue = .object(["lease": claimed["lease"], "result": result, "usage": usage])
                let reply = try await worker.send(.POST, Self.base + "/jobs/\(id)/complete", done)
                #expect(reply.status == 200, "\(reply.text)")
                return (try await asked, claimed.json)
            }
            let chat: JSONValue = .object([
                "model": .string("tiny"), "temperature": .number(0.5),
                "messages": .array([.object(["role": .string("user"), "content": .string("who?")])]),
            ])
            let (said, job) = try await answer("/v1/chat/completions", chat, .string("ahoy"))
            #expect(job["job_type"].string == "llm" && job["input_data"].string == "who?")
            #expect(job["parameters"]["temperature"] == .number(0.5))
            #expect(said.status == 200 && said.text.contains("\"content\":\"ahoy\"") && said.text.contains("\"total_tokens\":4"))
            var streamed = chat
            if case .object(var fields) = chat {
                fields["stream"] = .bool(true)
                streamed = .object(fields)
            }
            let (stream, _) = try await answer("/v1/chat/completions", streamed, .string("ahoy"))
            #expect(stream.text.hasPrefix("data: {") && stream.text.hasSuffix("data: [DONE]\n\n") && stream.text.contains("ahoy"))
            let words: JSONValue = .object(["model": .string("tiny"), "input": .array([.string("a"), .string("b")])])
            let row: JSONValue = .array([.number(0.5), .number(0.25)])
            let (vectors, embedding) = try await answer("/v1/embeddings", words, .array([row, row]))
            #expect(
                embedding["job_type"].string == "embed"
                    && embedding["input_data"]["texts"] == .array([.string("a"), .string("b")]))
            guard case .array(let data) = vectors["data"] else { throw TestFailure(vectors.text) }
            #expect(data.count == 2 && data[1]["index"] == .integer(1) && data[1]["embedding"] == row)
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a job that a worker gives back is offered again`() async throws {
        try await withCoordinator { port in
            try await port.push()
            let (one, two) = (try await worker(port, "one"), try await worker(port, "two"))
            let id = try await port.submit(["attempts": .integer(3)])
            let claimed = try await claim(one, id)
            let failed: JSONValue = .object(["lease": claimed["lease"], "error": .string("no room"), "retryable": .bool(true)])
            #expect(try await one.send(.POST, Self.base + "/jobs/\(id)/fail", failed).status == 200)
            var jobs: [JSONValue] = []
            for _ in 0..<20000 where jobs.isEmpty { jobs = try await offers(two) }
            #expect(jobs.first?["job_id"].string == id && jobs.first?["retry_count"] == .integer(1))
            #expect(try await claim(two, id).status == 200)
            #expect(
                try await port.with("").send(
                    .POST, Self.base + "/login", .object(["node_id": .string("host_x"), "secret_key": .string(two.key)])
                ).status == 401)
            #expect(try await port.get(Self.base + "/jobs/available").status == 403)
        }
    }
}
