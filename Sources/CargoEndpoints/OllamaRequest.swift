internal import CargoArtifact
internal import CargoWire
internal import FoundationEssentials

/// A request in OpenAI's shape as Ollama's own API takes it (Ollama's docs/api.md).
///
/// What Ollama cannot do is refused by name; nothing that a client asked for is dropped without a word.
struct OllamaRequest {
    let path: String
    let body: [UInt8]

    init(_ asked: RequestBody, operation: ModelRequest.Operation, model: String) throws {
        var fields: [String: JSONValue] = ["model": .string(model)]
        let from = asked.fields
        switch operation {
        case .chat:
            path = "/api/chat"
            fields["messages"] = .array(try OllamaRequest.messages(from["messages"]))
            fields["tools"] = from["tool_choice"] == .string("none") ? nil : from["tools"]
            fields["format"] = try OllamaRequest.format(from["response_format"])
            fields["think"] = OllamaRequest.thinking(from)
        case .completions:
            path = "/api/generate"
            guard let prompt = OllamaRequest.onePrompt(from["prompt"]) else {
                throw ModelFailure(.badRequest, message: "Ollama completes one prompt of text at a time.")
            }
            fields["prompt"] = .string(prompt)
            fields["suffix"] = from["suffix"]
            // A prompt is completed as it stands; only Ollama's own template knows where a suffix goes.
            if from["suffix"] == nil { fields["raw"] = .bool(true) }
            try OllamaRequest.refuse(["echo", "best_of", "logprobs"], in: from)
        case .embeddings:
            path = "/api/embed"
            guard let input = from["input"], OllamaRequest.isText(input) else {
                throw ModelFailure(.badRequest, message: "Ollama embeds text: a string or a list of strings as 'input'.")
            }
            fields["input"] = input
            fields["dimensions"] = from["dimensions"]
            body = try encode(JSONValue.object(fields))
            return
        case .images, .infer:
            throw ModelFailure(
                .badRequest, message: "An Ollama server answers chats, completions and embeddings, no '\(operation.rawValue)'.")
        }
        if let n = from["n"], n != .integer(1) {
            throw ModelFailure(.badRequest, message: "Ollama gives one choice at a time; leave 'n' out.")
        }
        try OllamaRequest.refuse(["logit_bias", "logprobs", "top_logprobs", "functions"], in: from)
        let options = OllamaRequest.options(from)
        if !options.isEmpty { fields["options"] = .object(options) }
        fields["stream"] = .bool(asked.stream)
        body = try encode(JSONValue.object(fields))
    }

    private static func refuse(_ names: [String], in fields: [String: JSONValue]) throws(ModelFailure) {
        for name in names {
            switch fields[name] {
            case nil, .bool(false), .object([:]), .array([]), .integer(0): continue
            default: throw ModelFailure(.badRequest, message: "Ollama has no '\(name)'; leave it out.")
            }
        }
    }

    private static let sameNames = [
        "temperature", "top_p", "top_k", "min_p", "typical_p", "seed", "presence_penalty", "frequency_penalty",
        "repeat_penalty", "repeat_last_n", "mirostat", "mirostat_tau", "mirostat_eta",
    ]

    private static func options(_ from: [String: JSONValue]) -> [String: JSONValue] {
        var options: [String: JSONValue] = [:]
        for name in sameNames { options[name] = from[name] }
        options["num_predict"] = from["max_completion_tokens"] ?? from["max_tokens"]
        if case .string? = from["stop"] {
            options["stop"] = from["stop"].map { .array([$0]) }
        } else {
            options["stop"] = from["stop"]
        }
        return options
    }

    private static func thinking(_ from: [String: JSONValue]) -> JSONValue? {
        if case .object(let kwargs)? = from["chat_template_kwargs"], let wanted = kwargs["enable_thinking"] { return wanted }
        return from["reasoning_effort"] == .string("none") ? .bool(false) : nil
    }

    private static func format(_ wanted: JSONValue?) throws(ModelFailure) -> JSONValue? {
        guard case .object(let wanted)? = wanted else { return nil }
        switch wanted["type"] {
        case .string("json_object"): return .string("json")
        case .string("json_schema"):
            if case .object(let inner)? = wanted["json_schema"], let schema = inner["schema"] { return schema }
            throw ModelFailure(.badRequest, message: "'response_format.json_schema' needs a 'schema'.")
        case .string("text"), nil: return nil
        default: throw ModelFailure(.badRequest, message: "'response_format.type' is text, json_object or json_schema.")
        }
    }

    private static func onePrompt(_ value: JSONValue?) -> String? {
        switch value {
        case .string(let text): text
        case .array(let items) where items.count == 1: if case .string(let text) = items[0] { text } else { nil }
        default: nil
        }
    }

    private static func isText(_ value: JSONValue) -> Bool {
        switch value {
        case .string: true
        case .array(let items): items.allSatisfy { if case .string = $0 { true } else { false } }
        default: false
        }
    }

    // MARK: Messages

    private static func messages(_ value: JSONValue?) throws(ModelFailure) -> [JSONValue] {
        guard case .array(let items)? = value else { throw ModelFailure(.badRequest, message: "A chat needs 'messages'.") }
        var out: [JSONValue] = []
        // Ollama names the tool that a result is of, OpenAI the call.
        var calls: [JSONValue: JSONValue] = [:]
        for case .object(let message) in items {
            var translated: [String: JSONValue] = [
                "role": message["role"] == .string("developer") ? .string("system") : message["role"] ?? .string("user")
            ]
            let (text, images) = try content(message["content"])
            translated["content"] = .string(text)
            if !images.isEmpty { translated["images"] = .array(images) }
            if case .array(let asked)? = message["tool_calls"] {
                translated["tool_calls"] = .array(
                    try asked.map { call throws(ModelFailure) in try toolCall(call, names: &calls) })
            }
            if let id = message["tool_call_id"] { translated["tool_name"] = calls[id] }
            out.append(.object(translated))
        }
        return out
    }

    private static func content(_ value: JSONValue?) throws(ModelFailure) -> (text: String, images: [JSONValue]) {
        switch value {
        case .string(let text): return (text, [])
        case .array(let parts):
            var text = ""
            var images: [JSONValue] = []
            for case .object(let part) in parts {
                switch part["type"] {
                case .string("text"), .string("refusal"): if case .string(let piece)? = part["text"] { text += piece }
                case .string("image_url"):
                    var url = part["image_url"]
                    if case .object(let inner)? = url { url = inner["url"] }
                    guard case .string(let address)? = url, let mark = address.firstRange(of: ";base64,") else {
                        throw ModelFailure(.badRequest, message: "Images for an Ollama model are data: URLs in base64.")
                    }
                    images.append(.string(String(address[mark.upperBound...])))
                default: throw ModelFailure(.badRequest, message: "Ollama takes text and images in a message, nothing else.")
                }
            }
            return (text, images)
        default: return ("", [])
        }
    }

    private static func toolCall(_ call: JSONValue, names: inout [JSONValue: JSONValue]) throws(ModelFailure) -> JSONValue {
        guard case .object(let call) = call, case .object(var function)? = call["function"] else {
            throw ModelFailure(.badRequest, message: "Each of 'tool_calls' needs a 'function'.")
        }
        if case .string(let text)? = function["arguments"] {
            let parsed = try? StrictJSON.parse(Array((text.isEmpty ? "{}" : text).utf8), limit: RequestBody.limit)
            guard case .object? = parsed else {
                throw ModelFailure(.badRequest, message: "The arguments of a tool call are not a JSON object.")
            }
            function["arguments"] = parsed
        }
        if let id = call["id"], let name = function["name"] { names[id] = name }
        return .object(["function": .object(function)])
    }
}
