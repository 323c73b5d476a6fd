import CargoArtifact
import CargoQueue
import CargoWire
import HTTPTypes
import Hummingbird

/// Page 001 of the products: run a model by name, at once or as a stream; what is there to run.
extension Gateway {
    private struct ModelOffer: Encodable {
        var name: String
        var availableHosts: Int
        var loaded: Int
        /// Of context.
        var maxTokens: Int?
        var operations: [String]

        enum CodingKeys: String, CodingKey {
            case name, loaded, operations
            case availableHosts = "available_hosts"
            case maxTokens = "max_tokens"
        }
    }

    private struct ModelOffers: Encodable { var models: [ModelOffer] }

    func addRun(to router: Router<GatewayContext>) {
        // The word `model` is literal: the body names which. Its answer is page 001's own.
        router.post("/run/model") { request, context in
            let (asked, ask) = try await run(request, context, named: nil)
            let job = asked.key.id.description
            let shape: any AnswerShape = ask.stream ? RunStream(job: job) : RunWhole(job: job, model: ask.model)
            return try await answer(asked, context, as: shape)
        }
        // Any other model answers in its own protocol.
        router.post("/run/**") { request, context in
            let parts = request.uri.path.split(separator: "/").dropFirst()
            let model = PercentDecoding.decode(parts.joined(separator: "/")) ?? ""
            return try await answer(try await run(request, context, named: model).0, context)
        }
        router.get("/models") { request, _ in
            let principal = try caller(request, .read)
            let offers = entries(for: principal).map {
                ModelOffer(
                    name: $0.id, availableHosts: $0.hosts, loaded: $0.loaded, maxTokens: $0.contextLength,
                    operations: $0.operations)
            }
            return try Answer.json(ModelOffers(models: offers))
        }
    }

    private func run(
        _ request: Request, _ context: GatewayContext, named model: String?
    ) async throws -> (Asked, ModelAsk) {
        let principal = try caller(request, .write)
        let fields = try ModelAsk.fields(try await bytes(of: request, limit: ModelAsk.largestBody))
        let ask = try RunRequest.ask(
            fields, named: model,
            operations: { operations(of: $0, for: principal) },
            patience: try ModelAsk.patience(request))
        return (try await self.ask(ask, principal, request, context), ask)
    }
}
