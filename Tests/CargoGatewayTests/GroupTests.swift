import CargoArtifact
import CargoWire
import NIOHTTP1
import Testing

@Suite struct GroupTests {
    /// A key of an account of this name.
    private func account(_ port: Port, _ name: String) async throws -> Port {
        let scopes = ["read", "write", "host", "publish"].map(JSONValue.string)
        let reply = try await port.send(.POST, "/admin/keys", .object(["account": .string(name), "scopes": .array(scopes)]))
        guard reply.status == 201 else { throw TestFailure("key: \(reply.text)") }
        return port.with(reply["key"].string)
    }

    private func group(_ port: Port, _ name: String = "friends") async throws -> String {
        let reply = try await port.send(.POST, "/groups", .object(["name": .string(name)]))
        guard reply.status == 201 else { throw TestFailure("group: \(reply.text)") }
        return reply["id"].string
    }

    /// A host of this account that serves the group alone.
    private func host(_ port: Port, in group: String, _ name: String = "gpu") async throws -> (id: String, port: Port) {
        let fields: [String: JSONValue] = ["name": .string(name), "groups": .array([.string(group)])]
        let reply = try await port.send(.POST, "/hosts", .object(fields))
        guard reply.status == 201 else { throw TestFailure("register: \(reply.text)") }
        return (reply["id"].string, port.with(reply["token"].string))
    }

    private func claim(_ host: Port, wait: Double = 0) async throws -> String? {
        let reply = try await host.send(.POST, "/hosts/next-job", .object(["wait": .number(wait)]))
        return reply.status == 200 ? reply["job"]["id"].string : nil
    }

    @Test func membersUseEachOthersHostsAndStrangersDoNot() async throws {
        try await withCoordinator { port in
            try await port.push()
            let (anna, ben, eve) = (
                try await account(port, "anna"), try await account(port, "ben"), try await account(port, "eve")
            )
            let id = try await group(anna)
            let invite = try await anna.send(.POST, "/groups/\(id)/invites", .object([:]))["invite"].string
            #expect(try await ben.send(.POST, "/groups/join", .object(["invite": .string(invite)])).status == 200)
            // One invitation, one use; again by the same account it changes nothing.
            #expect(try await ben.send(.POST, "/groups/join", .object(["invite": .string(invite)])).status == 200)
            #expect(try await eve.send(.POST, "/groups/join", .object(["invite": .string(invite)])).status == 404)
            let (_, gpu) = try await host(anna, in: id)

            let stranger = try await eve.submit()
            #expect(try await claim(gpu) == nil)
            let friend = try await ben.submit()
            #expect(try await claim(gpu) == friend)
            let own = try await anna.submit(["constraints": .object(["group": .string("friends")])])
            #expect(try await claim(gpu) == own)
            // An open host takes the stranger's job, but never one that names the group.
            let exact = try await ben.submit(["constraints": .object(["group": .string(id)])])
            let open = try await port.host("open")
            #expect(try await claim(open) == stranger)
            #expect(try await claim(open) == nil)
            #expect(try await claim(gpu) == exact)
        }
    }

    @Test func whoLeftAGroupUsesItsHostsNoMore() async throws {
        try await withCoordinator { port in
            try await port.push()
            let (anna, ben) = (try await account(port, "anna"), try await account(port, "ben"))
            let id = try await group(anna)
            let invite = try await anna.send(.POST, "/groups/\(id)/invites", .object([:]))["invite"].string
            _ = try await ben.send(.POST, "/groups/join", .object(["invite": .string(invite)]))
            let (_, gpu) = try await host(anna, in: id)
            let (benHost, _) = try await host(ben, in: id, "ben's")
            let waiting = try await ben.submit()
            #expect(try await ben.call(.DELETE, "/groups/\(id)/members/anna").status == 403)
            #expect(try await anna.call(.DELETE, "/groups/\(id)/members/ben").status == 204)
            #expect(try await claim(gpu) == nil)
            #expect(try await ben.get("/jobs/\(waiting)")["status"].string == "cancelled")
            #expect(try await ben.get("/groups/\(id)").status == 404)
            // Its host left with it and stays closed to everyone else.
            let list = try await anna.get("/hosts").text
            #expect(!list.contains(benHost))
            #expect(try await anna.send(.POST, "/groups/\(id)/leave", .object([:])).code == "owner_stays")
            #expect(try await anna.call(.DELETE, "/groups/\(id)").status == 204)
            // The group is gone, its owner's host still serves no stranger.
            _ = try await ben.submit()
            #expect(try await claim(gpu) == nil)
        }
    }

    @Test func aStrangerSeesNothingOfAGroup() async throws {
        try await withCoordinator { port in
            try await port.push()
            let (anna, eve) = (try await account(port, "anna"), try await account(port, "eve"))
            let id = try await group(anna, "secret-circle")
            let (host, gpu) = try await host(anna, in: id, "secret-gpu")
            _ = try await gpu.send(
                .POST, "/hosts/next-job",
                .object([
                    "wait": .integer(0),
                    "capabilities": .object(["region": .string("nowhere"), "kinds": .array([.string("process")])]),
                ]))
            let job = try await anna.submit(["constraints": .object(["group": .string(id)])])
            let invite = try await anna.send(.POST, "/groups/\(id)/invites", .object(["uses": .integer(5)]))

            for path in [
                "/groups/\(id)", "/hosts/\(host)", "/jobs/\(job)", "/jobs/\(job)/events", "/jobs/\(job)/logs",
                "/jobs/\(job)/outputs", "/jobs/\(job)/result", "/jobs/\(job)/audit",
            ] {
                let reply = try await eve.get(path)
                #expect(reply.status == 404, "GET \(path): \(reply.status) \(reply.text)")
                // The same words as for something that never was.
                let never = path.replacing(id, with: "grp_00").replacing(host, with: "host_00")
                    .replacing(job, with: "01a1fb7b-0000-7000-8000-000000000000")
                #expect(try await eve.get(never).text == reply.text, "GET \(path)")
            }
            for (method, path) in [
                (HTTPMethod.DELETE, "/groups/\(id)"), (.POST, "/groups/\(id)/invites"), (.POST, "/groups/\(id)/leave"),
                (.DELETE, "/groups/\(id)/members/anna"), (.PUT, "/groups/\(id)/hosts/\(host)"),
                (.DELETE, "/groups/\(id)/hosts/\(host)"), (.PATCH, "/hosts/\(host)"), (.DELETE, "/hosts/\(host)"),
                (.POST, "/jobs/\(job)/cancel"), (.POST, "/jobs/\(job)/replay"), (.POST, "/jobs/\(job)/share"),
            ] {
                let body = method == .PATCH ? Array(#"{"open":true}"#.utf8) : []
                let reply = try await eve.call(method, path, body: body)
                #expect(reply.status == 404, "\(method) \(path): \(reply.status) \(reply.text)")
            }
            let submit = try await eve.send(
                .POST, "/jobs", .object(["cargo": .string("acme/hello:1.0.0"), "constraints": .object(["group": .string(id)])]))
            #expect(submit.code == "unknown_group", "\(submit.text)")
            #expect(
                submit.text
                    == (try await eve.send(
                        .POST, "/jobs",
                        .object(["cargo": .string("acme/hello:1.0.0"), "constraints": .object(["group": .string("grp_never")])])
                    )).text.replacing("grp_never", with: id))
            // Nothing that an answer says is computed over the group's hosts and jobs.
            for path in ["/hosts", "/groups", "/queue", "/metrics", "/keys", "/usage", "/jobs"] {
                let text = try await eve.get(path).text
                for word in [id, host, job, "secret-circle", "secret-gpu", "nowhere", invite["invite"].string] {
                    #expect(!text.contains(word), "GET \(path) shows \(word): \(text)")
                }
            }
            #expect(try await eve.get("/queue")["queued"] == .integer(0))
            #expect(try await eve.get("/metrics").text.contains("longshore_jobs_queued 0"))
            let mine = try await eve.submit()
            #expect(try await eve.get("/jobs/\(mine)")["notice"].string.hasPrefix("No host has asked"))
            #expect(try await anna.get("/jobs/\(job)")["notice"] == .null)
        }
    }

    @Test func groupsAndHostsSurviveARestart() async throws {
        try await withFolder { path in
            var (id, host, token, anna) = ("", "", "", "")
            try await withServer(on: path) { port in
                try await port.push()
                let key = try await account(port, "anna")
                anna = key.key
                id = try await group(key)
                let made = try await self.host(key, in: id)
                (host, token) = (made.id, made.port.key)
            }
            try await withServer(on: path) { port in
                let key = port.with(anna)
                #expect(try await key.get("/groups/\(id)").text.contains(host))
                let eve = try await account(port, "eve")
                _ = try await eve.submit()
                #expect(try await claim(port.with(token)) == nil)
                let job = try await key.submit()
                #expect(try await claim(port.with(token)) == job)
            }
        }
    }

    @Test func regionAndJurisdictionAreHardFilters() async throws {
        try await withCoordinator { port in
            try await port.push()
            let host = try await port.host()
            let job = try await port.submit(["constraints": .object(["jurisdiction": .string("CH"), "region": .string("zrh")])])
            func ask(_ region: String, _ law: String) async throws -> String? {
                let capabilities: [String: JSONValue] = ["region": .string(region), "jurisdiction": .string(law)]
                let reply = try await host.send(
                    .POST, "/hosts/next-job", .object(["wait": .integer(0), "capabilities": .object(capabilities)]))
                return reply.status == 200 ? reply["job"]["id"].string : nil
            }
            #expect(try await ask("zrh", "EU") == nil)
            #expect(try await port.get("/jobs/\(job)")["notice"].string.contains("jurisdiction 'CH'"))
            #expect(try await ask("fra", "CH") == nil)
            #expect(try await ask("zrh", "CH") == job)
        }
    }
}
