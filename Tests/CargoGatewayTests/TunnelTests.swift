import AsyncHTTPClient
import CargoArtifact
import CargoClient
import CargoTunnel
import CargoWire
import FoundationEssentials
import NIOHTTP1
import Testing

@Suite struct TunnelTests {
    /// A registered host whose calls go through an open tunnel.
    private func withTunnel(
        _ port: Port,
        _ handler: @escaping TunnelLink.Handler = { _, stream in try stream.writeHead(ExchangeHead(status: 200)) },
        _ body: (CoordinatorClient, TunnelDoor, Port) async throws -> Void
    ) async throws {
        let host = try await port.host()
        let door = TunnelDoor()
        let client = try CoordinatorClient(url: port.url, token: host.key).through(door)
        let dialling = Task { try await client.runTunnel(through: door, handler: handler) }
        while door.current == nil { try await Task.sleep(for: .milliseconds(5)) }
        let outcome: Result<Void, any Error>
        do {
            try await body(client, door, host)
            outcome = .success(())
        } catch {
            outcome = .failure(error)
        }
        dialling.cancel()
        _ = try? await dialling.value
        await client.shutdown()
        try outcome.get()
    }

    @Test func aJobIsClaimedLoggedAndCompletedThroughTheTunnel() async throws {
        try await withCoordinator { port in
            try await port.push()
            try await withTunnel(port) { client, door, _ in
                async let waiting = client.claim(ClaimRequest(wait: 20, claimID: UUIDv7.make()))
                let id = try await port.submit()
                let claim = try #require(try await waiting)
                #expect(claim.job.id == id)
                var beat = Heartbeat(lease: claim.lease)
                beat.state = .processing
                beat.logs = [LogChunk(stream: .stdout, offset: 0, data: "through\n")]
                #expect(try await client.heartbeat(id, beat).durableOffset == 8)
                var completion = Completion(lease: claim.lease, exit: ExitReport(exitCode: 0), outputs: [])
                completion.logBytes = 8
                try await client.complete(id, completion)
                #expect(try await port.get("/jobs/\(id)")["status"].string == "complete")
                #expect(try await port.get("/jobs/\(id)/logs").text == "through\n")
                // The answers of REST and of the tunnel are the same, errors too.
                do {
                    _ = try await client.heartbeat(id, beat)
                    Issue.record("a lease that is over was renewed")
                } catch let error as ClientError {
                    #expect(error.status == 409 && error.code == "lease_lost")
                }
                #expect(door.current != nil)
            }
        }
    }

    @Test func aCancelReachesTheHostAtOnce() async throws {
        try await withCoordinator { port in
            try await port.push()
            let (cancelled, told) = AsyncStream<String>.makeStream()
            let handler: TunnelLink.Handler = { opening, stream in
                if opening.operation == .cancel { told.yield(opening.job ?? "") }
                try stream.writeHead(ExchangeHead(status: 200))
            }
            try await withTunnel(port, handler) { client, _, _ in
                let id = try await port.submit()
                _ = try #require(try await client.claim(ClaimRequest(wait: 5)))
                #expect(try await port.call(.POST, "/jobs/\(id)/cancel").status == 202)
                var iterator = cancelled.makeAsyncIterator()
                #expect(await iterator.next() == id)
            }
        }
    }

    @Test func onlyAHostsOwnTokenOpensATunnel() async throws {
        try await withCoordinator { port in
            for key in [port.key, "lsh_00", try await port.stranger().key] {
                let client = try CoordinatorClient(url: port.url, token: key)
                await #expect(throws: ClientError.self) {
                    try await client.runTunnel(through: TunnelDoor()) { _, _ in }
                }
                await client.shutdown()
            }
            // Without an upgrade there is nothing there, and the server lives on.
            let reply = try await port.get("/hosts/tunnel")
            #expect([401, 426].contains(reply.status) && ["unauthorized", "upgrade_required"].contains(reply.code))
            #expect(try await port.get("/jobs").status == 200)
        }
    }

    @Test func aClaimWhoseHostIsGoneTakesNoJob() async throws {
        try await withCoordinator { port in
            try await port.push()
            try await withTunnel(port) { client, _, _ in
                let waiting = Task { try await client.claim(ClaimRequest(wait: 20)) }
                try await Task.sleep(for: .milliseconds(50))
                waiting.cancel()
                _ = try? await waiting.value
            }
            let id = try await port.submit()
            let other = try await port.host("other")
            #expect(try await other.claim(wait: 10).id == id)
        }
    }

    @Test func callsGoOverRestWhileThereIsNoTunnel() async throws {
        try await withCoordinator { port in
            try await port.push()
            let host = try await port.host()
            let client = try CoordinatorClient(url: port.url, token: host.key).through(TunnelDoor())
            let id = try await port.submit()
            #expect(try await client.claim(ClaimRequest(wait: 5))?.job.id == id)
            await client.shutdown()
        }
    }

    @Test func aCoordinatorThatStopsLetsItsTunnelsGoInTime() async throws {
        let began = ContinuousClock.now
        try await withCoordinator { port in
            let host = try await port.host()
            let door = TunnelDoor()
            let client = try CoordinatorClient(url: port.url, token: host.key).through(door)
            Task {
                try? await client.runTunnel(through: door) { _, _ in }
                await client.shutdown()
            }
            while door.current == nil { try await Task.sleep(for: .milliseconds(5)) }
        }
        #expect(ContinuousClock.now - began < .seconds(15))
    }

    @Test func placementSaysWhoWasLeftOutAndHowTheRestScored() async throws {
        try await withCoordinator { port in
            try await port.push()
            let (first, second) = (try await port.host("plain"), try await port.host("elsewhere"))
            _ = try await first.send(.POST, "/hosts/next-job", .object(["wait": .integer(0)]))
            _ = try await second.send(
                .POST, "/hosts/next-job",
                .object(["wait": .integer(0), "capabilities": .object(["kinds": .array([.string("wasm")])])]))
            let id = try await port.submit()
            let placement = try await port.get("/jobs/\(id)/placement")
            guard case .array(let hosts) = placement["hosts"] else { throw TestFailure(placement.text) }
            #expect(hosts.count == 2 && placement["left_out"]["kind"] == .integer(1), "\(placement.text)")
            #expect(hosts.first?["name"].string == "plain" && hosts.last?["left_out_by"].string == "kind")
            #expect(try await port.stranger().get("/jobs/\(id)/placement").status == 404)
        }
    }
}
