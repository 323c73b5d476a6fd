import CargoArtifact
public import CargoQueue
public import CargoTunnel
import CargoWire
import FoundationEssentials
import Hummingbird
import NIOCore

/// What a host says through its tunnel: the same functions as over REST, whose errors it gets as the same problems.
extension Gateway {
    /// The host that may open a tunnel with this header.
    public func tunnelHost(authorization: String?) -> Principal? {
        guard let header = authorization, header.lowercased().hasPrefix("bearer "),
            let principal = queue.directory.authenticate(String(header.dropFirst(7))), principal.host != nil
        else { return nil }
        return principal
    }

    /// How long a host whose connection was closed may take to open another before it counts as lost.
    private static let returnWithin = Duration.seconds(3)

    /// Runs a connection to its end.
    /// - Parameter isSilence: whether it ended because the host said nothing for too long.
    public func serveTunnel(
        _ link: TunnelLink, of principal: Principal,
        isSilence: (Result<Void, any Error>) -> Bool, over run: (@escaping TunnelLink.Handler) async throws -> Void
    ) async throws {
        guard let host = principal.host else { return }
        tunnels.add(link, of: host)?.close()
        let outcome: Result<Void, any Error>
        do {
            try await run { opening, stream in try await answer(opening, stream, principal) }
            outcome = .success(())
        } catch {
            outcome = .failure(error)
        }
        tunnels.remove(link, of: host)
        if !tunnels.isGoingAway { await ended(host, afterSilence: isSilence(outcome)) }
        try outcome.get()
    }

    /// A host that closed its connection, or whose process ended, may be back in a moment; one that was silent for as long as a
    /// living peer never is counts as lost at once.
    private func ended(_ host: String, afterSilence: Bool) async {
        if !afterSilence { try? await Task.sleep(for: Gateway.returnWithin) }
        guard tunnels.link(to: host) == nil, !tunnels.isGoingAway, !Task.isCancelled else { return }
        await queue.lost(host)
    }

    private func answer(_ opening: TunnelOpening, _ stream: TunnelStream, _ principal: Principal) async throws {
        if opening.operation == .answering { return try await answering(opening, stream, principal) }
        do {
            if opening.operation == .claim {
                try await answerClaim(stream, principal)
            } else {
                try await answerCall(opening, stream, principal)
            }
        } catch {
            if error is TunnelFault || error is CancellationError { throw error }
            let known =
                GatewayError(error) ?? GatewayError(500, "internal_error", "The coordinator failed at this; its log says why.")
            try await reply(stream, known.status, known.bytes)
        }
    }

    /// A claim waits for long and with thousands of others: its body is read in a task that ends before, and here is room for no
    /// other call.
    @inline(never)
    private func answerClaim(_ stream: TunnelStream, _ principal: Principal) async throws {
        guard let (ask, wait) = try await onOwnStack({ try await claimAsk(of: stream, principal) }),
            let granted = try await queue.claim(ask, wait: wait, isGone: { Task.isCancelled })
        else { return try await reply(stream, 204, []) }
        try await deliver(granted, stream)
    }

    private func claimAsk(of stream: TunnelStream, _ principal: Principal) async throws -> (ClaimAsk, wait: Double)? {
        let bytes = try await stream.collect(limit: Gateway.largestReport)
        try check(principal)
        return try claimAsk(bytes, principal)
    }

    @inline(never)
    private func deliver(_ granted: GrantedClaim, _ stream: TunnelStream) async throws {
        do {
            try Task.checkCancellation()
            try await reply(stream, 200, JobSpec.claim(granted))
        } catch {
            // Who asked has gone: the job goes back at once instead of waiting for the lease to run out.
            try await queue.store.undelivered(granted)
            throw error
        }
    }

    @inline(never)
    private func answerCall(_ opening: TunnelOpening, _ stream: TunnelStream, _ principal: Principal) async throws {
        let bytes = try await stream.collect(limit: Gateway.largestReport)
        try check(principal)
        switch opening.operation {
        case .heartbeat: try await reply(stream, try await heartbeat(try id(opening), bytes, principal))
        case .complete: try await reply(stream, try await complete(try id(opening), bytes, principal))
        case .fail: try await reply(stream, try await fail(try id(opening), bytes, principal))
        case .report:
            let report = try StrictJSON.decode(HostReport.self, from: bytes, limit: 1 << 20)
            try await reply(stream, try await reported(report, by: principal))
        case .echo: try await reply(stream, 200, bytes)
        case .answer, .cancel, .answering, .request, .claim: throw GatewayError(404, "not_found", "A host does not open this.")
        }
    }

    private func check(_ principal: Principal) throws {
        guard stillSpeaks(principal) else { throw GatewayError(401, "unauthorized", "This host's token has ended.") }
    }

    /// A key that was revoked since speaks no more.
    private func stillSpeaks(_ principal: Principal) -> Bool {
        guard let host = principal.host else { return false }
        return queue.directory.host(host) != nil && queue.directory.key(principal.keyID, of: principal.account) != nil
    }

    /// Between two looks at how much of an answer is on disk, while it flows.
    private static let flushEvery = Duration.milliseconds(250)

    /// The answer to a request as its host says it. What ends it here ends nothing else: the host has the bytes and goes on with
    /// heartbeats, which say why if there is a reason.
    private func answering(_ opening: TunnelOpening, _ stream: TunnelStream, _ principal: Principal) async throws {
        let id = try id(opening)
        guard stillSpeaks(principal), let (first, rest) = try await stream.nextMessage(limit: Gateway.largestReport) else {
            throw TunnelFault.cancelled
        }
        let beat = try read(first, principal)
        guard disk.admits(Int64(Gateway.largestReport), .runningWork),
            case .here(let base) = try await queue.place(of: id, beat.lease, from: beat.logs?.map(\.offset).min())
        else { throw TunnelFault(code: "elsewhere", message: "This coordinator does not take this answer now.", status: 503) }
        let intake = try await AnswerIntake(queue, id, beat, base: base)
        if !rest.isEmpty { try intake.take(rest) }
        async let begun: Void = intake.started()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                var told: Int64 = 0
                while true {
                    try await Task.sleep(for: Gateway.flushEvery)
                    guard stillSpeaks(principal) else { throw TunnelFault.cancelled }
                    guard intake.end > told, disk.admits(Int64(Gateway.largestReport), .runningWork) else { continue }
                    told = try await intake.flushed()
                    try await stream.write(number: told)
                }
            }
            group.addTask {
                while let bytes = try await stream.next() { try intake.take(bytes) }
            }
            defer { group.cancelAll() }
            try await group.next()
        }
        // The host has said all: its slot is another's while this one goes to disk.
        async let given: Void = give(queue.scheduler.ended(id), to: beat.lease.host)
        try await begun
        try await stream.write(number: try await intake.flushed())
        try? await given
    }

    private func id(_ opening: TunnelOpening) throws -> JobID {
        guard let id = opening.job.flatMap({ JobID($0) }) else { throw GatewayError.noSuchJob }
        return id
    }

    private func reply(_ stream: TunnelStream, _ value: some Encodable) async throws {
        try await reply(stream, 200, Array(try Answer.encoder.encode(value)))
    }

    private func reply(_ stream: TunnelStream, _ reply: HostReply) async throws {
        try await self.reply(stream, reply.status, reply.body)
    }

    private func reply(_ stream: TunnelStream, _ status: Int, _ bytes: [UInt8]) async throws {
        try stream.writeHead(ExchangeHead(status: status))
        try await stream.write(bytes)
    }
}
