internal import CargoArtifact
internal import CargoWire
internal import FoundationEssentials
internal import Glibc
internal import NIOCore
internal import NIOHTTP1

extension ModelServer {
    /// Answers from Ollama's own API: JSON lines become server-sent events.
    func answerByOllama(
        _ request: ModelRequest, _ asked: RequestBody, as backendModel: String,
        head: @Sendable (AnswerHead) async throws -> Void, body: @Sendable ([UInt8]) async throws -> Void
    ) async throws -> ModelUsage? {
        let translated = try OllamaRequest(asked, operation: request.operation, model: backendModel)
        let call = Exchange.Call(method: .POST, path: translated.path, body: translated.body, trace: request.trace)
        return try await Exchange(dial: dial, bounds: bounds).run(call) { answer, parts in
            guard (200..<300).contains(answer.status.code) else {
                throw ModelServer.failure(
                    status: Int(answer.status.code), said: try await parts.collect(1 << 16) ?? [], model: request.model)
            }
            var reply = OllamaAnswer(
                operation: request.operation, model: request.model, id: UUID().uuidString.lowercased(), created: Int64(time(nil)),
                wantsUsage: asked.wantsUsage)
            guard asked.stream else {
                guard let bytes = try await parts.collect(bounds.body) else {
                    throw ModelFailure(.badAnswer, message: "The model server's answer has more than \(bounds.body) bytes.")
                }
                let whole: [UInt8]
                let usage: ModelUsage?
                if request.operation == .embeddings {
                    let base64 = asked.fields["encoding_format"] == .string("base64")
                    (whole, usage) = try OllamaAnswer.embeddings(bytes, model: request.model, base64: base64)
                } else {
                    whole = try reply.whole(bytes)
                    usage = reply.usage
                }
                try await head(AnswerHead(status: 200, contentType: "application/json"))
                try await body(whole)
                return usage
            }
            var lines = StreamLines(limit: bounds.event)
            var began = false
            while true {
                let piece = try await parts.piece()
                var events: [UInt8] = []
                let complete: [[UInt8]]
                do {
                    complete = try piece.map { try lines.take($0.readableBytesView) } ?? lines.finish().map { [$0] } ?? []
                } catch {
                    throw ModelFailure(.badAnswer, message: "The model server sent a line of more than \(bounds.event) bytes.")
                }
                for line in complete { events += try reply.events(line: line) }
                if !events.isEmpty {
                    if !began {
                        began = true
                        try await head(AnswerHead(status: 200, contentType: "text/event-stream"))
                    }
                    try await body(events)
                }
                if piece == nil { break }
            }
            guard reply.isDone else {
                throw ModelFailure(
                    .failed, message: "The model server ended its stream before the answer was whole.", retryable: true)
            }
            return reply.usage
        }
    }
}
