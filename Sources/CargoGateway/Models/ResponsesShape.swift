import CargoArtifact
import CargoWire

/// What is alike in a whole response and in a stream of its events.
struct ResponseDraft: Sendable {
    let id: String
    let created: Int64
    let echo: [String: JSONValue]

    /// Names of items follow from the response's own.
    func item(_ prefix: String, _ number: Int) -> String { "\(prefix)_\(id.dropFirst(5))\(number)" }

    func response(
        status: String, output: [JSONValue] = [], usage: JSONValue? = nil, error: JSONValue = .null, reason: String? = nil
    ) -> JSONValue {
        var fields = echo
        fields["id"] = .string(id)
        fields["object"] = .string("response")
        fields["created_at"] = .integer(created)
        fields["status"] = .string(status)
        fields["output"] = .array(output)
        fields["usage"] = usage.map(ResponseDraft.usage) ?? .null
        fields["error"] = error
        fields["incomplete_details"] = reason.map { .object(["reason": .string($0)]) } ?? .null
        for name in ["previous_response_id", "service_tier"] { fields[name] = .null }
        (fields["store"], fields["background"]) = (.bool(false), .bool(false))
        fields["truncation"] = .string("disabled")
        fields["reasoning"] = .object(["effort": .null, "summary": .null])
        return .object(fields)
    }

    /// Of a prompt's tokens no part is said to have been cached.
    private static func usage(_ usage: JSONValue) -> JSONValue {
        let fields = usage.members
        func count(_ name: String) -> Int64 { if case .integer(let count)? = fields[name] { count } else { 0 } }
        let (input, output) = (count("prompt_tokens"), count("completion_tokens"))
        return .object([
            "input_tokens": .integer(input), "input_tokens_details": .object(["cached_tokens": .integer(0)]),
            "output_tokens": .integer(output), "output_tokens_details": .object(["reasoning_tokens": .integer(0)]),
            "total_tokens": .integer(input + output),
        ])
    }

    static func message(_ id: String, _ text: String?, status: String) -> JSONValue {
        .object([
            "id": .string(id), "type": .string("message"), "role": .string("assistant"), "status": .string(status),
            "content": .array(text.map { [part($0)] } ?? []),
        ])
    }

    static func part(_ text: String) -> JSONValue {
        .object([
            "type": .string("output_text"), "text": .string(text), "annotations": .array([]), "logprobs": .array([]),
        ])
    }

    static func call(_ id: String, _ call: String, _ name: String, _ arguments: String, status: String) -> JSONValue {
        .object([
            "id": .string(id), "type": .string("function_call"), "call_id": .string(call), "name": .string(name),
            "arguments": .string(arguments), "status": .string(status),
        ])
    }

    /// Why an answer that ended is not whole.
    static func reason(_ finish: JSONValue?) -> String? {
        switch finish?.text {
        case "length"?: "max_output_tokens"
        case "content_filter"?: "content_filter"
        default: nil
        }
    }
}

/// A chat's whole answer as one response.
struct ResponsesWhole: AnswerShape {
    let draft: ResponseDraft
    private var body: [UInt8] = []

    init(_ draft: ResponseDraft) { self.draft = draft }

    mutating func translate(_ bytes: [UInt8]) -> [UInt8] {
        body += bytes
        return []
    }

    mutating func finish() throws -> [UInt8] {
        guard let answer = (try? StrictJSON.parse(body, limit: Gateway.largestAnswer))?.members else {
            throw GatewayError(502, "bad_answer", "The model's host answered with something that is no chat.")
        }
        // What an engine refused is said in OpenAI's shape already.
        guard answer["error"] == nil else { return body }
        let choice = answer["choices"]?.elements.first?.members ?? [:]
        let said = choice["message"]?.members ?? [:]
        let reason = ResponseDraft.reason(choice["finish_reason"])
        let status = reason == nil ? "completed" : "incomplete"
        var output: [JSONValue] = []
        if let text = said["content"]?.text, !text.isEmpty {
            output.append(ResponseDraft.message(draft.item("msg", 0), text, status: status))
        }
        for call in said["tool_calls"]?.elements ?? [] {
            let function = call.members["function"]?.members ?? [:]
            output.append(
                ResponseDraft.call(
                    draft.item("fc", output.count), call.members["id"]?.text ?? "call_\(output.count)",
                    function["name"]?.text ?? "", function["arguments"]?.text ?? "{}", status: "completed"))
        }
        return CanonicalJSON.encode(draft.response(status: status, output: output, usage: answer["usage"], reason: reason))
    }

    func failure(_ error: GatewayError) -> [UInt8] { [] }
}

/// A chat's stream as the events of a response: it is created, its items begin, grow and end one after the other, it ends.
struct ResponsesStream: AnswerShape {
    private enum Item: Equatable {
        case none
        case text
        /// The chat's index of the call.
        case call(Int64)
    }

    let draft: ResponseDraft
    private var events = EventSplitter()
    private var number: Int64 = 0
    private var begun = false
    private var item = Item.none
    /// The items that have ended.
    private var output: [JSONValue] = []
    private var text = ""
    private var call = (id: "", name: "")
    private var usage: JSONValue?
    private var reason: String?

    init(_ draft: ResponseDraft) { self.draft = draft }

    mutating func translate(_ bytes: [UInt8]) throws -> [UInt8] {
        var out: [UInt8] = []
        for data in try events.feed(bytes) {
            guard let chunk = (try? StrictJSON.parse(data, limit: EventSplitter.largestEvent))?.members else { continue }
            if let error = chunk["error"]?.members {
                throw GatewayError(502, "engine_failed", error["message"]?.text ?? "The engine failed.")
            }
            out += take(chunk)
        }
        return out
    }

    private mutating func take(_ chunk: [String: JSONValue]) -> [UInt8] {
        var out = begin()
        if let usage = chunk["usage"], usage != .null { self.usage = usage }
        guard let choice = chunk["choices"]?.elements.first?.members else { return out }
        let delta = choice["delta"]?.members ?? [:]
        if let piece = delta["content"]?.text, !piece.isEmpty {
            out += openText()
            text += piece
            out += event("response.output_text.delta", place.merging(["delta": .string(piece), "logprobs": .array([])]) { $1 })
        }
        for fields in (delta["tool_calls"]?.elements ?? []).map(\.members) {
            var index: Int64 = 0
            if case .integer(let given)? = fields["index"] { index = given }
            let function = fields["function"]?.members ?? [:]
            out += openCall(index, fields["id"]?.text, function["name"]?.text)
            if let piece = function["arguments"]?.text, !piece.isEmpty {
                text += piece
                out += event("response.function_call_arguments.delta", place.merging(["delta": .string(piece)]) { $1 })
            }
        }
        if let finish = choice["finish_reason"], finish != .null { reason = ResponseDraft.reason(finish) }
        return out
    }

    mutating func finish() -> [UInt8] {
        var out = begin()
        out += close(status: reason == nil ? "completed" : "incomplete")
        let status = reason == nil ? "completed" : "incomplete"
        let response = draft.response(status: status, output: output, usage: usage, reason: reason)
        return out + event("response.\(status)", ["response": response])
    }

    func failure(_ error: GatewayError) -> [UInt8] {
        var copy = self
        let begin = copy.begin()
        let sentence: JSONValue = .object(["code": .string(error.code), "message": .string(error.detail)])
        return begin
            + copy.event("response.failed", ["response": draft.response(status: "failed", output: output, error: sentence)])
    }

    private mutating func begin() -> [UInt8] {
        guard !begun else { return [] }
        begun = true
        let response = draft.response(status: "in_progress")
        return event("response.created", ["response": response]) + event("response.in_progress", ["response": response])
    }

    /// Where the item that is being written stands.
    private var place: [String: JSONValue] {
        var place: [String: JSONValue] = ["item_id": .string(itemID), "output_index": .integer(Int64(output.count))]
        if item == .text { place["content_index"] = .integer(0) }
        return place
    }

    private var itemID: String { draft.item(item == .text ? "msg" : "fc", output.count) }

    private mutating func openText() -> [UInt8] {
        guard item != .text else { return [] }
        var out = close(status: "completed")
        item = .text
        out += added(ResponseDraft.message(itemID, nil, status: "in_progress"))
        return out + event("response.content_part.added", place.merging(["part": ResponseDraft.part("")]) { $1 })
    }

    private mutating func openCall(_ index: Int64, _ id: String?, _ name: String?) -> [UInt8] {
        guard item != .call(index) else { return [] }
        let out = close(status: "completed")
        item = .call(index)
        call = (id ?? "call_\(output.count)", name ?? "")
        return out + added(ResponseDraft.call(itemID, call.id, call.name, "", status: "in_progress"))
    }

    private mutating func added(_ item: JSONValue) -> [UInt8] {
        event("response.output_item.added", ["output_index": .integer(Int64(output.count)), "item": item])
    }

    private mutating func close(status: String) -> [UInt8] {
        var out: [UInt8] = []
        let done: JSONValue
        switch item {
        case .none: return []
        case .text:
            out += event("response.output_text.done", place.merging(["text": .string(text), "logprobs": .array([])]) { $1 })
            out += event("response.content_part.done", place.merging(["part": ResponseDraft.part(text)]) { $1 })
            done = ResponseDraft.message(itemID, text, status: status)
        case .call:
            out += event(
                "response.function_call_arguments.done",
                place.merging(["arguments": .string(text), "name": .string(call.name)]) { $1 })
            done = ResponseDraft.call(itemID, call.id, call.name, text, status: "completed")
        }
        out += event("response.output_item.done", ["output_index": .integer(Int64(output.count)), "item": done])
        output.append(done)
        (item, text) = (.none, "")
        return out
    }

    private mutating func event(_ type: String, _ fields: [String: JSONValue]) -> [UInt8] {
        var fields = fields
        fields["type"] = .string(type)
        fields["sequence_number"] = .integer(number)
        number += 1
        return Array("event: \(type)\ndata: ".utf8) + CanonicalJSON.encode(.object(fields)) + [10, 10]
    }
}
