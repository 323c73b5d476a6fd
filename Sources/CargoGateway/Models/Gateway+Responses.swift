import CargoArtifact
import CargoQueue
import CargoWire
import Hummingbird

/// OpenAI's Responses API, as a chat: text, tools and streams; nothing is stored.
extension Gateway {
    func addResponses(to router: Router<GatewayContext>) {
        for base in Gateway.openAIBases {
            router.post("\(base)/responses") { request, context in
                let principal = try caller(request, .write)
                let asked = try ResponsesRequest(
                    try await bytes(of: request, limit: ModelAsk.largestBody), patience: try ModelAsk.patience(request))
                let job = try await ask(asked.ask, principal, request, context)
                let draft = ResponseDraft(
                    id: "resp_" + job.key.id.description.filter { $0 != "-" },
                    created: queue.settings.clocks.wall().milliseconds / 1000, echo: asked.echo)
                let shape: any AnswerShape = asked.ask.stream ? ResponsesStream(draft) : ResponsesWhole(draft)
                return try await answer(job, context, as: shape)
            }
        }
    }
}
