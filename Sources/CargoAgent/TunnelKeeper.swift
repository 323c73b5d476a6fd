import CargoClient
import CargoEndpoints
import CargoTunnel
import CargoWire
import FoundationEssentials
import Logging

/// Keeps this host's tunnel open: dials, and dials again after a while that grows and is never the same for two hosts.
/// What was under way when it broke is sent again by whoever sent it, over REST until it stands again.
struct TunnelKeeper: Sendable {
    let session: HostSession
    let door: TunnelDoor
    /// What answers requests that no store is to see.
    let service: (any ModelService)?
    let logger: Logger

    /// A coordinator that refuses tunnels is asked again after so long.
    private static let afterRefusal = Duration.seconds(15)
    /// Bytes of a forwarded request at most.
    private static let largestRequest = 64 << 20

    /// Until its task is cancelled.
    func run() async {
        var backoff = Backoff(first: .milliseconds(200), most: .seconds(10))
        while !Task.isCancelled {
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
            try await stream.writeHead(ExchangeHead(status: 200))
        case .answer: try await forward(stream)
        default: throw TunnelFault(code: "unknown_operation", message: "A coordinator does not open this.", status: 404)
        }
    }

    private func forward(_ stream: TunnelStream) async throws {
        guard let service else {
            throw TunnelFault(code: "model_not_found", message: "This host serves no models.", status: 404, retryable: true)
        }
        let bytes = try await stream.collect(limit: TunnelKeeper.largestRequest)
        guard let forwarded = try? JSONDecoder().decode(ForwardedRequest.self, from: Data(bytes)) else {
            throw TunnelFault(code: "invalid_body", message: "The request is not one.", status: 400)
        }
        do {
            let usage = try await service.answer(forwarded.request, account: forwarded.account) { head in
                try await stream.writeHead(head)
            } body: { piece in
                try await stream.write(piece)
            }
            if let usage { await stream.end(usage) }
        } catch let failure as ModelFailure {
            throw TunnelFault(
                code: failure.code.rawValue, message: failure.message, status: failure.status, retryable: failure.retryable)
        }
    }
}
