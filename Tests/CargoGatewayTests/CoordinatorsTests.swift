import AsyncHTTPClient
import CargoArtifact
import CargoWire
import Crypto
import Foundation
import NIOCore
import NIOHTTP1
import TestStage
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// Two coordinators, each a process of its own with its own disk, on one PostgreSQL. Hosts are played by the test.
@Suite(.serialized, .enabled(if: PostgresCluster.programs != nil, "PostgreSQL is not installed"))
struct CoordinatorsTests {
    /// One coordinator of the two.
    private final class Pier: Sendable {
        let program: RunningProgram
        let port: Port

        init(_ stage: Stage, _ name: String, _ database: String, key: String? = nil) async throws {
            program = try stage.start([
                "longshore-coordinator", "serve", "--data", stage.path(name), "--listen", "127.0.0.1:0", "--store", database,
            ])
            let program = program
            var address: String?
            _ = await eventually(within: 60) {
                let output = String(decoding: program.stdout, as: UTF8.self) + program.stderr
                address = output.firstMatch(of: /listening on (http:\/\/[0-9.:]+)/).map { String($0.1) }
                return address != nil || !program.isRunning
            }
            guard let address else { throw StageFailure("the coordinator did not start: \(program.stderr)") }
            let own = String(decoding: try Data(contentsOf: stage.path(name + "/admin.key")), as: UTF8.self)
            port = Port(url: address, key: key ?? String(own.prefix { $0 != "\n" }))
        }

        func kill() async { await program.destroy() }
    }

    private let stage: Stage
    private let database: String
    private let a: Pier
    private let b: Pier

    init() async throws {
        stage = try Stage()
        database = try PostgresCluster.shared.get().database()
        a = try await Pier(stage, "a", database)
        b = try await Pier(stage, "b", database, key: a.port.key)
    }

    private func close() async {
        await a.kill()
        await b.kill()
    }

    /// A job that a host of this coordinator has claimed.
    private func claimed(at port: Port) async throws -> (host: Port, id: String, lease: JSONValue) {
        try await port.push()
        let id = try await port.submit(["attempts": .integer(1)])
        let host = try await port.host("h-\(UInt32.random(in: .min ... .max))")
        let claim = try await host.claim(wait: 20)
        #expect(claim.id == id)
        return (host, id, claim.lease)
    }

    /// What a reader of events has got: log text in order, each byte once.
    private struct Reading: Sendable {
        var text = ""
        var last = ""
        var isFinal = false
        private var rest = ""

        mutating func take(_ bytes: ByteBuffer) throws {
            rest += String(buffer: bytes)
            while let end = rest.range(of: "\n\n") {
                let block = rest[..<end.lowerBound]
                rest.removeSubrange(..<end.upperBound)
                var data: JSONValue?
                for line in block.split(separator: "\n") {
                    if line.hasPrefix("id: ") { last = String(line.dropFirst(4)) }
                    if line.hasPrefix("data: ") {
                        data = try JSONDecoder().decode(JSONValue.self, from: Data(line.dropFirst(6).utf8))
                    }
                }
                guard let data else { continue }
                if case .integer(let offset) = data["offset"] {
                    // The next byte and no other.
                    #expect(offset == Int64(text.utf8.count))
                    text += data["data"].string
                }
                if ["complete", "error"].contains(data["status"].string) { isFinal = true }
            }
        }
    }

    /// Follows a job's events until there are `bytes` of log, or the end.
    private func follow(_ port: Port, _ id: String, after: String? = nil, until bytes: Int = .max, _ reading: Reading? = nil)
        async throws -> Reading
    {
        var request = HTTPClientRequest(url: port.url + "/jobs/\(id)/events")
        request.headers.add(name: "Authorization", value: "Bearer \(port.key)")
        if let after { request.headers.add(name: "Last-Event-ID", value: after) }
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(120))
        #expect(response.status == .ok)
        var reading = reading ?? Reading()
        for try await piece in response.body {
            try reading.take(piece)
            if reading.text.utf8.count >= bytes { break }
        }
        return reading
    }

    /// Sends a piece of log until the coordinator has it on disk.
    private func say(_ host: Port, _ id: String, _ lease: JSONValue, _ text: String, at offset: Int) async throws {
        let end = Int64((text.utf8.count + offset))
        let isDurable = try await eventually(within: 60) {
            let reply = try await host.beat(id, lease, log: text, at: Int64(offset))
            return reply.status == 200 && reply["durable_offset"] == .integer(end)
        }
        guard isDurable else { throw StageFailure("the log was not taken") }
    }

    @Test(.timeLimit(.minutes(3))) func `a reader at one coordinator gets what a host tells another while it tells it`()
        async throws
    {
        let (host, id, lease) = try await claimed(at: a.port)
        async let waiting = b.port.get("/jobs/\(id)?wait=60s")
        try await say(host, id, lease, "one\n", at: 0)
        let early = try await follow(b.port, id, until: 4)
        #expect(early.text == "one\n")
        async let following = follow(b.port, id, after: early.last, early)
        try await say(host, id, lease, "two\n", at: 4)
        #expect(try await b.port.get("/jobs/\(id)/logs").text == "one\ntwo\n")
        #expect(try await b.port.get("/jobs/\(id)/events?follow=false").text.contains("two"))
        #expect(try await host.complete(id, lease).status == 200)
        let reading = try await following
        #expect(reading.text == "one\ntwo\n" && reading.isFinal)
        #expect(try await waiting["status"].string == "complete")
        #expect(try await follow(b.port, id).text == "one\ntwo\n")
        await close()
    }

    @Test(.timeLimit(.minutes(3))) func `a file and its batch are found whichever coordinator is asked`() async throws {
        let line =
            #"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"no/such","messages":[]}}"# + "\n"
        // Larger than a piece, so that it is put together.
        let text = String(repeating: line, count: 12_000)
        let form =
            "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\n"
            + "Content-Disposition: form-data; name=\"file\"; filename=\"lines.jsonl\"\r\n\r\n" + text + "\r\n--x--\r\n"
        let file = try await a.port.call(
            .POST, "/v1/files", body: Array(form.utf8), headers: [("Content-Type", "multipart/form-data; boundary=x")])["id"]
            .string
        // The other knows where it is as soon as it has heard of this one.
        #expect(try await eventually(within: 60) { try await b.port.get("/v1/files/\(file)").status == 200 })
        #expect(try await b.port.get("/v1/files/\(file)")["filename"].string == "lines.jsonl")
        let content = try await b.port.get("/v1/files/\(file)/content")
        #expect(content.text == text && content.headers.first(name: "Content-Disposition")?.contains("lines.jsonl") == true)
        // Not to a stranger, nor to who is no coordinator.
        let stranger = try await b.port.stranger()
        #expect(try await stranger.get("/v1/files/\(file)").status == 404)
        #expect(try await stranger.call(.DELETE, "/v1/files/\(file)").status == 404)
        #expect(try await a.port.get("/peer/kept/\(file)?account=1").status == 404)
        let ask: JSONValue = .object([
            "input_file_id": .string(file), "endpoint": .string("/v1/chat/completions"), "completion_window": .string("24h"),
        ])
        let batch = try await b.port.send(.POST, "/v1/batches", ask)["id"].string
        #expect(batch.hasPrefix("batch_"))
        for pier in [a, b] { #expect(try await pier.port.get("/v1/batches/\(batch)")["id"].string == batch) }
        #expect(try await stranger.get("/v1/batches/\(batch)").status == 404)
        #expect(try await stranger.send(.POST, "/v1/batches", ask).status == 400)
        let cancelled = try await b.port.send(.POST, "/v1/batches/\(batch)/cancel", .object([:]))
        #expect([200, 409].contains(cancelled.status), "\(cancelled.text)")
        #expect(
            try await eventually(within: 60) {
                ["cancelled", "completed", "failed"].contains(try await b.port.get("/v1/batches/\(batch)")["status"].string)
            })
        #expect(try await b.port.call(.DELETE, "/v1/files/\(file)").status == 200)
        for pier in [a, b] { #expect(try await pier.port.get("/v1/files/\(file)").status == 404) }
        await close()
    }

    @Test(.timeLimit(.minutes(4))) func `a coordinator killed in mid-stream loses its readers no byte and repeats none`()
        async throws
    {
        let (host, id, lease) = try await claimed(at: a.port)
        try await say(host, id, lease, "before\n", at: 0)
        let early = try await follow(b.port, id, until: 7)
        #expect(early.text == "before\n")
        async let following = follow(b.port, id, after: early.last, early)
        await a.kill()
        // Its host goes on with the other, which takes the log over once the first has been silent for some seconds.
        let elsewhere = Port(url: b.port.url, key: host.key)
        try await say(elsewhere, id, lease, "after\n", at: 7)
        // Who reads from the start waits for what lies on the dead one's disk.
        async let anew = follow(b.port, id)
        let away = try await b.port.get("/jobs/\(id)/logs")
        #expect(away.status == 503 && away.code == "unavailable", "\(away.status) \(away.text)")
        #expect(
            try await elsewhere.send(
                .POST, "/jobs/\(id)/complete",
                .object(["lease": lease, "exit_code": .integer(0), "log_bytes": .integer(13)])
            ).status == 200)
        let all = "before\nafter\n"
        let followed = try await following
        #expect(followed.text == all && followed.isFinal)
        let again = try await Pier(stage, "a", database, key: a.port.key)
        let whole = try await anew
        #expect(whole.text == all && whole.isFinal)
        #expect(try await again.port.get("/jobs/\(id)/logs").text == all)
        #expect(try await follow(again.port, id).text == all)
        await again.kill()
        await close()
    }

    @Test(.timeLimit(.minutes(3))) func `a completion whose answer died with its coordinator is answered by another`()
        async throws
    {
        let (host, id, lease) = try await claimed(at: a.port)
        try await say(host, id, lease, "done\n", at: 0)
        #expect(try await host.complete(id, lease).status == 200)
        await a.kill()
        let elsewhere = Port(url: b.port.url, key: host.key)
        var last = 0
        let isAnswered = try await eventually(within: 60) {
            let reply = try await elsewhere.complete(id, lease)
            last = reply.status
            return reply.status == 200 && reply["status"].string == "complete"
        }
        #expect(isAnswered, "the last answer was \(last)")
        #expect(try await b.port.get("/jobs/\(id)/audit").text.components(separatedBy: "\"status\":\"complete\"").count == 2)
        await close()
    }

    @Test(.timeLimit(.minutes(3))) func `a log is kept where its job was claimed, whichever coordinator its host talks to`()
        async throws
    {
        let (host, id, lease) = try await claimed(at: a.port)
        let elsewhere = Port(url: b.port.url, key: host.key)
        var text = ""
        for number in 0..<20 {
            let line = "line \(number)\n"
            try await say(number % 2 == 0 ? host : elsewhere, id, lease, line, at: text.utf8.count)
            text += line
        }
        let sum = SHA256.hash(data: Data(text.utf8)).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        let completion: (String) -> JSONValue = { sum in
            .object([
                "lease": lease, "exit_code": .integer(0), "log_bytes": .integer(Int64(text.utf8.count)),
                "log_sha256": .string(sum),
            ])
        }
        let forged = try await elsewhere.send(
            .POST, "/jobs/\(id)/complete", completion(String(sum.reversed())))
        #expect(forged.status == 422 && forged.code == "log_differs")
        #expect(try await elsewhere.send(.POST, "/jobs/\(id)/complete", completion(sum)).status == 200)
        for port in [a.port, b.port] { #expect(try await port.get("/jobs/\(id)/logs").text == text) }
        await close()
    }

    @Test(.timeLimit(.minutes(3))) func `a chat asked of one coordinator is answered by a host of another as it speaks`()
        async throws
    {
        let host = try await a.port.servingHost()
        let (here, there) = (a.port, b.port)
        let isKnown = try await eventually(within: 60) { try await there.get("/v1/models").text.contains("acme/tiny") }
        #expect(isKnown)
        async let streaming = there.open("/v1/chat/completions", ModelRequestTests.question)
        let claim = try await host.claimRequest()
        let first = "data: {\"n\":1}\n\n"
        #expect(try await host.answer(claim, first).status == 200)
        let response = try await streaming
        #expect(response.status == .ok && response.headers.first(name: "content-type") == "text/event-stream")
        var pieces = response.body.makeAsyncIterator()
        #expect(try await pieces.next().map { String(buffer: $0) } == first)
        let rest = "data: {\"n\":2}\n\ndata: [DONE]\n\n"
        #expect(try await host.answer(claim, rest, at: first.utf8.count).status == 200)
        #expect(try await host.completeAnswer(claim, first + rest).status == 200)
        var text = ""
        while let piece = try await pieces.next() { text += String(buffer: piece) }
        #expect(text == rest)
        for port in [here, there] {
            #expect(try await port.get("/jobs/\(claim.id)/answer?after=1").text == rest)
        }
        // The key that asked is charged where it asked, though the request ended elsewhere.
        let charged = try await eventually(within: 60) {
            try await there.get("/usage").text.contains("\"completion_tokens\":5")
        }
        #expect(charged)
        await close()
    }

    @Test(.timeLimit(.minutes(2))) func `what coordinators tell each other is there for nobody else`() async throws {
        let (host, id, lease) = try await claimed(at: a.port)
        try await say(host, id, lease, "secret\n", at: 0)
        let target = "/peer/jobs/\(id)/logs/1?account=1&base=0&after=0&follow=false"
        let now = Int(Date().timeIntervalSince1970)
        for header in ["", "a \(now) \(String(repeating: "0", count: 64))", "a \(now) zz", "a"] {
            let reply = try await a.port.get(target, headers: [("Longshore-Peer", header)])
            #expect(reply.status == 404 && !reply.text.contains("secret"))
        }
        let forged = try await a.port.send(
            .POST, "/peer/jobs/\(id)/complete?account=1&host=x", .object(["lease": lease, "exit_code": .integer(0)]))
        #expect(forged.status == 404)
        await close()
    }
}
