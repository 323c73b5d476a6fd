import CargoArtifact
import CargoQueue
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// What a host is answered, whichever coordinator did what it asked.
struct HostReply: Sendable {
    var status: Int
    var body: [UInt8]

    init(_ reply: HeartbeatReply) throws {
        status = 200
        body = Array(try Answer.encoder.encode(reply))
    }

    init(_ job: Job) {
        var writer = JSONWriter()
        job.write(into: &writer)
        (status, body) = (200, writer.bytes)
    }

    init(status: Int, body: [UInt8]) { (self.status, self.body) = (status, body) }

    var response: Response {
        Answer.bytes(
            ByteBuffer(bytes: body), status: HTTPResponse.Status(integerLiteral: status),
            type: status < 400 ? "application/json" : "application/problem+json")
    }
}

extension GatewayError {
    static let keeperAway = GatewayError(
        503, "unavailable", "The coordinator that keeps this job's log cannot be reached now; nothing was kept, send it again.")
}

/// Coordinators among themselves: logs that another keeps, and reports of hosts that another takes. The caller proves that it
/// knows the secret of the store; none of it is for anyone else, so to everyone else there is nothing here.
extension Gateway {
    func addPeers(to router: Router<GatewayContext>) {
        addKeepers(to: router)
        router.get("/peer/jobs/:id/logs/:attempt") { request, context in try await peerLog(request, context) }
        router.post("/peer/jobs/:id/:report") { request, context in
            let bytes = try await bytes(of: request, limit: Gateway.largestReport)
            try peer(request, bytes)
            let id = try jobID(context)
            let query = request.uri.queryParameters
            guard let account = query["account"].flatMap({ Int64($0) }) else { throw GatewayError.nothing(at: request) }
            let principal = Principal(
                account: account, keyID: query["key"].map(String.init) ?? "", scopes: [.host],
                host: query["host"].map(String.init))
            switch context.parameters.get("report") {
            case "heartbeat": return try await heartbeat(id, bytes, principal, passedOn: true).response
            case "complete": return try await complete(id, bytes, principal, passedOn: true).response
            case "fail": return try await fail(id, bytes, principal, passedOn: true).response
            default: throw GatewayError.nothing(at: request)
            }
        }
    }

    func peer(_ request: Request, _ body: [UInt8] = []) throws {
        let sender = queue.peers?.sender(
            request.headers[GatewayHeader.peer], method: request.method.rawValue, target: request.uri.description, body: body)
        guard sender != nil else { throw GatewayError.nothing(at: request) }
    }

    private func peerLog(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try peer(request)
        let query = request.uri.queryParameters
        guard let attempt = context.parameters.get("attempt").flatMap({ Int($0) }),
            let account = query["account"].flatMap({ Int64($0) }), let base = query["base"].flatMap({ Int64($0) }),
            let after = query["after"].flatMap({ Int64($0) })
        else { throw GatewayError.nothing(at: request) }
        let key = JobKey(account: account, id: try jobID(context))
        let follows = query["follow"] == "true"
        var headers = HTTPFields()
        headers[.contentType] = "application/octet-stream"
        let queue = queue
        return Response(
            status: .ok, headers: headers,
            body: ResponseBody { writer in
                var served = ServedLog(queue, key, attempt: attempt, base: base, after: after, follows: follows)
                while let bytes = try await served.next() { try await writer.write(ByteBuffer(bytes: bytes)) }
                try await writer.finish(nil)
            })
    }

    /// Lets the keeper of a log do what a host asked; nil when it cannot be reached.
    func pass(_ bytes: [UInt8], to url: String, _ report: String, _ id: JobID, _ principal: Principal) async -> HostReply? {
        guard let peers = queue.peers else { return nil }
        var target = "/peer/jobs/\(id)/\(report)?account=\(principal.account)&key=\(principal.keyID)"
        if let host = principal.host { target += "&host=\(host)" }
        guard let (status, body) = await peers.post(url, target, bytes) else { return nil }
        return HostReply(status: status, body: body)
    }
}
