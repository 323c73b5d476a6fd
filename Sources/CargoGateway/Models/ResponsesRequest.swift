import CargoArtifact
import CargoWire

/// A request of OpenAI's Responses API as the chat that it means. Nothing is kept between two of them: what would need that
/// is refused by its name.
struct ResponsesRequest: Sendable {
    var ask: ModelAsk
    /// Fields that the answer repeats.
    var echo: [String: JSONValue]

    /// What the answer says of a field that the request leaves out.
    private static let defaults: [String: JSONValue] = [
        "instructions": .null, "max_output_tokens": .null, "metadata": .object([:]), "parallel_tool_calls": .bool(true),
        "temperature": .integer(1), "text": .object(["format": .object(["type": .string("text")])]),
        "tool_choice": .string("auto"), "tools": .array([]), "top_p": .integer(1), "user": .null,
    ]

    /// Features that stand on stored answers or on tools that the server itself would run.
    private static let refused: [(field: String, sentence: String)] = [
        ("previous_response_id", "no answer is stored here: send the turns before as items of 'input'"),
        ("conversation", "no conversation is stored here: send the turns before as items of 'input'"),
        ("prompt", "no prompts are stored here: send 'instructions' and 'input'"),
        ("context_management", "the whole input is the model's"),
    ]

    init(_ bytes: [UInt8], patience: Double) throws {
        let fields = try ModelAsk.fields(bytes)
        guard case .string(let model)? = fields["model"], !model.isEmpty, model.utf8.count <= 256 else {
            throw ResponsesRequest.refusal("The field 'model' names the model; GET /v1/models lists those that are served.")
        }
        for (field, sentence) in ResponsesRequest.refused where fields[field] != nil && fields[field] != .null {
            throw GatewayError(400, "unsupported_parameter", "'\(field)' is not taken: \(sentence).")
        }
        for (field, sentence) in [
            ("store", "answers are not stored here; leave it out or send false"),
            ("background", "an answer comes on its own connection; POST /jobs queues a request without one"),
        ] where fields[field] == .bool(true) {
            throw GatewayError(400, "unsupported_parameter", "'\(field)' is not taken: \(sentence).")
        }
        let stream = fields["stream"] == .bool(true)
        ask = ModelAsk(
            .chat, model: model, fields: try ResponsesRequest.chat(fields, model, stream), stream: stream, patience: patience)
        echo = ResponsesRequest.defaults.merging(fields.filter { ResponsesRequest.defaults[$0.key] != nil }) { mine, given in
            given == .null ? mine : given
        }
        echo["model"] = .string(model)
    }

    private static func chat(_ fields: [String: JSONValue], _ model: String, _ stream: Bool) throws -> [String: JSONValue] {
        var chat: [String: JSONValue] = ["model": .string(model)]
        var messages: [JSONValue] = []
        if case .string(let text)? = fields["instructions"] { messages.append(message("system", .string(text))) }
        switch fields["input"] {
        case .string(let text)?: messages.append(message("user", .string(text)))
        case .array(let items)?:
            guard !items.isEmpty else { throw refusal("'input' has at least one item.") }
            for (index, item) in items.enumerated() { try add(item, to: &messages, "input[\(index)]") }
        default: throw refusal("The field 'input' is a text or a list of items.")
        }
        chat["messages"] = .array(messages)
        for name in ["temperature", "top_p", "parallel_tool_calls", "user", "metadata", "top_logprobs"] {
            if let value = fields[name], value != .null { chat[name] = value }
        }
        if let most = fields["max_output_tokens"], most != .null { chat["max_tokens"] = most }
        if case .object(let reasoning)? = fields["reasoning"], let effort = reasoning["effort"], effort != .null {
            chat["reasoning_effort"] = effort
        }
        if case .object(let text)? = fields["text"], case .object(let format)? = text["format"] {
            if let shape = try responseFormat(format) { chat["response_format"] = shape }
        }
        if case .array(let tools)? = fields["tools"], !tools.isEmpty { chat["tools"] = .array(try tools.map(tool)) }
        if let choice = fields["tool_choice"], choice != .null, chat["tools"] != nil {
            chat["tool_choice"] = try toolChoice(choice)
        }
        if stream {
            chat["stream"] = .bool(true)
            chat["stream_options"] = .object(["include_usage": .bool(true)])
        }
        return chat
    }

    private static func message(_ role: String, _ content: JSONValue) -> JSONValue {
        .object(["role": .string(role), "content": content])
    }

    /// One item is one message; calls in a row are one message's calls.
    private static func add(_ item: JSONValue, to messages: inout [JSONValue], _ place: String) throws {
        let fields = item.members
        switch fields["type"]?.text ?? "message" {
        case "message":
            guard let role = fields["role"]?.text, ["user", "assistant", "system", "developer"].contains(role) else {
                throw refusal("\(place).role is user, assistant, system or developer.")
            }
            guard let content = fields["content"] else { throw refusal("\(place).content is required.") }
            messages.append(message(role == "developer" ? "system" : role, try parts(content, place)))
        case "function_call":
            let call: JSONValue = .object([
                "id": .string(try string(fields, "call_id", place)), "type": .string("function"),
                "function": .object([
                    "name": .string(try string(fields, "name", place)),
                    "arguments": .string(try string(fields, "arguments", place)),
                ]),
            ])
            var last = messages.last?.members ?? [:]
            if last["role"] == .string("assistant"), case .array(let calls)? = last["tool_calls"] {
                last["tool_calls"] = .array(calls + [call])
                messages[messages.count - 1] = .object(last)
            } else {
                messages.append(
                    .object(["role": .string("assistant"), "content": .null, "tool_calls": .array([call])]))
            }
        case "function_call_output":
            guard let output = fields["output"] else { throw refusal("\(place).output is required.") }
            messages.append(
                .object([
                    "role": .string("tool"), "tool_call_id": .string(try string(fields, "call_id", place)),
                    "content": try parts(output, place),
                ]))
        // What an answer thought is not asked of the next one.
        case "reasoning": return
        case let type: throw refusal("\(place).type: items of type '\(type.prefix(64))' are not taken here.")
        }
    }

    /// A text, or a chat's parts. Media travel inside the request, never by address (docs/rules.md 20).
    private static func parts(_ content: JSONValue, _ place: String) throws -> JSONValue {
        guard case .array(let blocks) = content else {
            guard case .string = content else { throw refusal("\(place): the content is a text or a list of parts.") }
            return content
        }
        let parts = try blocks.map { block -> JSONValue in
            let fields = block.members
            switch fields["type"]?.text {
            case "input_text", "output_text", "text":
                return .object(["type": .string("text"), "text": .string(try string(fields, "text", place))])
            case "refusal": return .object(["type": .string("text"), "text": .string(try string(fields, "refusal", place))])
            case "input_image":
                guard let url = fields["image_url"]?.text, url.hasPrefix("data:image/") else {
                    throw refusal(
                        "\(place): send an image itself, as 'data:image/…;base64,…'; addresses and files are not fetched.")
                }
                return .object(["type": .string("image_url"), "image_url": .object(["url": .string(url)])])
            default:
                throw refusal("\(place): parts of type '\((fields["type"]?.text ?? "").prefix(64))' are not taken here.")
            }
        }
        // Many templates know only text: a lone text stays one.
        if parts.count == 1, let text = parts[0].members["text"] { return text }
        return .array(parts)
    }

    private static func responseFormat(_ format: [String: JSONValue]) throws -> JSONValue? {
        switch format["type"]?.text {
        case nil, "text"?: return nil
        case "json_object"?: return .object(["type": .string("json_object")])
        case "json_schema"?:
            var schema = format
            schema["type"] = nil
            return .object(["type": .string("json_schema"), "json_schema": .object(schema)])
        default: throw refusal("'text.format.type' is text, json_object or json_schema.")
        }
    }

    private static func tool(_ tool: JSONValue) throws -> JSONValue {
        var function = tool.members
        guard function.removeValue(forKey: "type") == .string("function") else {
            throw GatewayError(
                400, "unsupported_parameter", "'tools': only tools of type function are taken; no server runs the others here.")
        }
        return .object(["type": .string("function"), "function": .object(function)])
    }

    private static func toolChoice(_ choice: JSONValue) throws -> JSONValue {
        if case .string = choice { return choice }
        guard choice.members["type"] == .string("function"), let name = choice.members["name"] else {
            throw refusal("'tool_choice' is auto, none, required, or a function's name.")
        }
        return .object(["type": .string("function"), "function": .object(["name": name])])
    }

    private static func string(_ fields: [String: JSONValue], _ name: String, _ place: String) throws -> String {
        guard let value = fields[name]?.text else { throw refusal("\(place).\(name): a text is required.") }
        return value
    }

    private static func refusal(_ sentence: String) -> GatewayError { GatewayError(400, "invalid_body", sentence) }
}
