import CargoArtifact
import CargoWire
import NIOHTTP1
import Testing

@Suite struct KeyEndpointTests {
    private func key(_ port: Port, _ fields: [String: JSONValue]) async throws -> Reply {
        try await port.send(.POST, "/keys", .object(fields))
    }

    private func scopes(_ words: String...) -> JSONValue { .array(words.map(JSONValue.string)) }

    @Test func aKeyIsShownOnceListedRotatedAndRevoked() async throws {
        try await withCoordinator { port in
            let made = try await key(port, ["name": .string("ci"), "scopes": scopes("read", "write")])
            #expect(made.status == 201, "\(made.text)")
            let (id, first) = (made["id"].string, port.with(made["key"].string))
            #expect(try await first.get("/jobs").status == 200)
            let list = try await port.get("/keys")
            #expect(list.text.contains(id) && !list.text.contains(first.key) && !list.text.contains(port.key))
            #expect(list.text.contains("last_used_at"))

            let rotated = try await port.send(.POST, "/keys/\(id)/rotate", .object(["overlap": .integer(60)]))
            let second = port.with(rotated["key"].string)
            #expect(rotated["id"].string == id && second.key != first.key)
            #expect(try await first.get("/jobs").status == 200)
            #expect(try await second.get("/jobs").status == 200)
            let third = port.with(try await port.send(.POST, "/keys/\(id)/rotate", .object([:]))["key"].string)
            #expect(try await first.get("/jobs").status == 401)
            #expect(try await second.get("/jobs").status == 401)
            #expect(try await third.get("/jobs").status == 200)

            #expect(try await port.call(.DELETE, "/keys/\(id)").status == 204)
            #expect(try await third.get("/jobs").status == 401)
            #expect(try await port.get("/keys/\(id)")["revoked_at"].string.hasPrefix("20"))
            #expect(try await port.send(.POST, "/keys/\(id)/rotate", .object([:])).status == 409)
        }
    }

    @Test func aKeyMakesNoKeyThatMayMoreThanItself() async throws {
        try await withCoordinator { port in
            let writer = port.with(try await key(port, ["scopes": scopes("read", "write")])["key"].string)
            #expect(try await key(writer, ["scopes": scopes("read")]).status == 201)
            #expect(try await key(writer, ["scopes": scopes("publish")]).status == 403)
            #expect(try await key(writer, ["scopes": scopes("read"), "account": .string("other")]).status == 403)
            #expect(try await writer.get("/keys?account=default").status == 403)
            let admin = try await port.get("/keys").json["keys"]
            guard case .array(let keys) = admin, let first = keys.first(where: { $0["name"].string == "admin" }) else {
                throw TestFailure("the admin key is not listed")
            }
            #expect(try await writer.send(.POST, "/keys/\(first["id"].string)/rotate", .object([:])).status == 403)
            let reader = port.with(try await key(port, ["scopes": scopes("read")])["key"].string)
            #expect(try await key(reader, ["scopes": scopes("read")]).status == 403)
            #expect(try await reader.get("/keys").status == 200)
            // What ends or is bounded must not live on in a key that it made.
            let brief = port.with(try await key(port, ["scopes": scopes("write"), "expires_in": .string("1h")])["key"].string)
            #expect(try await key(brief, ["scopes": scopes("write")]).status == 403)
            for wrong in [
                ["scopes": JSONValue.array([])], ["scopes": scopes("root")],
                ["scopes": scopes("read"), "expires_in": .integer(0)],
                ["scopes": scopes("read"), "policy": .object(["requests_per_minute": .integer(0)])],
            ] {
                let reply = try await key(port, wrong)
                #expect(reply.status == 422 || reply.status == 400, "\(wrong) → \(reply.text)")
            }
        }
    }

    @Test func aStrangerNeitherSeesNorEndsAKey() async throws {
        try await withCoordinator { port in
            let id = try await key(port, ["scopes": scopes("read")])["id"].string
            let stranger = try await port.stranger()
            #expect(try await stranger.get("/keys/\(id)").status == 404)
            #expect(try await stranger.call(.DELETE, "/keys/\(id)").status == 404)
            #expect(try await stranger.send(.POST, "/keys/\(id)/rotate", .object([:])).status == 404)
            #expect(try await stranger.get("/keys/\(id)/usage").status == 404)
            let list = try await stranger.get("/keys").text
            #expect(!list.contains(id))
            #expect(try await port.get("/keys/\(id)")["revoked_at"] == .null)
        }
    }

    @Test func aHostsOwnTokenIsNoKeyOfTheAccount() async throws {
        try await withCoordinator { port in
            let host = try await port.host()
            #expect(try await host.get("/keys").status == 403)
            #expect(try await key(host, ["scopes": scopes("host")]).status == 403)
            let list = try await port.get("/keys").text
            #expect(!list.contains("\"host\":"))
        }
    }
}
