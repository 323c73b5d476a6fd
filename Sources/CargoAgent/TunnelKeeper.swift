import CargoClient
import CargoTunnel
import CargoWire
import FoundationEssentials
import Logging

/// Keeps this host's tunnel open: dials, and dials again after a while that grows and is never the same for two hosts.
/// What was under way when it broke is sent again by whoever sent it, over REST until it stands again.
struct TunnelKeeper: Sendable {
    let session: HostSession
    let door: TunnelDoor
    let forwarding: Forwarding
    let given: GivenRequests
    let draining: Gate
    let logger: Logger

    /// Bytes of a claim at most.
    private static let largestClaim = 64 << 20

    /// A coordinator that refuses tunnels is asked again after so long.
    private static let afterRefusal = Duration.seconds(15)
    /// Until its task is cancelled. A host that drains takes nothing new through its tunnel and opens no other.
    func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                await draining.wait()
                if draining.isOpen { door.current?.goAway() }
            }
            await keepOpen()
            group.cancelAll()
        }
    }

    private func keepOpen() async {
        var backoff = Backoff(first: .milliseconds(200), most: .seconds(10))
        while !Task.isCancelled, !draining.isOpen {
            let began = ContinuousClock.now
            do {
                let client = try await session.client()
                logger.debug("dialling the tunnel")
                try await client.runTunnel(through: door) { opening, stream in try await answer(opening, stream) }
                logger.info("the tunnel was closed, dialling again")
            } catch let error as ClientError where error.status != 0 && !error.isTransient {
                logger.notice("no tunnel: calls go over REST", metadata: ["error": "\(error)"])
                try? await Task.sleep(for: TunnelKeeper.afterRefusal)
            } catch {
                logger.info("the tunnel broke, dialling again", metadata: ["error": "\(error)"])
            }
            if ContinuousClock.now - began > .seconds(30) { backoff.reset() }
            try? await Task.sleep(for: backoff.next())
        }
    }

    private func answer(_ opening: TunnelOpening, _ stream: TunnelStream) async throws {
        switch opening.operation {
        case .cancel:
            _ = try await stream.collect(limit: 1024)
            if let job = opening.job { await session.cancelled(job) }
            try stream.writeHead(ExchangeHead(status: 200))
        case .answer: try await forwarding.answer(opening, stream)
        case .request:
            let body = try await stream.collect(limit: TunnelKeeper.largestClaim)
            let claim = try JSONDecoder().decode(Claim.self, from: Data(body))
            guard await given.take(claim) else {
                throw TunnelFault(code: "overloaded", message: "This host has no room for it now.", status: 503, retryable: true)
            }
            try stream.writeHead(ExchangeHead(status: 200))
        default: throw TunnelFault(code: "unknown_operation", message: "A coordinator does not open this.", status: 404)
        }
    }
}
