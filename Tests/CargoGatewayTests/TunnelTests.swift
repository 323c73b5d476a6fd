import AsyncHTTPClient
import CargoArtifact
import CargoClient
import CargoCoordinator
import CargoTunnel
import CargoWire
import FoundationEssentials
import NIOCore
import NIOHTTP1
import NIOPosix
import TestStage
import Testing

#if canImport(Glibc)
    import Glibc
#endif

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

    private static let head = AnswerHead(status: 200, contentType: "text/event-stream")

    /// A host that serves a model, and its claim of a request that a client waits for.
    private func withRequest(
        _ body: (Port, CoordinatorClient, Claim, () async throws -> HTTPClientResponse.Body.AsyncIterator) async throws -> Void
    ) async throws {
        try await withCoordinator { port in
            try await port.withTunnelHost("h", { _, _ in }) { client, models in
                var capabilities = HostCapabilities(kinds: [])
                capabilities.models = models
                let response = Task { try await port.open("/v1/chat/completions", ModelRequestTests.question) }
                let claim = try #require(
                    try await client.claim(ClaimRequest(wait: 20, capabilities: capabilities, claimID: UUIDv7.make())))
                try await body(port, client, claim) { try await response.value.body.makeAsyncIterator() }
            }
        }
    }

    @Test(.timeLimit(.minutes(2))) func theAnswerToADurableRequestIsReadAsItsHostSaysIt() async throws {
        try await withRequest { port, client, claim, response in
            var beat = Heartbeat(lease: claim.lease, state: .processing)
            beat.answer = Self.head
            beat.logs = [LogChunk(stream: .answer, offset: 0, data: "data: one\n\n")]
            let stream = try #require(try await client.answering(claim.job.id, beat))
            var reader = try await response()
            #expect(try await reader.next().map { String(buffer: $0) } == "data: one\n\n")
            try await stream.write(Array("data: two\n\n".utf8))
            #expect(try await reader.next().map { String(buffer: $0) } == "data: two\n\n")
            stream.end()
            var durable: Int64 = 0
            while let more = try await stream.nextNumber() { durable = more }
            #expect(durable == 22)
            var completion = Completion(lease: claim.lease, exit: ExitReport(exitCode: 0), outputs: [])
            (completion.logBytes, completion.answer) = (22, Self.head)
            try await client.complete(claim.job.id, completion)
            #expect(try await reader.next() == nil)
            #expect(try await port.get("/jobs/\(claim.job.id)")["status"].string == "complete")
            #expect(try await port.get("/jobs/\(claim.job.id)/events").text.contains("processing"))
        }
    }

    @Test(.timeLimit(.minutes(2))) func noByteIsTakenUnderALeaseThatIsAnothersOrOver() async throws {
        try await withRequest { port, client, claim, _ in
            var beat = Heartbeat(lease: claim.lease, state: .processing)
            beat.answer = Self.head
            let stream = try #require(try await client.answering(claim.job.id, beat))
            var strange = beat
            strange.lease.token += "x"
            let other = try #require(try await client.answering(claim.job.id, strange))
            await #expect(throws: TunnelFault.self) { try await other.nextNumber() }
            try await client.fail(
                claim.job.id, Failure(lease: claim.lease, error: JobError(.internalError, "given up"), retryable: false))
            // Whichever of these hears it first.
            await #expect(throws: TunnelFault.self) {
                while true {
                    try await stream.write(Array("data: late\n\n".utf8))
                    try await Task.sleep(for: .milliseconds(5))
                }
            }
            #expect(try await port.get("/jobs/\(claim.job.id)/logs").text.isEmpty)
        }
    }

    @Test(.timeLimit(.minutes(2)), arguments: [true, false])
    func aRequestIsGivenToAHostThatHasNotAskedForIt(isTaken: Bool) async throws {
        try await withCoordinator { port in
            let (given, give) = AsyncStream<Claim>.makeStream()
            let handler: TunnelLink.Handler = { opening, stream in
                guard opening.operation == .request else { return }
                let claim = try JSONDecoder().decode(Claim.self, from: Data(try await stream.collect(limit: 1 << 20)))
                give.yield(claim)
                guard isTaken else { throw TunnelFault(code: "overloaded", message: "Not now.", status: 503, retryable: true) }
                try stream.writeHead(ExchangeHead(status: 200))
            }
            try await port.withTunnelHost("h", handler) { client, models in
                async let response = port.send(.POST, "/v1/chat/completions", ModelRequestTests.question)
                var iterator = given.makeAsyncIterator()
                var claim = try #require(await iterator.next())
                if !isTaken {
                    // It waits again, under another lease, for whoever asks.
                    var capabilities = HostCapabilities(kinds: [])
                    capabilities.models = models
                    let again = try #require(
                        try await client.claim(ClaimRequest(wait: 20, capabilities: capabilities, claimID: UUIDv7.make())))
                    #expect(again.job.id == claim.job.id && again.lease != claim.lease)
                    claim = again
                }
                var beat = Heartbeat(lease: claim.lease, state: .processing)
                beat.answer = AnswerHead(status: 200, contentType: "application/json")
                beat.logs = [LogChunk(stream: .answer, offset: 0, data: "{}")]
                #expect(try await client.heartbeat(claim.job.id, beat).durableOffset == 2)
                var completion = Completion(lease: claim.lease, exit: ExitReport(exitCode: 0), outputs: [])
                (completion.logBytes, completion.answer) = (2, beat.answer)
                try await client.complete(claim.job.id, completion)
                let reply = try await response
                #expect(reply.status == 200 && reply.text == "{}", "\(reply.text)")
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

    /// One answer that ends in time and one that does not, of a coordinator that is told to stop.
    @Test(.timeLimit(.minutes(2))) func aCoordinatorThatIsToldToStopLetsAnswersEndOrSaysThatTheyDoNot() async throws {
        let stage = try Stage()
        let program = try stage.start(["longshore-coordinator", "serve", "--data", stage.path("data"), "--listen", "127.0.0.1:0"])
        var address: String?
        #expect(
            await eventually(within: 60) {
                address = String(decoding: program.stdout, as: UTF8.self).firstMatch(of: /listening on (http:\/\/[0-9.:]+)/)
                    .map { String($0.1) }
                return address != nil
            })
        let key = String(decoding: try Data(contentsOf: stage.path("data/admin.key")), as: UTF8.self).prefix { $0 != "\n" }
        let port = Port(url: try #require(address), key: String(key))
        let (told, tell) = AsyncStream<Void>.makeStream()
        let handler: TunnelLink.Handler = { opening, stream in
            try stream.acknowledge()
            let isShort = String(decoding: try await stream.collect(limit: 1 << 20), as: UTF8.self).contains("short")
            try stream.writeHead(AnswerHead(status: 200, contentType: "text/event-stream"))
            try await stream.write(Array("data: {\"n\":1}\n\n".utf8))
            if isShort {
                for await _ in told {}
            } else {
                try await Task.sleep(for: .seconds(90))
            }
            try await stream.write(Array("data: [DONE]\n\n".utf8))
        }
        try await port.withTunnelHost("h", handler) {
            let client = try await port.memoryOnly()
            func ask(_ text: String) async throws -> HTTPClientResponse {
                try await client.open(
                    "/v1/chat/completions",
                    .object([
                        "model": .string("acme/tiny"),
                        "messages": .array([.object(["role": .string("user"), "content": .string(text)])]),
                    ]))
            }
            let (short, long) = (try await ask("short"), try await ask("long"))
            program.send(SIGTERM)
            tell.finish()
            let ends = [
                String(buffer: try await short.body.collect(upTo: 1 << 20)),
                String(buffer: try await long.body.collect(upTo: 1 << 20)),
            ]
            #expect(ends[0].hasSuffix("data: [DONE]\n\n"), "\(ends[0])")
            #expect(ends[1].contains("data: {\"error\"") && !ends[1].contains("[DONE]"), "\(ends[1])")
        }
        #expect(await program.finish().code == 0)
    }

    /// Half a request, and one whose head comes byte by byte: nobody is kept waiting by who needs no key for it.
    @Test(.timeLimit(.minutes(2)), arguments: ["/hosts/tunnel", "/jobs"])
    func whoNeverEndsItsHeadIsNotWaitedFor(path: String) async throws {
        try await withFolder { folder in
            try await withServer(on: folder, change: { $0.idleSeconds = 1 }) { port in
                let address = try #require(URLComponents(string: port.url))
                for isTrickle in [false, true] {
                    let socket = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                        .connect(host: address.host ?? "", port: address.port ?? 0).get()
                    try await socket.writeAndFlush(ByteBuffer(string: "GET \(path) HTTP/1.1\r\nHost: x\r\n"))
                    let trickle = socket.eventLoop.scheduleRepeatedTask(
                        initialDelay: .milliseconds(100), delay: .milliseconds(100)
                    ) {
                        _ in
                        if isTrickle { socket.writeAndFlush(ByteBuffer(string: "a: b\r\n"), promise: nil) }
                    }
                    // The test's own time limit is the bound.
                    try await socket.closeFuture.get()
                    trickle.cancel()
                }
                #expect(try await port.get("/healthz").status == 200)
            }
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
