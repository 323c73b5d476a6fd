import CargoArtifact
import CargoWire

/// What a body of `/run` asks of a model, as the protocol that the model speaks (page 001 of the products).
enum RunRequest {
    /// - Parameters:
    ///   - named: the model of the path; nil takes `model` or `model_name`.
    ///   - wanted: what it is to do, where the caller says so.
    ///   - operations: what the model does; empty where nobody serves it now.
    static func ask(
        _ fields: [String: JSONValue], named: String?, wanted: ModelRequest.Operation? = nil,
        operations: (String) -> Set<ModelRequest.Operation>, patience: Double
    ) throws -> ModelAsk {
        guard let model = named ?? fields["model"]?.text ?? fields["model_name"]?.text, !model.isEmpty, model.utf8.count <= 256
        else {
            throw GatewayError(
                400, "invalid_body",
                "The field 'model' (or 'model_name') names the model; GET /models lists those that are served."
            )
        }
        var body = fields
        for name in ["model_name", "input_text", "estimated_runtime_seconds"] { body[name] = nil }
        body["model"] = .string(model)
        let operation = try operation(&body, fields, wanted.map { [$0] } ?? operations(model))
        let stream = fields["stream"] == .bool(true) && (operation == .chat || operation == .completions)
        body["stream"] = stream ? .bool(true) : nil
        // Page 001's stream ends with what it took.
        if stream, named == nil { body["stream_options"] = .object(["include_usage": .bool(true)]) }
        return ModelAsk(
            operation, model: model, fields: body, stream: stream, patience: patience)
    }

    /// Tensors, messages, or a text that a model of text, of vectors or of pictures takes in its own way.
    private static func operation(
        _ body: inout [String: JSONValue], _ fields: [String: JSONValue], _ known: Set<ModelRequest.Operation>
    ) throws -> ModelRequest.Operation {
        if fields["inputs"] != nil { return .infer }
        if fields["messages"] != nil { return .chat }
        guard let given = fields["input_text"] ?? fields["prompt"] ?? fields["input"] else {
            throw GatewayError(
                400, "invalid_body", "Say what to run: 'messages', 'input_text', 'prompt' or 'input', or 'inputs' for tensors.")
        }
        for name in ["prompt", "input"] { body[name] = nil }
        if known.isEmpty || known.contains(.chat) {
            guard case .string = given else { throw GatewayError(400, "invalid_body", "What a chat is given is a text.") }
            body["messages"] = .array([.object(["role": .string("user"), "content": given])])
            return .chat
        }
        if known.contains(.completions) {
            body["prompt"] = given
            return .completions
        }
        if known.contains(.images) {
            body["prompt"] = given
            return .images
        }
        body["input"] = given
        return .embeddings
    }
}

/// A chat's answer as `/run/model` gives it: the text, and what it took.
struct RunWhole: AnswerShape {
    let job: String
    let model: String
    private var body: [UInt8] = []

    init(job: String, model: String) {
        self.job = job
        self.model = model
    }

    mutating func translate(_ bytes: [UInt8]) -> [UInt8] {
        body += bytes
        return []
    }

    mutating func finish() throws -> [UInt8] {
        guard let answer = try? StrictJSON.parse(body, limit: Gateway.largestAnswer) else {
            throw GatewayError(502, "bad_answer", "The model's host answered with something that is no JSON.")
        }
        guard answer.members["error"] == nil else { return body }
        var out: [String: JSONValue] = [
            "job_id": .string(job), "model": .string(model), "status": .string("completed"), "result": answer,
        ]
        let choice = answer.members["choices"]?.elements.first?.members ?? [:]
        out["output"] = choice["message"]?.members["content"] ?? choice["text"]
        out["usage"] = answer.members["usage"]
        return CanonicalJSON.encode(.object(out))
    }

    func failure(_ error: GatewayError) -> [UInt8] { [] }
}

/// A chat's stream as events `{type: token, text}`, then `completed` or `failed`.
struct RunStream: AnswerShape {
    let job: String
    private var events = EventSplitter()
    private var usage: JSONValue?

    init(job: String) { self.job = job }

    mutating func translate(_ bytes: [UInt8]) throws -> [UInt8] {
        var out: [UInt8] = []
        for data in try events.feed(bytes) {
            guard let chunk = (try? StrictJSON.parse(data, limit: EventSplitter.largestEvent))?.members else { continue }
            if let error = chunk["error"]?.members {
                throw GatewayError(502, "engine_failed", error["message"]?.text ?? "The engine failed.")
            }
            if let usage = chunk["usage"], usage != .null { self.usage = usage }
            let choice = chunk["choices"]?.elements.first?.members ?? [:]
            guard let text = choice["delta"]?.members["content"]?.text ?? choice["text"]?.text, !text.isEmpty else { continue }
            out += RunStream.event(["type": .string("token"), "text": .string(text), "content": .string(text)])
        }
        return out
    }

    mutating func finish() -> [UInt8] {
        var fields: [String: JSONValue] = ["type": .string("completed"), "job_id": .string(job)]
        fields["usage"] = usage
        return RunStream.event(fields)
    }

    func failure(_ error: GatewayError) -> [UInt8] {
        RunStream.event([
            "type": .string("failed"), "job_id": .string(job), "error": .string(error.detail), "code": .string(error.code),
        ])
    }

    private static func event(_ fields: [String: JSONValue]) -> [UInt8] {
        Array("data: ".utf8) + CanonicalJSON.encode(.object(fields)) + [10, 10]
    }
}
