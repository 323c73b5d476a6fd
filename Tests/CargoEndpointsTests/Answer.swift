import CargoEndpoints
import CargoWire
import Synchronization

/// What a client would have received.
final class Answer: Sendable {
    private let state = Mutex<(head: AnswerHead?, pieces: [[UInt8]])>((nil, []))

    var head: AnswerHead? { state.withLock { $0.head } }
    var text: String { String(decoding: state.withLock { $0.pieces.flatMap { $0 } }, as: UTF8.self) }
    /// The data of its events.
    var events: [String] {
        text.split(separator: "\n\n").map { $0.hasPrefix("data: ") ? String($0.dropFirst(6)) : "?" + String($0) }
    }

    func take(head: AnswerHead) { state.withLock { $0.head = head } }
    func take(_ piece: [UInt8]) { state.withLock { $0.pieces.append(piece) } }
}

extension ModelServer {
    /// Asks and keeps all that comes.
    func ask(_ request: ModelRequest, as model: String = "m", into answer: Answer, account: String = "a") async throws
        -> ModelUsage?
    {
        try await self.answer(
            request, as: model, account: account, head: { answer.take(head: $0) }, body: { answer.take($0) })
    }
}

func chat(_ text: String = "Hello", stream: Bool = false, more: String = "") -> ModelRequest {
    ModelRequest(
        operation: .chat, model: "acme/m", body: #"{"model":"acme/m","messages":[{"role":"user","content":"\#(text)"}]\#(more)}"#,
        stream: stream)
}
