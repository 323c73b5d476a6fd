import CargoArtifact
import CargoWire

/// A request of Anthropic's Messages API as the chat that it means (docs: Messages, Tool use, Vision).
enum AnthropicRequest {
    /// - Parameter counting: only the prompt's tokens are wanted.
    static func ask(_ bytes: [UInt8], counting: Bool = false, patience: Double) throws -> ModelAsk {
        let fields = try ModelAsk.fields(bytes)
        guard case .string(let model)? = fields["model"], !model.isEmpty, model.utf8.count <= 256 else {
            throw refusal("model: the field names the model; GET /v1/models lists those that are served.")
        }
        var stream = false
        if case .bool(true)? = fields["stream"], !counting { stream = true }
        return ModelAsk(
            .chat, model: model, fields: try chat(fields, model, stream, counting), stream: stream, patience: patience)
    }

    private static func chat(
        _ fields: [String: JSONValue], _ model: String, _ stream: Bool, _ counting: Bool
    ) throws -> [String: JSONValue] {
        var chat: [String: JSONValue] = ["model": .string(model)]
        var messages: [JSONValue] = []
        if let system = fields["system"] {
            messages.append(.object(["role": .string("system"), "content": .string(try text(of: system, "system"))]))
        }
        guard case .array(let turns)? = fields["messages"], !turns.isEmpty else {
            throw refusal("messages: at least one message is required.")
        }
        for (index, turn) in turns.enumerated() { messages += try turnMessages(turn, "messages.\(index)") }
        chat["messages"] = .array(messages)
        if counting {
            chat["max_tokens"] = .integer(1)
        } else {
            guard case .integer(let most)? = fields["max_tokens"], most > 0 else {
                throw refusal("max_tokens: the most tokens to answer with, at least 1, is required.")
            }
            chat["max_tokens"] = .integer(most)
        }
        for name in ["temperature", "top_p", "top_k"] { chat[name] = fields[name] }
        if let stops = fields["stop_sequences"] { chat["stop"] = stops }
        if stream {
            chat["stream"] = .bool(true)
            chat["stream_options"] = .object(["include_usage": .bool(true)])
        }
        if case .array(let tools)? = fields["tools"], !tools.isEmpty { chat["tools"] = .array(try tools.map(tool)) }
        if let choice = fields["tool_choice"] {
            let (value, alone) = try toolChoice(choice)
            chat["tool_choice"] = value
            if alone { chat["parallel_tool_calls"] = .bool(false) }
        }
        if case .object(let metadata)? = fields["metadata"] { chat["user"] = metadata["user_id"] }
        return chat
    }

    /// One turn is one message, or several: results of tools are messages of their own in a chat.
    private static func turnMessages(_ turn: JSONValue, _ place: String) throws -> [JSONValue] {
        guard case .object(let fields) = turn, case .string(let role)? = fields["role"], role == "user" || role == "assistant"
        else { throw refusal("\(place).role: the role is user or assistant.") }
        guard let content = fields["content"] else { throw refusal("\(place).content: the content is required.") }
        guard case .array(let blocks) = content else {
            return [.object(["role": .string(role), "content": .string(try text(of: content, "\(place).content"))])]
        }
        var messages: [JSONValue] = []
        var parts: [JSONValue] = []
        var calls: [JSONValue] = []
        for (index, block) in blocks.enumerated() {
            let place = "\(place).content.\(index)"
            guard case .object(let fields) = block, case .string(let type)? = fields["type"] else {
                throw refusal("\(place).type: a block has a type.")
            }
            switch type {
            case "text": parts.append(.object(["type": .string("text"), "text": .string(try string(fields, "text", place))]))
            case "image": parts.append(try image(fields["source"], place))
            case "tool_use":
                calls.append(
                    .object([
                        "id": .string(try string(fields, "id", place)), "type": .string("function"),
                        "function": .object([
                            "name": .string(try string(fields, "name", place)),
                            "arguments": .string(
                                String(decoding: CanonicalJSON.encode(fields["input"] ?? .object([:])), as: UTF8.self)),
                        ]),
                    ]))
            case "tool_result":
                let result = try fields["content"].map { try text(of: $0, place + ".content") } ?? ""
                messages.append(
                    .object([
                        "role": .string("tool"), "tool_call_id": .string(try string(fields, "tool_use_id", place)),
                        "content": .string(result),
                    ]))
            // What an answer thought is not asked of the next one.
            case "thinking", "redacted_thinking": continue
            default: throw refusal("\(place).type: blocks of type '\(type.prefix(64))' are not taken here.")
            }
        }
        guard !parts.isEmpty || !calls.isEmpty else { return messages }
        var message: [String: JSONValue] = ["role": .string(role)]
        // Many templates know only text: a lone text stays one.
        if parts.count == 1, case .object(let only) = parts[0], let text = only["text"] {
            message["content"] = text
        } else {
            message["content"] = parts.isEmpty ? .null : .array(parts)
        }
        if !calls.isEmpty { message["tool_calls"] = .array(calls) }
        return messages + [.object(message)]
    }

    /// Media travel inside the request, never by address (docs/rules.md 20).
    private static func image(_ source: JSONValue?, _ place: String) throws -> JSONValue {
        guard case .object(let fields)? = source, case .string("base64")? = fields["type"] else {
            throw refusal("\(place).source: send the image itself, as base64; addresses are not fetched.")
        }
        let type = try string(fields, "media_type", place)
        guard type.hasPrefix("image/"), type.utf8.count < 64 else {
            throw refusal("\(place).source.media_type: an image's type.")
        }
        let url = "data:\(type);base64,\(try string(fields, "data", place))"
        return .object(["type": .string("image_url"), "image_url": .object(["url": .string(url)])])
    }

    private static func tool(_ tool: JSONValue) throws -> JSONValue {
        guard case .object(let fields) = tool else { throw refusal("tools: each tool is an object.") }
        // The others are run by Anthropic, or known to its models alone.
        if let type = fields["type"]?.text, type != "custom" {
            throw refusal("tools.type: '\(type.prefix(64))' is not offered here; name, description and input_schema make a tool.")
        }
        var function: [String: JSONValue] = ["name": .string(try string(fields, "name", "tools"))]
        function["description"] = fields["description"]
        function["parameters"] = fields["input_schema"]
        return .object(["type": .string("function"), "function": .object(function)])
    }

    private static func toolChoice(_ choice: JSONValue) throws -> (JSONValue, alone: Bool) {
        guard case .object(let fields) = choice, case .string(let type)? = fields["type"] else {
            throw refusal("tool_choice.type: auto, any, tool or none.")
        }
        let alone = fields["disable_parallel_tool_use"] == .bool(true)
        switch type {
        case "auto", "none": return (.string(type), alone)
        case "any": return (.string("required"), alone)
        case "tool":
            let name = JSONValue.string(try string(fields, "name", "tool_choice"))
            return (.object(["type": .string("function"), "function": .object(["name": name])]), alone)
        default: throw refusal("tool_choice.type: auto, any, tool or none.")
        }
    }

    /// A text, or the texts of blocks in a row.
    private static func text(of value: JSONValue, _ place: String) throws -> String {
        switch value {
        case .string(let text): return text
        case .array(let blocks):
            return try blocks.map { block in
                guard case .object(let fields) = block, fields["type"] == .string("text") else {
                    throw refusal("\(place): only text is taken here.")
                }
                return try string(fields, "text", place)
            }.joined(separator: "\n")
        default: throw refusal("\(place): a text, or a list of text blocks.")
        }
    }

    private static func string(_ fields: [String: JSONValue], _ name: String, _ place: String) throws -> String {
        guard case .string(let value)? = fields[name] else { throw refusal("\(place).\(name): a text is required.") }
        return value
    }

    private static func refusal(_ sentence: String) -> GatewayError { GatewayError(400, "invalid_body", sentence) }
}
