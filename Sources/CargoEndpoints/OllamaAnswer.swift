internal import CargoArtifact
internal import CargoWire
internal import FoundationEssentials

/// Turns what Ollama answers, object by object, into OpenAI's shape.
struct OllamaAnswer {
    let operation: ModelRequest.Operation
    /// As the client named it.
    let model: String
    /// Of all events of one answer.
    let id: String
    /// Seconds since 1970.
    let created: Int64
    let wantsUsage: Bool
    private(set) var usage: ModelUsage?
    /// The object that ends the answer came.
    private(set) var isDone = false
    private var began = false
    private var calls = 0

    init(operation: ModelRequest.Operation, model: String, id: String, created: Int64, wantsUsage: Bool) {
        self.operation = operation
        self.model = model
        self.id = (operation == .chat ? "chatcmpl-" : "cmpl-") + id
        self.created = created
        self.wantsUsage = wantsUsage
    }

    /// One object of Ollama's chat and generate answers; a stream has many.
    private struct Part: Decodable {
        struct Message: Decodable {
            var content: String?
            var thinking: String?
            var toolCalls: [Call]?
            enum CodingKeys: String, CodingKey {
                case content, thinking
                case toolCalls = "tool_calls"
            }
        }
        struct Call: Decodable {
            struct Function: Decodable {
                var name: String
                var arguments: JSONValue?
            }
            var function: Function
        }
        var message: Message?
        var response: String?
        var thinking: String?
        var done: Bool?
        var doneReason: String?
        var promptEvalCount: Int?
        var evalCount: Int?
        var error: String?
        enum CodingKeys: String, CodingKey {
            case message, response, thinking, done, error
            case doneReason = "done_reason"
            case promptEvalCount = "prompt_eval_count"
            case evalCount = "eval_count"
        }
    }

    private static func part(_ line: [UInt8]) throws(ModelFailure) -> Part {
        let part: Part
        do { part = try JSONDecoder().decode(Part.self, from: Data(line)) } catch {
            throw ModelFailure(.badAnswer, message: "The model server's answer is not JSON in Ollama's shape.")
        }
        if let error = part.error {
            throw ModelFailure(.failed, message: "The model server failed: \(error.prefix(500))", retryable: true)
        }
        return part
    }

    /// The events that one line of a stream becomes, as they are sent.
    mutating func events(line: [UInt8]) throws -> [UInt8] {
        guard !isDone, !line.allSatisfy({ $0 == 32 || $0 == 9 }) else { return [] }
        let part = try OllamaAnswer.part(line)
        var out: [UInt8] = []
        let text = part.message?.content ?? part.response ?? ""
        let thought = part.message?.thinking ?? part.thinking ?? ""
        let asked = part.message?.toolCalls ?? []
        if !text.isEmpty || !thought.isEmpty || !asked.isEmpty || (!began && operation == .chat) {
            out += try event(delta(text: text, thought: thought, calls: asked, index: true), finish: nil)
            began = true
        }
        if part.done == true {
            isDone = true
            usage = ModelUsage(promptTokens: part.promptEvalCount, completionTokens: part.evalCount)
            out += try event(operation == .chat ? [:] : ["text": .string("")], finish: reason(part))
            if wantsUsage { out += ServerSentEvents.event(try encode(JSONValue.object(frame(choices: [], usage: true)))) }
            out += ServerSentEvents.done
        }
        return out
    }

    /// An answer that is not streamed.
    mutating func whole(_ body: [UInt8]) throws -> [UInt8] {
        let part = try OllamaAnswer.part(body)
        guard part.message != nil || part.response != nil else {
            throw ModelFailure(.badAnswer, message: "The model server's answer has neither a message nor a response.")
        }
        isDone = true
        usage = ModelUsage(promptTokens: part.promptEvalCount, completionTokens: part.evalCount)
        let calls = part.message?.toolCalls ?? []
        self.calls = calls.count
        var choice: [String: JSONValue] = ["index": .integer(0), "finish_reason": .string(reason(part))]
        if operation == .chat {
            began = false
            choice["message"] = .object(
                delta(text: part.message?.content ?? "", thought: part.message?.thinking ?? "", calls: calls, index: false))
        } else {
            choice["text"] = .string(part.response ?? "")
        }
        var frame = frame(choices: [.object(choice)], usage: true)
        frame["object"] = .string(operation == .chat ? "chat.completion" : "text_completion")
        return try encode(JSONValue.object(frame))
    }

    private mutating func delta(text: String, thought: String, calls asked: [Part.Call], index: Bool) -> [String: JSONValue] {
        guard operation == .chat else { return ["text": .string(text)] }
        var delta: [String: JSONValue] = ["content": .string(text)]
        if !began { delta["role"] = .string("assistant") }
        if !thought.isEmpty { delta["reasoning_content"] = .string(thought) }
        guard !asked.isEmpty else { return delta }
        let first = index ? calls : 0
        delta["tool_calls"] = .array(
            asked.enumerated().map { place, call in
                let arguments = (try? encode(call.function.arguments ?? .object([:]))) ?? Array("{}".utf8)
                var item: [String: JSONValue] = [
                    "id": .string("call_\(id.suffix(12))_\(first + place)"), "type": .string("function"),
                    "function": .object([
                        "name": .string(call.function.name), "arguments": .string(String(decoding: arguments, as: UTF8.self)),
                    ]),
                ]
                if index { item["index"] = .integer(Int64(first + place)) }
                return .object(item)
            })
        if index { calls += asked.count }
        return delta
    }

    private func reason(_ part: Part) -> String {
        if calls > 0 { return "tool_calls" }
        return part.doneReason == "length" ? "length" : "stop"
    }

    private func event(_ delta: [String: JSONValue], finish: String?) throws -> [UInt8] {
        var choice: [String: JSONValue] = ["index": .integer(0), "finish_reason": finish.map { .string($0) } ?? .null]
        if operation == .chat { choice["delta"] = .object(delta) } else { choice["text"] = delta["text"] }
        return ServerSentEvents.event(try encode(JSONValue.object(frame(choices: [.object(choice)], usage: false))))
    }

    private func frame(choices: [JSONValue], usage shown: Bool) -> [String: JSONValue] {
        var frame: [String: JSONValue] = [
            "id": .string(id), "object": .string(operation == .chat ? "chat.completion.chunk" : "text_completion"),
            "created": .integer(created), "model": .string(model), "choices": .array(choices),
        ]
        if shown, let usage { frame["usage"] = OllamaAnswer.json(usage) }
        return frame
    }

    private static func json(_ usage: ModelUsage) -> JSONValue {
        let (prompt, completion) = (usage.promptTokens ?? 0, usage.completionTokens ?? 0)
        return .object([
            "prompt_tokens": .integer(Int64(prompt)), "completion_tokens": .integer(Int64(completion)),
            "total_tokens": .integer(Int64(prompt) + Int64(completion)),
        ])
    }

    /// `/api/embed` as OpenAI's list; `base64` packs each vector as little-endian 32-bit floats.
    static func embeddings(_ body: [UInt8], model: String, base64: Bool) throws -> (bytes: [UInt8], usage: ModelUsage) {
        struct Embedded: Decodable {
            var embeddings: [[Double]]?
            var promptEvalCount: Int?
            var error: String?
            enum CodingKeys: String, CodingKey {
                case embeddings, error
                case promptEvalCount = "prompt_eval_count"
            }
        }
        guard let embedded = try? JSONDecoder().decode(Embedded.self, from: Data(body)) else {
            throw ModelFailure(.badAnswer, message: "The model server's answer is not JSON in Ollama's shape.")
        }
        if let error = embedded.error { throw ModelFailure(.failed, message: "The model server failed: \(error.prefix(500))") }
        guard let vectors = embedded.embeddings else {
            throw ModelFailure(.badAnswer, message: "The model server's answer has no embeddings.")
        }
        let tokens = embedded.promptEvalCount ?? 0
        let data = vectors.enumerated().map { place, vector in
            JSONValue.object([
                "object": .string("embedding"), "index": .integer(Int64(place)),
                "embedding": base64 ? .string(packed(vector)) : .array(vector.map { .number($0) }),
            ])
        }
        let answer = JSONValue.object([
            "object": .string("list"), "model": .string(model), "data": .array(data),
            "usage": .object(["prompt_tokens": .integer(Int64(tokens)), "total_tokens": .integer(Int64(tokens))]),
        ])
        return (try encode(answer), ModelUsage(promptTokens: tokens))
    }

    private static func packed(_ vector: [Double]) -> String {
        var bytes: [UInt8] = []
        for number in vector { withUnsafeBytes(of: Float(number).bitPattern.littleEndian) { bytes += $0 } }
        return Data(bytes).base64EncodedString()
    }
}
