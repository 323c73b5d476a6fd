import CargoQueue
import CargoScheduler
import CargoWire
import Hummingbird

/// `GET /jobs/{id}/placement`: which hosts were left out by which filter, and how the rest scored; of hosts that the caller
/// may see, and no others (docs/rules.md 17).
extension Gateway {
    private struct Answered: Encodable {
        struct Host: Encodable {
            var id: String
            var name: String
            var leftOutBy: Filter?
            var score: Score?

            enum CodingKeys: String, CodingKey {
                case id, name, score
                case leftOutBy = "left_out_by"
            }
        }

        var job: String
        var status: JobStatus
        /// Where it runs or ran last.
        var host: String?
        /// How many each filter left out.
        var leftOut: [String: Int]
        /// The best first; at most 200.
        var hosts: [Host]
        var weights = Weights()

        enum CodingKeys: String, CodingKey {
            case job, status, host, hosts, weights
            case leftOut = "left_out"
        }
    }

    private static let mostShown = 200

    func addPlacement(to router: Router<GatewayContext>) {
        router.get("/jobs/:id/placement") { request, context in
            let principal = try caller(request, .read)
            let (record, _, _) = try await queue.store.job(try key(context, principal))
            var requirement = record.requirement
            requirement.avoided = record.state.avoided
            let names = Dictionary(visibleHosts(to: principal).map { ($0.id, $0.name) }, uniquingKeysWith: { first, _ in first })
            let assessed = queue.scheduler.explain(requirement, visible: { names[$0] != nil })
            var leftOut: [String: Int] = [:]
            for filter in assessed.compactMap(\.leftOutBy) { leftOut[filter.rawValue, default: 0] += 1 }
            let hosts = assessed.prefix(Self.mostShown).map {
                Answered.Host(id: $0.host, name: names[$0.host] ?? "", leftOutBy: $0.leftOutBy, score: $0.score)
            }
            let host = record.state.host.flatMap { names[$0] == nil ? nil : $0 }
            return try Answer.json(
                Answered(
                    job: record.key.id.description, status: record.state.status, host: host, leftOut: leftOut, hosts: hosts))
        }
    }
}
