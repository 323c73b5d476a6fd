import CargoArtifact
import CargoQueue
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird

/// OpenAI's interface under `/v1` and `/api/v1`: clients change the base URL and nothing else.
extension Gateway {
    /// Where the interface stands.
    static let openAIBases = ["/v1", "/api/v1"]

    private struct ModelList: Encodable {
        var object = "list"
        var data: [ModelEntry]
    }

    /// A model as OpenAI lists it, with what is known of it besides.
    struct ModelEntry: Encodable {
        var id: String
        var object = "model"
        var created = 0
        var ownedBy: String
        var contextLength: Int?
        var quantization: String?
        var operations: [String]
        /// On how many hosts, and on how many it is in memory.
        var hosts: Int
        var loaded: Int

        enum CodingKeys: String, CodingKey {
            case id, object, created, quantization, operations, hosts, loaded
            case ownedBy = "owned_by"
            case contextLength = "context_length"
        }
    }

    func addOpenAI(to router: Router<GatewayContext>) {
        for base in Gateway.openAIBases {
            for operation in [ModelRequest.Operation.chat, .completions, .embeddings, .images] {
                router.post("\(base)/\(operation.rawValue)") { request, context in
                    let principal = try caller(request, .write)
                    let patience = try ModelAsk.patience(request)
                    let ask = try ModelAsk(
                        operation, try await bytes(of: request, limit: ModelAsk.largestBody), patience: patience)
                    return try await answer(try await self.ask(ask, principal, request, context), context)
                }
            }
            router.get("\(base)/models") { request, _ in
                let entries = entries(for: try caller(request, .read))
                guard !isAnthropic(request) else { return try Answer.json(try AnthropicModels.list(entries, request)) }
                return try Answer.json(ModelList(data: entries))
            }
            router.get("\(base)/models/**") { request, _ in
                let principal = try caller(request, .read)
                let parts = request.uri.path.split(separator: "/").drop { $0 != "models" }.dropFirst()
                let id = PercentDecoding.decode(parts.joined(separator: "/")) ?? ""
                guard let entry = entries(for: principal).first(where: { $0.id == id }) else {
                    throw GatewayError(
                        404, "model_not_found", "There is no model '\(id.prefix(256))' here, or no host serves it now.")
                }
                return isAnthropic(request) ? try Answer.json(AnthropicModels.entry(entry)) : try Answer.json(entry)
            }
        }
    }

    /// Both interfaces list models under the same path; Anthropic's clients say which version they speak.
    private func isAnthropic(_ request: Request) -> Bool { request.headers[ModelHeader.anthropicVersion] != nil }

    func entries(for principal: Principal) -> [ModelEntry] {
        Dictionary(grouping: served(to: principal), by: \.id).map { id, models in
            ModelEntry(
                id: id, ownedBy: id.split(separator: "/").dropLast().first.map(String.init) ?? "longshore",
                contextLength: models.compactMap(\.context).max(), quantization: models.compactMap(\.quantization).first,
                operations: Set(models.flatMap(\.operations).map(\.rawValue)).sorted(), hosts: models.count,
                loaded: models.count { $0.presence == .loaded })
        }.sorted { $0.id < $1.id }
    }
}
