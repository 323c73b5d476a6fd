import CargoArtifact
import CargoWire
import NIOHTTP1
import Testing

/// What hosts say of themselves each ten seconds, and what is made of it.
@Suite struct HeartbeatTests {
    private func report(_ host: Port, _ fields: [String: JSONValue]) async throws -> Reply {
        try await host.send(.POST, "/hosts/heartbeat", .object(fields))
    }

    private func claim(_ host: Port, kinds: [String] = ["process"], models: [JSONValue]? = nil) async throws -> String? {
        var capabilities: [String: JSONValue] = ["kinds": .array(kinds.map(JSONValue.string))]
        if let models { capabilities["models"] = .array(models) }
        let reply = try await host.send(
            .POST, "/hosts/next-job", .object(["wait": .integer(0), "capabilities": .object(capabilities)]))
        return reply.status == 200 ? reply["job"]["id"].string : nil
    }

    @Test func memoryVRAMAndPriceAreHardFiltersAndPlacementNamesThem() async throws {
        try await withCoordinator { port in
            try await port.push()
            let host = try await port.host()
            let id = try await port.submit([
                "constraints": .object([
                    "memory": .string("8GiB"), "vram": .string("6GiB"), "max_price": .number(0.5),
                ])
            ])
            func state(_ memory: String, _ vram: String, _ price: Double) async throws -> String {
                let reply = try await report(
                    host,
                    [
                        "free_memory": .string(memory), "free_vram": .string(vram),
                        "prices": .object(["_default": .number(price)]), "slots": .integer(1),
                    ])
                #expect(reply.status == 200, "\(reply.text)")
                #expect(try await claim(host) == nil)
                let placement = try await port.get("/jobs/\(id)/placement").json
                guard case .object(let left) = placement["left_out"] else { return "" }
                return left.keys.joined(separator: ",")
            }
            #expect(try await state("7GiB", "6GiB", 0.5) == "memory")
            #expect(try await port.get("/jobs/\(id)")["notice"].string.contains("8192 MiB of free memory"))
            #expect(try await state("8GiB", "5GiB", 0.5) == "vram")
            #expect(try await state("8GiB", "6GiB", 0.6) == "price")
            _ = try await report(
                host,
                [
                    "free_memory": .string("8GiB"), "free_vram": .string("6GiB"), "prices": .object(["_default": .number(0.5)]),
                ])
            #expect(try await claim(host) == id)
        }
    }

    @Test func theTierThatAHostReportsHoldsForItsClaims() async throws {
        try await withCoordinator { port in
            try await port.push()
            let host = try await port.host()
            let id = try await port.submit(["tier": .integer(3)])
            _ = try await report(host, ["max_context_tier": .integer(2)])
            #expect(try await claim(host) == nil)
            _ = try await report(host, ["max_context_tier": .integer(3)])
            #expect(try await claim(host) == id)
        }
    }

    @Test func anIdleHostIsToldOfACargoThatRequestsWaitFor() async throws {
        try await withCoordinator { port in
            try await port.push("other")
            try await port.push()
            let (idle, unfit) = (try await port.host("idle"), try await port.host("unfit"))
            _ = try await claim(idle)
            _ = try await claim(unfit, kinds: ["wasm"])
            #expect(try await report(idle, [:])["fetch"] == .array([]))
            let fields: [String: JSONValue] = ["model": .string("acme/hello"), "input": .string("hi")]
            let job = try await port.send(.POST, "/jobs", .object(fields))
            #expect(job.status == 202, "\(job.text)")
            let hints = try await report(idle, ["active_jobs": .integer(0)])["fetch"]
            guard case .array(let list) = hints, let hint = list.first else { throw TestFailure("no hint: \(hints)") }
            #expect(hint["model"].string == "acme/hello" && hint["cargo"].string == "acme/hello:1.0.0")
            #expect(hint["digest"].string.hasPrefix("sha256:") && hint["waiting"] == .integer(1))
            // Not to a busy one, nor to one that could not run it, nor to one that has it.
            #expect(try await report(idle, ["active_jobs": .integer(1)])["fetch"] == .array([]))
            #expect(try await report(unfit, [:])["fetch"] == .array([]))
            let stored: JSONValue = .object([
                "id": .string("acme/hello"), "source": .string("cargo"), "operations": .array([.string("chat/completions")]),
                "presence": .string("stored"), "active": .integer(0), "slots": .integer(1),
            ])
            #expect(try await report(idle, ["models": .array([stored])])["fetch"] == .array([]))
        }
    }

    @Test func aStrangersRequestsSendNoHintsToClosedHosts() async throws {
        try await withCoordinator { port in
            try await port.push()
            let reply = try await port.send(.POST, "/hosts", .object(["name": .string("own"), "closed": .bool(true)]))
            let host = port.with(reply["token"].string)
            _ = try await claim(host)
            let eve = try await port.stranger()
            for _ in 0..<3 {
                _ = try await eve.send(.POST, "/jobs", .object(["model": .string("acme/hello"), "input": .string("hi")]))
            }
            #expect(try await report(host, [:])["fetch"] == .array([]))
            _ = try await port.send(.POST, "/jobs", .object(["model": .string("acme/hello"), "input": .string("hi")]))
            #expect(try await report(host, [:])["fetch"] != .array([]))
        }
    }

    @Test func ofAStrangersOpenHostOnlyWhatAChoiceNeedsIsShown() async throws {
        try await withCoordinator { port in
            let host = try await port.host()
            let capabilities: [String: JSONValue] = [
                "kinds": .array([.string("process")]), "images": .array([.string("registry.example/secret/tool:1")]),
                "metrics": .object([
                    "gpus": .array([.object(["index": .integer(0), "name": .string("H200"), "vram_free": .integer(77)])]),
                    "models": .object([:]), "cpu": .number(12.5),
                ]),
            ]
            _ = try await host.send(
                .POST, "/hosts/next-job", .object(["wait": .integer(0), "capabilities": .object(capabilities)]))
            _ = try await report(
                host,
                [
                    "free_memory": .string("5GiB"), "prices": .object(["m": .number(3)]),
                    "speed": .object(["m": .number(40)]), "active_jobs": .integer(1),
                ])
            let own = try await port.get("/hosts").text
            for word in ["registry.example/secret", "free_memory", "vram_free", "prices", "H200"] {
                #expect(own.contains(word), "\(word) in \(own)")
            }
            let eve = try await port.stranger()
            let seen = try await eve.get("/hosts").text
            for word in ["registry.example", "free_memory", "vram_free", "active_jobs", "\"cpu\""] {
                #expect(!seen.contains(word), "\(word) in \(seen)")
            }
            for word in ["prices", "speed", "\"gpu\":\"H200\"", "\"status\":\"active\""] {
                #expect(seen.contains(word), "\(word) in \(seen)")
            }
        }
    }
}
