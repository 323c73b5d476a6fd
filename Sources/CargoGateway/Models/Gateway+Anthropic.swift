import CargoArtifact
import CargoQueue
import CargoWire
import HTTPTypes
import Hummingbird

/// Anthropic's Messages API: the same functions as OpenAI's, in other words.
extension Gateway {
    func addAnthropic(to router: Router<GatewayContext>) {
        for base in Gateway.openAIBases {
            router.post("\(base)/messages") { request, context in
                let principal = try caller(request, .write)
                let ask = try AnthropicRequest.ask(
                    try await bytes(of: request, limit: ModelAsk.largestBody), patience: try ModelAsk.patience(request))
                let asked = try await self.ask(ask, principal, request, context)
                let id = "msg_" + asked.key.id.description.filter { $0 != "-" }
                let shape: any AnswerShape =
                    ask.stream ? AnthropicStream(id: id, model: ask.model) : AnthropicWhole(id: id, model: ask.model)
                return try await answer(asked, context, as: shape)
            }
            // The model's own template and tokenizer count: it is asked for a single token.
            router.post("\(base)/messages/count_tokens") { request, context in
                let principal = try caller(request, .write)
                let ask = try AnthropicRequest.ask(
                    try await bytes(of: request, limit: ModelAsk.largestBody), counting: true,
                    patience: try ModelAsk.patience(request))
                return try await answer(try await self.ask(ask, principal, request, context), context, as: AnthropicCount())
            }
        }
    }
}
