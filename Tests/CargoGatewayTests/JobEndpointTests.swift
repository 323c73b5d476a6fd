import CargoArtifact
import CargoCoordinator
import CargoWire
import FoundationEssentials
import Logging
import NIOHTTP1
import SystemPackage
import Testing

#if canImport(Glibc)
    import Glibc
#endif

@Suite struct JobEndpointTests {
    @Test func aJobGoesFromSubmitToOutputsOverRest() async throws {
        try await withCoordinator { port in
            try await port.push()
            let host = try await port.host()
            let large = String(repeating: "word ", count: 2000)
            let id = try await port.submit([
                "args": .array([.string("a")]), "env": .object(["GREETING": .string("hi")]),
                "params": .object(["n": .number(1.5)]),
                "metadata": .object(["mine": .integer(1)]),
                "files": .array([
                    .object(["name": .string("in/a b.txt"), "content": .string(Data(large.utf8).base64EncodedString())])
                ]),
            ])
            let reply = try await host.send(.POST, "/hosts/next-job", .object(["wait": .integer(5)]))
            let (job, lease) = (reply["job"], reply["lease"])
            #expect(job["id"].string == id && job["attempt"] == .integer(1))
            #expect(job["env"]["GREETING"].string == "hi" && job["params"]["n"] == .number(1.5))
            let header = [("Longshore-Lease", String(decoding: try JSONEncoder().encode(lease), as: UTF8.self))]
            #expect(try await host.get("/jobs/\(id)/files/in/a%20b.txt", headers: header).text == large)
            #expect(try await host.beat(id, lease, log: "hello\n")["durable_offset"] == .integer(6))
            let output = Array("result".utf8)
            #expect(try await host.call(.PUT, "/jobs/\(id)/outputs/d/r.txt", body: output, headers: header).status == 201)
            #expect(try await port.get("/jobs/\(id)/outputs/d/r.txt").status == 404)
            let completion: [String: JSONValue] = [
                "lease": lease, "exit_code": .integer(0), "log_bytes": .integer(6),
                "log_sha256": .string(CargoArtifact.Digest(of: Array("hello\n".utf8)).hex),
                "outputs": .array([
                    .object([
                        "path": .string("d/r.txt"), "size": .integer(6), "sha256": .string(CargoArtifact.Digest(of: output).hex),
                    ])
                ]),
            ]
            #expect(try await host.send(.POST, "/jobs/\(id)/complete", .object(completion)).status == 200)
            #expect(try await host.send(.POST, "/jobs/\(id)/complete", .object(completion)).status == 200)
            let done = try await port.get("/jobs/\(id)")
            #expect(
                done["status"].string == "complete" && done["exit_code"] == .integer(0) && done["metadata"]["mine"] == .integer(1)
            )
            #expect(try await port.get("/jobs/\(id)/logs").text == "hello\n")
            let file = try await port.get("/jobs/\(id)/outputs/d/r.txt")
            #expect(file.text == "result" && file.headers.first(name: "X-Content-Type-Options") == "nosniff")
            #expect(file.headers.first(name: "Content-Disposition") == "attachment; filename=\"r.txt\"")
            let part = try await port.get("/jobs/\(id)/outputs/d/r.txt", headers: [("Range", "bytes=2-3")])
            #expect(part.status == 206 && part.text == "su")
            #expect(try await port.get("/jobs/\(id)/audit")["valid"] == .bool(true))
        }
    }

    @Test func anAcknowledgedJobAndItsLeaseSurviveARestart() async throws {
        var template = Array("/tmp/longshore-gateway-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Errno(rawValue: errno) }
        let path = FilePath(String(cString: made))
        defer { try? FileManager.default.removeItem(atPath: path.string) }
        var ids: [String] = []
        var token = ""
        var lease = JSONValue.null
        try await withServer(on: path) { port in
            try await port.push()
            ids = [try await port.submit(), try await port.submit()]
            let host = try await port.host()
            token = host.key
            let claim = try await host.claim()
            #expect(claim.id == ids[0])
            lease = claim.lease
            #expect(try await host.beat(ids[0], lease, log: "before\n").status == 200)
        }
        try await withServer(on: path) { port in
            let host = port.with(token)
            let beat = try await host.beat(ids[0], lease, log: "after\n", at: 7)
            #expect(beat["durable_offset"] == .integer(13))
            #expect(try await host.complete(ids[0], lease).status == 200)
            #expect(try await port.get("/jobs/\(ids[0])/logs").text == "before\nafter\n")
            #expect(try await host.claim().id == ids[1])
        }
    }

    @Test func aReaderThatShowsAnyIdGetsExactlyTheRest() async throws {
        try await withCoordinator { port in
            try await port.push()
            let host = try await port.host()
            let id = try await port.submit(["attempts": .integer(2)])
            var offset: Int64 = 0
            var first = try await host.claim()
            for line in ["one\n", "zwei ä\n"] {
                _ = try await host.beat(id, first.lease, log: line, at: offset)
                offset += Int64(line.utf8.count)
            }
            #expect(try await host.complete(id, first.lease, exitCode: 1)["status"].string == "queued")
            first = try await host.claim(wait: 10)
            _ = try await host.beat(id, first.lease, log: "second attempt\n")
            #expect(try await host.complete(id, first.lease).status == 200)
            let all = Self.events(try await port.get("/jobs/\(id)/events").text)
            #expect(all.map(\.name).filter { $0 == "status" }.count == 7)
            #expect(all.last?.data.contains("\"complete\"") == true)
            for (index, event) in all.enumerated() {
                let rest = try await port.get("/jobs/\(id)/events", headers: [("Last-Event-ID", event.id)])
                #expect(Self.events(rest.text).map(\.data) == all[(index + 1)...].map(\.data), "after \(event.id)")
            }
            #expect(try await port.get("/jobs/\(id)/events", headers: [("Last-Event-ID", "nonsense")]).status == 400)
        }
    }

    static func events(_ text: String) -> [(id: String, name: String, data: String)] {
        text.split(separator: "\n\n").compactMap { block in
            var fields: [String: String] = [:]
            for line in block.split(separator: "\n") {
                guard let colon = line.firstIndex(of: ":"), colon != line.startIndex else { continue }
                fields[String(line[..<colon])] = String(line[line.index(after: colon)...].drop { $0 == " " })
            }
            guard let id = fields["id"], let name = fields["event"], let data = fields["data"] else { return nil }
            return (id, name, data)
        }
    }

    @Test func aWaitingHostGetsAJobTheMomentItIsSubmitted() async throws {
        try await withCoordinator { port in
            try await port.push()
            let host = try await port.host()
            async let claim = host.claim(wait: 20)
            let id = try await port.submit()
            let claimed = try await claim
            #expect(claimed.id == id)
            async let ended = port.get("/jobs/\(id)?wait=20s")
            #expect(try await host.complete(id, claimed.lease).status == 200)
            let answer = try await ended
            #expect(answer["status"].string == "complete")
        }
    }

    @Test func aHundredSubmissionsAtOnceAreAllTakenAndAllComplete() async throws {
        try await withCoordinator { port in
            try await port.push()
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<100 {
                    group.addTask {
                        try await port.send(.POST, "/jobs", .object(["cargo": .string("acme/hello:1.0.0")])).status
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses == Array(repeating: 202, count: 100))
            let host = try await port.host()
            for _ in 0..<100 {
                let claim = try await host.claim()
                #expect(try await host.complete(claim.id, claim.lease).status == 200)
            }
            let queue = try await port.get("/queue")
            #expect(queue["queued"] == .integer(0) && queue["running"] == .integer(0))
        }
    }

    @Test func anIdempotencyKeyMakesSubmitRepeatable() async throws {
        try await withCoordinator { port in
            try await port.push()
            let header = [("Idempotency-Key", "k")]
            let body = JSONValue.object(["cargo": .string("acme/hello:1.0.0")])
            let first = try await port.send(.POST, "/jobs", body, headers: header)
            let again = try await port.send(.POST, "/jobs", body, headers: header)
            #expect(first.status == 202 && again.status == 202 && first["id"] == again["id"])
            let other = JSONValue.object(["cargo": .string("acme/hello:1.0.0"), "tier": .integer(2)])
            #expect(try await port.send(.POST, "/jobs", other, headers: header).code == "idempotency_conflict")
        }
    }

    @Test func aQueuedJobSaysWhyItWaits() async throws {
        try await withCoordinator { port in
            let reply = try await port.send(
                .POST, "/jobs", .object(["image": .string("alpine:3.20"), "command": .array([.string("true")])]))
            #expect(reply.status == 202 && reply["image"].string == "alpine:3.20")
            #expect(reply["notice"].string.contains("No host"))
            let host = try await port.host()
            #expect(try await host.send(.POST, "/hosts/next-job", .object(["wait": .integer(0)])).status == 204)
            #expect(try await port.get("/jobs/\(reply["id"].string)")["notice"].string == "No known host runs container images.")
            let able = JSONValue.object(["wait": .integer(1), "capabilities": .object(["docker": .bool(true)])])
            let claim = try await host.send(.POST, "/hosts/next-job", able)
            #expect(claim["job"]["image"].string == "alpine:3.20" && claim["job"]["command"] == .array([.string("true")]))
        }
    }

    @Test func aSharedLinkShowsOneJobUntilItIsRevoked() async throws {
        try await withCoordinator { port in
            try await port.push()
            let id = try await port.submit(["metadata": .string("private")])
            let nobody = port.with("")
            #expect(try await nobody.get("/jobs/\(id)").status == 401)
            let share = try await port.send(.POST, "/jobs/\(id)/share", .object([:]))
            let url = share["url"].string
            let seen = try await nobody.get(url)
            #expect(seen.status == 200 && seen["id"].string == id && seen["metadata"] == .null)
            #expect(try await nobody.get(url + "/logs").status == 200)
            #expect(try await port.call(.DELETE, "/jobs/\(id)/share").status == 204)
            #expect(try await nobody.get(url).status == 404)
        }
    }

    @Test func theQueueFirstShapeGivesTheMessageItsOutput() async throws {
        try await withCoordinator { port in
            try await port.push()
            let sent = try await port.send(.POST, "/gen/instruct", .object(["cargo": .string("acme/hello:1.0.0")]))
            let id = sent["message_id"].string
            #expect(try await port.get("/output/gen/instruct/\(id)")["status"].string == "queued")
            let host = try await port.host()
            let claim = try await host.claim()
            let text = "{\"choices\":[1]}"
            _ = try await host.beat(id, claim.lease, log: text)
            _ = try await host.complete(id, claim.lease)
            #expect(try await port.get("/output/gen/instruct/\(id)")["result"]["choices"] == .array([.integer(1)]))
            #expect(try await port.send(.POST, "/gen/nonsense", .object([:])).status == 404)
        }
    }

    @Test func aSecondProcessOnTheSameFolderIsRefused() async throws {
        var template = Array("/tmp/longshore-gateway-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Errno(rawValue: errno) }
        let path = FilePath(String(cString: made))
        defer { try? FileManager.default.removeItem(atPath: path.string) }
        try await withServer(on: path) { _ in
            do {
                _ = try await Coordinator(CoordinatorSettings(data: path), logger: Logger(label: "second"))
                Issue.record("a second coordinator opened the same folder")
            } catch {
                #expect("\(error)".contains("is used by another"))
            }
        }
    }
}
