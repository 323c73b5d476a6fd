import CargoArtifact
import CargoCoordinator
import CargoWire
import FoundationEssentials
import NIOHTTP1
import SystemPackage
import Testing

/// What an operator sees of requests, and what of a client's trace goes through.
@Suite struct AccessTests {
    private static let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    private func lines(_ path: FilePath) -> [JSONValue] {
        let text = String(decoding: FileManager.default.contents(atPath: path.string) ?? Data(), as: UTF8.self)
        return text.split(separator: "\n").map { (try? JSONDecoder().decode(JSONValue.self, from: Data($0.utf8))) ?? .null }
    }

    @Test func eachRequestIsOneLineThatHoldsNoSecret() async throws {
        try await withFolder { path in
            let log = path.appending("access.jsonl")
            var (secret, share, job) = ("", "", "")
            try await withServer(on: path, change: { $0.accessLog = log }) { port in
                secret = port.key
                try await port.push()
                job = try await port.submit()
                share = try await port.send(.POST, "/jobs/\(job)/share", .object([:]))["url"].string
                _ = try await port.get(share)
                _ = try await port.get("/jobs/\(job)?wait=10ms&token=query-secret", headers: [("traceparent", Self.parent)])
                let named = try await port.get("/jobs", headers: [("X-Request-Id", "proxy-7")])
                #expect(named.headers.first(name: "X-Request-Id") == "proxy-7")
                _ = try await port.with("ls_wrong-secret").get("/jobs")
                _ = try await port.get("/nowhere/path-secret")
                _ = try await port.call(.POST, "/jobs/\(job)/cancel")
                _ = try await port.get("/jobs/\(job)/events")
            }
            let lines = lines(log)
            #expect(
                lines.allSatisfy {
                    $0["time"] != .null && $0["ms"] != .null && $0["bytes"] != .null && !$0["request"].string.isEmpty
                })
            func line(_ method: String, _ route: String) -> JSONValue {
                lines.first { $0["method"].string == method && $0["route"].string == route } ?? .null
            }
            #expect(line("POST", "/jobs")["status"] == .integer(202) && line("POST", "/jobs")["key"].string.hasPrefix("key_"))
            #expect(line("GET", "/jobs/{id}")["trace"].string == "0af7651916cd43dd8448eb211c80319c")
            #expect(lines.contains { $0["request"].string == "proxy-7" })
            #expect(lines.contains { $0["status"] == .integer(401) && $0["key"] == .null })
            #expect(lines.contains { $0["status"] == .integer(404) && $0["route"] == .null }, "\(lines)")
            // A stream is noted when it ended, with what it carried.
            let events = line("GET", "/jobs/{id}/events")
            guard case .integer(let bytes) = events["bytes"] else { throw TestFailure("\(lines)") }
            #expect(bytes > 100 && events["cut"] == .null)
            let text = String(decoding: FileManager.default.contents(atPath: log.string) ?? Data(), as: UTF8.self)
            for word in [secret, String(share.dropFirst(8)), "query-secret", "path-secret", "wrong-secret"] {
                #expect(!text.contains(word), "\(word)")
            }
            let mode = try FileManager.default.attributesOfItem(atPath: log.string)[.posixPermissions] as? Int
            #expect(mode == 0o600)
        }
    }

    @Test func aTraceReachesTheHostTheEventsAndTheAuditTrail() async throws {
        try await withCoordinator { port in
            try await port.push()
            let body: JSONValue = .object(["cargo": .string("acme/hello:1.0.0")])
            let submitted = try await port.send(
                .POST, "/jobs", body, headers: [("traceparent", Self.parent), ("tracestate", "vendor=1")])
            let id = submitted["id"].string
            let host = try await port.host()
            let claim = try await host.send(.POST, "/hosts/next-job", .object(["wait": .integer(0)]))
            #expect(claim["job"]["trace"]["traceparent"].string == Self.parent)
            #expect(claim["job"]["trace"]["tracestate"].string == "vendor=1")
            _ = try await host.complete(id, claim["lease"])
            #expect(try await port.get("/jobs/\(id)/events").text.contains("\"trace\":\"\(Self.parent)\""))
            let audit = try await port.get("/jobs/\(id)/audit")
            #expect(audit.text.contains(Self.parent) && audit["valid"] == .bool(true))
            // What is no traceparent is ignored.
            let other = try await port.send(
                .POST, "/jobs", body, headers: [("traceparent", "00-evil-01"), ("tracestate", "x=1")])
            #expect(other.status == 202)
            let next = try await host.send(.POST, "/hosts/next-job", .object(["wait": .integer(0)]))
            #expect(next["job"]["id"].string == other["id"].string && next["job"]["trace"] == .null)
        }
    }

    @Test func aTraceGoesWithARequestToAModel() async throws {
        try await withCoordinator { port in
            let host = try await port.host()
            let model: JSONValue = .object([
                "id": .string("m"), "source": .string("endpoint"), "operations": .array([.string("chat/completions")]),
                "presence": .string("loaded"), "active": .integer(0), "slots": .integer(1),
            ])
            let ask: JSONValue = .object([
                "wait": .integer(0), "capabilities": .object(["kinds": .array([]), "models": .array([model])]),
            ])
            _ = try await host.send(.POST, "/hosts/next-job", ask)
            async let answer = port.send(
                .POST, "/v1/chat/completions", .object(["model": .string("m"), "messages": .array([])]),
                headers: [("traceparent", Self.parent), ("Longshore-Timeout", "30s")])
            var claim = Reply(status: 204, headers: [:], bytes: [])
            for _ in 0..<200 where claim.status == 204 { claim = try await host.send(.POST, "/hosts/next-job", ask) }
            #expect(claim["job"]["request"]["trace"]["traceparent"].string == Self.parent)
            let error: JSONValue = .object(["code": .string("model_failed"), "message": .string("no")])
            _ = try await host.send(
                .POST, "/jobs/\(claim["job"]["id"].string)/fail",
                .object(["lease": claim["lease"], "error": error, "retryable": .bool(false)]))
            #expect(try await answer.status == 502)
        }
    }

    @Test func onlyWhatTheStandardAllowsIsATraceparent() {
        let rest = String(Self.parent.dropFirst(2))
        #expect(Trace(parent: Self.parent)?.id == "0af7651916cd43dd8448eb211c80319c")
        // A later version is read as far as this one goes.
        #expect(Trace(parent: "cc\(rest)-more")?.parent == Self.parent)
        let wrong: [String] = [
            "", "00", "\(Self.parent)-more", "ff\(rest)", Self.parent.uppercased(),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-011",
        ]
        for text in wrong { #expect(Trace(parent: text) == nil, "\(text)") }
        #expect(Trace(parent: Self.parent, state: "a\u{7}b")?.state == nil)
        #expect(Trace(parent: Self.parent, state: String(repeating: "x", count: 513))?.state == nil)
    }
}
