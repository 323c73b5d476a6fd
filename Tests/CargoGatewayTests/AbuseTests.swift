import CargoArtifact
import CargoWire
import FoundationEssentials
import NIOHTTP1
import Testing

/// What strangers try with HTTP, each with what must happen.
@Suite struct AbuseTests {
    @Test func anotherAccountsKeyFindsNothingOnAnyEndpoint() async throws {
        try await withCoordinator { port in
            try await port.push()
            let id = try await port.submit()
            let stranger = try await port.stranger()
            for path in [
                "", "?wait=1s", "/events", "/logs", "/outputs", "/outputs/x", "/result", "/audit",
            ] {
                #expect(try await stranger.get("/jobs/\(id)\(path)").status == 404, "GET \(path)")
                #expect(try await port.with("ls_wrong").get("/jobs/\(id)\(path)").status == 401)
            }
            for path in ["/cancel", "/replay", "/share", "/ack"] {
                #expect(try await stranger.call(.POST, "/jobs/\(id)\(path)").status == 404, "POST \(path)")
            }
            #expect(try await stranger.call(.DELETE, "/jobs/\(id)/share").status == 404)
            #expect(try await stranger.get("/queue?job=\(id)").status == 404)
            #expect(try await stranger.get("/output/gen/instruct/\(id)").status == 404)
            #expect(try await stranger.get("/jobs")["jobs"] == .array([]))
            // An upload of another account is unknown here, and so is its host.
            let upload = try await port.call(.POST, "/uploads", body: [1, 2, 3])
            let file = JSONValue.object(["name": .string("x"), "upload": upload["id"]])
            let job = JSONValue.object(["cargo": .string("acme/hello:1.0.0"), "files": .array([file])])
            #expect(try await stranger.send(.POST, "/jobs", job).code == "unknown_upload")
            #expect(try await stranger.send(.POST, "/admin/keys", .object(["scopes": .array([.string("admin")])])).status == 403)
            // A publisher's name belongs to who pushed first.
            #expect(try await stranger.call(.POST, "/v2/acme/hello/blobs/uploads/").status == 403)
        }
    }

    @Test func aHostsTokenDoesAHostsWorkAndNothingElse() async throws {
        try await withCoordinator { port in
            try await port.push()
            let id = try await port.submit()
            let host = try await port.host()
            for path in ["/jobs", "/jobs/\(id)", "/queue", "/metrics"] {
                #expect(try await host.get(path).status == 403, "\(path)")
            }
            #expect(try await host.send(.POST, "/jobs", .object([:])).status == 403)
            #expect(try await host.send(.POST, "/hosts", .object(["name": .string("x")])).status == 403)
            #expect(try await host.get("/v2/acme/hello/manifests/1.0.0").status == 200)
            #expect(try await host.call(.POST, "/v2/acme/hello/blobs/uploads/").status == 403)
        }
    }

    @Test func anotherHostsLeaseIsNoLease() async throws {
        try await withCoordinator(leaseSeconds: 1) { port in
            try await port.push()
            let id = try await port.submit()
            let (first, second) = (try await port.host("a"), try await port.host("b"))
            let claim = try await first.claim()
            #expect(try await second.beat(id, claim.lease).code == "lease_lost")
            #expect(try await second.complete(id, claim.lease).code == "lease_lost")
            let header = [("Longshore-Lease", String(decoding: try JSONEncoder().encode(claim.lease), as: UTF8.self))]
            #expect(try await second.call(.PUT, "/jobs/\(id)/outputs/x", body: [1], headers: header).code == "lease_lost")
            // The silent host's job goes to the other; its late report is refused, and one result is accepted.
            let next = try await second.claim(wait: 20)
            #expect(next.id == id)
            #expect(try await first.complete(id, claim.lease).code == "lease_lost")
            #expect(try await second.complete(id, next.lease).status == 200)
            #expect(try await first.complete(id, claim.lease).code == "lease_lost")
            #expect(try await port.get("/jobs/\(id)")["attempt"] == .integer(2))
        }
    }

    @Test func namesThatLeaveTheirFolderAreRefused() async throws {
        try await withCoordinator { port in
            try await port.push()
            let id = try await port.submit()
            let host = try await port.host()
            let claim = try await host.claim()
            let header = [("Longshore-Lease", String(decoding: try JSONEncoder().encode(claim.lease), as: UTF8.self))]
            for path in ["%2e%2e/x", "a/%2e%2e/%2e%2e/x", "a%2f..%2fx", "%2fetc/passwd", "a%00b", "a%5cb", "%ff", "%zz"] {
                let reply = try await host.call(.PUT, "/jobs/\(id)/outputs/\(path)", body: [1], headers: header)
                #expect(reply.status == 422, "\(path): \(reply.status)")
            }
            for name in ["../x", "/x", "a//b", "a/./b", "", "a\u{0}b"] {
                let file = JSONValue.object(["name": .string(name), "content": .string("")])
                let job = JSONValue.object(["cargo": .string("acme/hello:1.0.0"), "files": .array([file])])
                #expect(try await port.send(.POST, "/jobs", job).status == 422, "\(name)")
            }
            for name in ["..%2f..", "%2e%2e", "UPPER"] {
                let status = try await port.get("/v2/acme/\(name)/tags/list").status
                #expect(status == 400 || status == 404, "\(name): \(status)")
            }
        }
    }

    @Test func bodiesThatAreNoJobsGetASentenceAndNeverA500() async throws {
        try await withCoordinator { port in
            try await port.push()
            let deep = String(repeating: "[", count: 10_000) + String(repeating: "]", count: 10_000)
            let bodies: [[UInt8]] = [
                [], Array("{".utf8), Array("null".utf8), Array("[]".utf8), Array("\"x\"".utf8), [0xFF, 0xFE], Array(deep.utf8),
                Array(#"{"cargo":"acme/hello:1.0.0","cargo":"acme/other:1.0.0"}"#.utf8), Array(#"{"cargo":1}"#.utf8),
                Array(#"{"cargo":"acme/hello:1.0.0","args":"x"}"#.utf8),
                Array(#"{"cargo":"acme/hello:1.0.0","priority":101}"#.utf8),
                Array(#"{"cargo":"acme/hello:1.0.0","priority":1e400}"#.utf8),
                Array(#"{"cargo":"acme/hello:1.0.0","timeout":"soon"}"#.utf8), Array(#"{"cargo":"acme/hello:9.9.9"}"#.utf8),
                Array(#"{"cargo":"../x"}"#.utf8), Array(#"{"cargo":"acme/hello:1.0.0","image":"alpine"}"#.utf8),
                Array(#"{"cargo":"acme/hello:1.0.0","command":["sh"]}"#.utf8),
                Array(#"{"cargo":"acme/hello:1.0.0","env":{"LD_PRELOAD":"x"}}"#.utf8),
                Array(#"{"cargo":"acme/hello:1.0.0","env":{"OTHER":"x"}}"#.utf8), Array(#"{"image":"UPPER CASE"}"#.utf8),
                Array(#"{"cargo":"acme/hello:1.0.0","id":"not-a-uuid"}"#.utf8),
            ]
            let host = try await port.host()
            for path in ["/jobs", "/gen/instruct", "/hosts", "/admin/keys"] {
                for body in bodies {
                    let reply = try await port.call(.POST, path, body: body)
                    #expect((400..<500).contains(reply.status), "\(path) \(String(decoding: body.prefix(60), as: UTF8.self))")
                    #expect(!reply["detail"].string.isEmpty)
                }
            }
            for path in ["/hosts/next-job", "/jobs/x/heartbeat", "/jobs/x/complete", "/jobs/x/fail"] {
                for body in bodies.prefix(7) {
                    let status = try await host.call(.POST, path, body: body).status
                    #expect((400..<500).contains(status), "\(path)")
                }
            }
            let huge = [UInt8](repeating: 32, count: (16 << 20) + 1)
            #expect(try await port.call(.POST, "/jobs", body: huge).status == 413)
        }
    }

    @Test func aForgedLogSequenceChangesNothing() async throws {
        try await withCoordinator { port in
            try await port.push()
            let id = try await port.submit()
            let host = try await port.host()
            let claim = try await host.claim()
            _ = try await host.beat(id, claim.lease, log: "honest\n")
            // The same id never gets a second content; a gap takes nothing.
            #expect(try await host.beat(id, claim.lease, log: "forged!\n")["durable_offset"] == .integer(8))
            #expect(try await host.beat(id, claim.lease, log: "far", at: 1000)["durable_offset"] == .integer(8))
            #expect(try await host.beat(id, claim.lease, log: "x", at: -1).status == 422)
            #expect(try await port.get("/jobs/\(id)/logs").text == "honest\n\n")
            let wrong = JSONValue.object([
                "lease": claim.lease, "exit_code": .integer(0), "log_bytes": .integer(8),
                "log_sha256": .string(String(repeating: "0", count: 64)),
            ])
            #expect(try await host.send(.POST, "/jobs/\(id)/complete", wrong).code == "log_differs")
        }
    }
}
