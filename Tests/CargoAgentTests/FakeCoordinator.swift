import CargoClient
import CargoWire
import FoundationEssentials
import Hummingbird
import NIOCore
import ServiceLifecycle
import Synchronization

/// A coordinator that does what a test tells it to: hands out given claims, answers or fails each call, and remembers
/// every call.
final class FakeCoordinator: Sendable {
    /// What the agent sent, in order.
    enum Call: Sendable {
        case claim(ClaimRequest)
        case heartbeat(Heartbeat)
        case output(String, bytes: Int)
        case complete(Completion)
        case fail(Failure)
    }

    /// What a call is answered with: nil, the usual.
    typealias Behaviour = @Sendable (_ call: Call, _ number: Int) async -> HTTPResponse.Status?

    private struct State {
        var calls: [Call] = []
        var claims: [Claim] = []
        var granted: [String: Claim] = [:]
        var log: [UInt8] = []
        var cancel = false
        var watchers: [(id: Int, condition: @Sendable ([Call]) -> Bool, continuation: CheckedContinuation<Void, Never>)] = []
    }

    private let state = Mutex(State())
    private let behaviour: Behaviour
    /// Lease seconds of each renewal.
    let seconds: Double

    init(claims: [Claim] = [], seconds: Double = 30, behaviour: @escaping Behaviour = { _, _ in nil }) {
        self.behaviour = behaviour
        self.seconds = seconds
        state.withLock { $0.claims = claims }
    }

    var calls: [Call] { state.withLock { $0.calls } }
    var log: [UInt8] { state.withLock { $0.log } }

    func cancelJobs() { state.withLock { $0.cancel = true } }

    static func claim(seconds: Double = 30) -> Claim {
        let job = ClaimedJob(id: UUIDv7.make(), attempt: 1, tier: 1, priority: 50)
        return Claim(job: job, lease: Lease(generation: 1, epoch: 1, token: "token", host: "host", seconds: seconds))
    }

    /// Returns once the calls so far satisfy the condition.
    func wait(until condition: @escaping @Sendable ([Call]) -> Bool) async {
        await withCheckedContinuation { continuation in
            let met = state.withLock { state in
                if condition(state.calls) { return true }
                state.watchers.append((0, condition, continuation))
                return false
            }
            if met { continuation.resume() }
        }
    }

    /// Notes the call; the number counts calls of its kind from 1.
    private func note(_ call: Call) async -> HTTPResponse.Status? {
        let (number, ready) = state.withLock { state in
            state.calls.append(call)
            let ready = state.watchers.filter { $0.condition(state.calls) }.map(\.continuation)
            state.watchers.removeAll { $0.condition(state.calls) }
            return (state.calls.count { $0.kind == call.kind }, ready)
        }
        for continuation in ready { continuation.resume() }
        return await behaviour(call, number)
    }

    var router: Router<BasicRequestContext> {
        let router = Router()
        router.post("/hosts") { _, _ in Self.json(RegisteredHost(id: "host", name: "fake", token: "secret")) }
        router.post("/hosts/next-job") { [self] request, context -> Response in
            let ask = try await Self.decode(ClaimRequest.self, request)
            let claim = state.withLock { state -> Claim? in
                let id = ask.claimID ?? ""
                if let granted = state.granted[id] { return granted }
                guard !state.claims.isEmpty else { return nil }
                let claim = state.claims.removeFirst()
                state.granted[id] = claim
                return claim
            }
            if let status = await note(.claim(ask)) { return Self.problem(status) }
            if let claim { return Self.json(claim) }
            // A long poll, cut short by the end of the test.
            try? await cancelWhenGracefulShutdown { try await Task.sleep(for: .seconds(ask.wait ?? 0)) }
            return Response(status: .noContent)
        }
        router.post("/jobs/{id}/heartbeat") { [self] request, _ -> Response in
            let heartbeat = try await Self.decode(Heartbeat.self, request)
            if let status = await note(.heartbeat(heartbeat)) { return Self.problem(status) }
            let reply = state.withLock { state in
                for chunk in heartbeat.logs ?? [] where chunk.offset <= Int64(state.log.count) {
                    state.log += chunk.bytes.dropFirst(state.log.count - Int(chunk.offset))
                }
                return HeartbeatReply(cancel: state.cancel, durableOffset: Int64(state.log.count), seconds: seconds)
            }
            return Self.json(reply)
        }
        router.put("/jobs/{id}/outputs/**") { [self] request, context -> Response in
            let body = try await request.body.collect(upTo: 1 << 20)
            let path = context.parameters.getCatchAll().joined(separator: "/")
            if let status = await note(.output(path, bytes: body.readableBytes)) { return Self.problem(status) }
            return Response(status: .noContent)
        }
        router.post("/jobs/{id}/complete") { [self] request, _ -> Response in
            let completion = try await Self.decode(Completion.self, request)
            if let status = await note(.complete(completion)) { return Self.problem(status) }
            return Response(status: .ok, body: .init(byteBuffer: ByteBuffer(string: "{}")))
        }
        router.post("/jobs/{id}/fail") { [self] request, _ -> Response in
            let failure = try await Self.decode(Failure.self, request)
            if let status = await note(.fail(failure)) { return Self.problem(status) }
            return Response(status: .ok, body: .init(byteBuffer: ByteBuffer(string: "{}")))
        }
        return router
    }

    private static func decode<Value: Decodable>(_ type: Value.Type, _ request: Request) async throws -> Value {
        let body = try await request.body.collect(upTo: 4 << 20)
        return try JSONDecoder().decode(type, from: Data(body.readableBytesView))
    }

    private static func json(_ value: some Encodable) -> Response {
        guard let data = try? JSONEncoder().encode(value) else { return Response(status: .internalServerError) }
        return Response(
            status: .ok, headers: [.contentType: "application/json"], body: .init(byteBuffer: ByteBuffer(bytes: data)))
    }

    private static func problem(_ status: HTTPResponse.Status) -> Response {
        let code = status == .conflict ? "lease_lost" : "told_to"
        let problem = Problem(status: status.code, title: "told to", detail: "told to fail", code: code)
        var response = json(problem)
        response.status = status
        return response
    }
}

extension FakeCoordinator.Call {
    enum Kind { case claim, heartbeat, output, complete, fail }

    var kind: Kind {
        switch self {
        case .claim: .claim
        case .heartbeat: .heartbeat
        case .output: .output
        case .complete: .complete
        case .fail: .fail
        }
    }

    var isReport: Bool { kind == .complete || kind == .fail }
}
