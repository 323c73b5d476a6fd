import CargoArtifact
import CargoQueue
import CargoSigning
import CargoWire
import FoundationEssentials
import NIOHTTP1
import Testing

@Suite struct PairingTests {
    /// A host with a key of its own.
    private struct Island {
        let key: SigningKey
        let name: String

        init(_ name: String = "island") {
            key = SigningKey()
            self.name = name
        }

        var publicKey: String { Data(key.publicKey.ed25519 ?? []).base64EncodedString() }

        func registration() throws -> JSONValue {
            let statement: [String: JSONValue] = ["name": .string(name), "public_key": .string(publicKey), "at": .string("now")]
            let type = "application/vnd.longshore.host-registration.v1+json"
            return .object([
                "name": .string(name), "public_key": .string(publicKey), "proof": try signed(.object(statement), type, [key]),
            ])
        }
    }

    private static func signed(_ value: JSONValue, _ type: String, _ keys: [SigningKey]) throws -> JSONValue {
        let payload = CanonicalJSON.encode(value)
        var envelopes = try keys.map {
            try JSONDecoder().decode(JSONValue.self, from: Data(try DSSE.sign(payload: payload, type: type, key: $0).json()))
        }
        guard case .object(var first) = envelopes.removeFirst(), case .array(var signatures) = first["signatures"] else {
            throw TestFailure("an envelope is an object")
        }
        for other in envelopes {
            if case .array(let more) = other["signatures"] { signatures += more }
        }
        first["signatures"] = .array(signatures)
        return .object(first)
    }

    private static func signed(_ value: JSONValue, _ type: String, _ key: SigningKey) throws -> JSONValue {
        try signed(value, type, [key])
    }

    private func nobody(_ port: Port) -> Port { port.with("none") }

    private func begin(_ port: Port, _ island: Island) async throws -> Reply {
        try await nobody(port).send(.POST, "/hosts/pairings", .object(["host": try island.registration()]))
    }

    /// What the island's identity says of a sealing key.
    private func sealing(_ island: Island, key: String, by signer: SigningKey? = nil) throws -> JSONValue {
        try PairingTests.signed(
            .object(["key": .string(key), "host_key": .string(island.publicKey), "at": .string("now")]),
            SealingKey.statementType, signer ?? island.key)
    }

    @Test func aSealingKeyCountsByTheWordOfItsHostAlone() async throws {
        try await withCoordinator { port in
            let island = Island()
            let key = SealingKey().publicKey
            func register(_ sealing: JSONValue) async throws -> Reply {
                guard case .object(var body) = try island.registration() else { throw TestFailure("an object") }
                body["sealing"] = sealing
                return try await port.send(.POST, "/hosts", .object(body))
            }
            #expect(try await register(try sealing(island, key: key, by: SigningKey())).status == 422)
            #expect(try await register(try sealing(island, key: "AAAA")).status == 422)
            #expect(try await register(try sealing(Island(), key: key, by: island.key)).status == 422)
            let statement = try sealing(island, key: key)
            let made = try await register(statement)
            #expect(made.status == 201, "\(made.text)")
            let id = made["id"].string
            let seen = try await port.call(.GET, "/hosts/\(id)")
            #expect(seen["sealing"] == statement && seen["public_key"].string == island.publicKey, "\(seen.text)")
            // Another identity has not vouched for it.
            let other = SigningKey()
            let new = Data(other.publicKey.ed25519 ?? []).base64EncodedString()
            let rotation = try PairingTests.signed(
                .object(["host": .string(id), "public_key": .string(new)]),
                "application/vnd.longshore.host-rotation.v1+json", [island.key, other])
            let rotated = try await port.with(made["token"].string).send(
                .POST, "/hosts/rotate", .object(["public_key": .string(new), "proof": rotation]))
            #expect(rotated.status == 200, "\(rotated.text)")
            #expect(try await port.call(.GET, "/hosts/\(id)")["sealing"] == .null)
        }
    }

    @Test func aHostIsLetInByItsCodeAndGetsItsOwnCredentials() async throws {
        try await withCoordinator { port in
            let island = Island()
            let begun = try await begin(port, island)
            #expect(begun.status == 201, "\(begun.text)")
            let (code, secret) = (begun["code"].string, begun["secret"])
            #expect(code.count == 6 && code.allSatisfy { !"IO01".contains($0) })
            func answer() async throws -> Reply {
                try await nobody(port).send(.POST, "/hosts/pairings/\(code)/answer", .object(["secret": secret]))
            }
            #expect(try await answer().status == 202)
            let shown = try await port.get("/hosts/pairings/\(code)")
            let fingerprint = Digest(of: island.key.publicKey.ed25519 ?? []).hex
            #expect(shown["fingerprint"].string == fingerprint && begun["fingerprint"].string == fingerprint)
            #expect(shown["name"].string == "island")
            let confirm = ["fingerprint": JSONValue.string(fingerprint)]
            #expect(
                try await port.send(.POST, "/hosts/pairings/\(code)", .object(["fingerprint": .string("00")])).code
                    == "other_fingerprint")
            #expect(try await port.send(.POST, "/hosts/pairings/\(code)", .object(confirm)).status == 204)
            // One use: nobody else can take it, nor look at it any more.
            #expect(try await port.stranger().send(.POST, "/hosts/pairings/\(code)", .object(confirm)).status == 404)
            #expect(try await port.get("/hosts/pairings/\(code)").status == 404)
            let wrong = try await nobody(port).send(.POST, "/hosts/pairings/\(code)/answer", .object(["secret": .string("x")]))
            #expect(wrong.status == 404)
            let paired = try await answer()
            #expect(paired.status == 201)
            let host = port.with(paired["token"].string)
            #expect(try await host.send(.POST, "/hosts/next-job", .object(["wait": .integer(0)])).status == 204)
            // A host's work and nothing else.
            for path in ["/jobs", "/hosts", "/keys", "/groups", "/queue"] { #expect(try await host.get(path).status == 403) }
            // Closed to strangers unless its owner says otherwise.
            let list = try await port.stranger().get("/hosts").text
            #expect(!list.contains(paired["id"].string))
        }
    }

    @Test func aHostWithoutProofIsNotGivenACode() async throws {
        try await withCoordinator { port in
            let (island, other) = (Island(), Island())
            guard case .object(var fields) = try island.registration() else { throw TestFailure("an object") }
            fields["public_key"] = .string(other.publicKey)
            #expect(
                try await nobody(port).send(.POST, "/hosts/pairings", .object(["host": .object(fields)])).code == "invalid_proof")
            #expect(
                try await nobody(port).send(.POST, "/hosts/pairings", .object(["host": .object(["name": .string("x")])])).code
                    == "missing_key")
        }
    }

    @Test func codesCannotBeGuessedFast() async throws {
        try await withCoordinator { port in
            func guesses(_ account: String) async throws -> Int {
                let scopes = JSONValue.array([.string("host")])
                let made = try await port.send(.POST, "/admin/keys", .object(["account": .string(account), "scopes": scopes]))
                let guesser = port.with(made["key"].string)
                for number in 0..<70 {
                    let reply = try await guesser.get("/hosts/pairings/AAAA\(number / 8 % 8 + 2)\(number % 8 + 2)")
                    #expect(reply.status == 404 || reply.status == 429)
                    if reply.status == 429 { return number }
                }
                return 70
            }
            // One account does not use up what is everyone's, and all together have no more than that.
            let first = try await guesses("a")
            #expect((20...22).contains(first), "\(first)")
            #expect(try await port.get("/hosts/pairings/ABCDEF").status == 404)
            let others = [try await guesses("b"), try await guesses("c"), try await guesses("d")].reduce(first, +)
            #expect((58...66).contains(others), "\(others)")
            #expect(try await port.stranger().get("/hosts/pairings/ABCDEF").status == 429)
        }
    }

    @Test(.timeLimit(.minutes(1))) func oneAddressAsksForSoManyCodesAMinute() async throws {
        try await withCoordinator { port in
            var statuses: [Int] = []
            for _ in 0..<25 { statuses.append(try await begin(port, Island()).status) }
            let made = statuses.filter { $0 == 201 }.count
            #expect((20...22).contains(made) && statuses.last == 429, "\(statuses)")
        }
    }

    @Test func ofTwoAccountsThatConfirmOneCodeOneHasTheHost() async throws {
        try await withCoordinator { port in
            let island = Island()
            let begun = try await begin(port, island)
            let stranger = try await port.stranger()
            let confirm = JSONValue.object(["fingerprint": begun["fingerprint"]])
            let path = "/hosts/pairings/\(begun["code"].string)"
            async let first = port.send(.POST, path, confirm)
            async let second = stranger.send(.POST, path, confirm)
            let statuses = [try await first.status, try await second.status]
            #expect(statuses.sorted() == [204, 404], "\(statuses)")
            // Asked by two at once it is still one host, of the one who confirmed.
            let secret = JSONValue.object(["secret": begun["secret"]])
            async let one = nobody(port).send(.POST, path + "/answer", secret)
            async let two = nobody(port).send(.POST, path + "/answer", secret)
            let ids = [try await one["id"].string, try await two["id"].string]
            #expect(ids[0] == ids[1] && !ids[0].isEmpty)
            let owner = statuses[0] == 204 ? port : stranger
            #expect(try await owner.get("/hosts/\(ids[0])")["own"] == .bool(true))
            #expect(try await (statuses[0] == 204 ? stranger : port).get("/hosts/\(ids[0])").status == 404)
        }
    }

    @Test func aHostRotatesItsTokenAndItsIdentityUnderTheOldKey() async throws {
        try await withCoordinator { port in
            let (old, new) = (Island(), Island())
            let registered = try await port.send(.POST, "/hosts", try old.registration())
            let host = port.with(registered["token"].string)
            let id = registered["id"].string
            let fresh = try await host.send(.POST, "/hosts/rotate", .object([:]))
            #expect(fresh.status == 200 && fresh["id"].string == id && fresh["token"].string != host.key)
            let next = port.with(fresh["token"].string)
            #expect(try await next.send(.POST, "/hosts/next-job", .object(["wait": .integer(0)])).status == 204)

            let statement = JSONValue.object(["host": .string(id), "public_key": .string(new.publicKey)])
            let type = "application/vnd.longshore.host-rotation.v1+json"
            for keys in [[new.key], [old.key]] {
                let proof = try Self.signed(statement, type, keys)
                let body = JSONValue.object(["public_key": .string(new.publicKey), "proof": proof])
                #expect(try await next.send(.POST, "/hosts/rotate", body).code == "invalid_proof")
            }
            let proof = try Self.signed(statement, type, [old.key, new.key])
            let body = JSONValue.object(["public_key": .string(new.publicKey), "proof": proof])
            #expect(try await next.send(.POST, "/hosts/rotate", body).status == 200)
            #expect(try await port.send(.POST, "/hosts", try new.registration())["id"].string == id)
        }
    }

    @Test func aRemovedHostIsOutAtOnce() async throws {
        try await withCoordinator { port in
            let registered = try await port.send(.POST, "/hosts", try Island().registration())
            let host = port.with(registered["token"].string)
            #expect(try await port.stranger().call(.DELETE, "/hosts/\(registered["id"].string)").status == 404)
            #expect(try await port.call(.DELETE, "/hosts/\(registered["id"].string)").status == 204)
            #expect(try await host.send(.POST, "/hosts/next-job", .object(["wait": .integer(0)])).status == 401)
        }
    }

    @Test func aHostsReportIsSeenByItsAccountAlone() async throws {
        try await withCoordinator { port in
            let registered = try await port.send(
                .POST, "/hosts", .object(["name": .string("h"), "closed": .bool(true)]))
            let host = port.with(registered["token"].string)
            let report: [String: JSONValue] = [
                "free_memory": .integer(1 << 30), "prices": .object(["_default": .number(0.5)]),
                "speed": .object(["acme/tiny": .number(42)]), "formats": .array([.string("gguf")]),
            ]
            let reply = try await host.send(.POST, "/hosts/heartbeat", .object(report))
            #expect(reply.status == 200 && reply["seconds"] == .number(10) || reply["seconds"] == .integer(10), "\(reply.text)")
            let list = try await port.get("/hosts").text
            #expect(list.contains("acme/tiny") && list.contains("\"status\":\"active\""))
            let other = try await port.stranger().get("/hosts").text
            #expect(!other.contains("acme/tiny") && !other.contains(registered["id"].string))
            let negative = JSONValue.object(["prices": .object(["m": .number(-1)])])
            #expect(try await host.send(.POST, "/hosts/heartbeat", negative).code == "invalid_report")
            #expect(try await port.send(.POST, "/hosts/heartbeat", .object(report)).status == 403)
        }
    }
}
