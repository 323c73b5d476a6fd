import CargoQueue
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird

/// `GET /queue`: what waits, and where a job stands.
extension Gateway {
    private struct Depth: Encodable {
        var queued: Int
        var running: Int
        var oldestSeconds: Double?
        var byStatus: [String: Int]
        var byCargo: [String: Int]
        var byTier: [String: Int]
        /// Jobs of this account before the one asked for.
        var position: Int?
        var estimatedStartSeconds: Double?

        enum CodingKeys: String, CodingKey {
            case queued, running
            case oldestSeconds = "oldest_seconds"
            case byStatus = "by_status"
            case byCargo = "by_cargo"
            case byTier = "by_tier"
            case position
            case estimatedStartSeconds = "estimated_start_seconds"
        }
    }

    func addQueue(to router: Router<GatewayContext>) {
        router.get("/queue") { request, _ in
            let principal = try caller(request, .read)
            let job = try request.uri.queryParameters["job"].map { text in
                guard let id = JobID(text) else { throw GatewayError.noSuchJob }
                return id
            }
            let view = try await queue.store.queueView(of: principal.account, job: job)
            var depth = Depth(queued: 0, running: 0, byStatus: [:], byCargo: [:], byTier: [:])
            var oldest: Timestamp?
            for group in view.groups {
                depth.byStatus[group.status.rawValue, default: 0] += group.count
                guard group.status == .queued else {
                    depth.running += group.count
                    continue
                }
                depth.queued += group.count
                depth.byCargo[group.cargo ?? "", default: 0] += group.count
                depth.byTier[String(group.tier), default: 0] += group.count
                oldest = min(oldest ?? group.oldest, group.oldest)
            }
            if let oldest {
                depth.oldestSeconds = Double(queue.settings.clocks.wall().milliseconds - oldest.milliseconds) / 1000
            }
            depth.position = view.position
            depth.estimatedStartSeconds = view.position.flatMap {
                queue.estimatedStart(position: $0, account: principal.account)
            }
            return try Answer.json(depth)
        }
    }
}
