import CargoArtifact
import CargoWire

/// A chat's stream as Anthropic's events: a message begins, its blocks begin, grow and end one after the other, it ends.
struct AnthropicStream: AnswerShape {
    /// Which block of the message is being written.
    private enum Block: Equatable {
        case none
        case text
        /// The chat's index of the call.
        case call(Int64)
    }

    let id: String
    let model: String
    private var events = EventSplitter()
    private var begun = false
    private var block = Block.none
    private var index = -1
    private var stopReason = JSONValue.string("end_turn")
    private var usage: JSONValue?

    init(id: String, model: String) {
        self.id = id
        self.model = model
    }

    mutating func translate(_ bytes: [UInt8]) throws -> [UInt8] {
        var out: [UInt8] = []
        for data in try events.feed(bytes) {
            guard let chunk = (try? StrictJSON.parse(data, limit: EventSplitter.largestEvent))?.members else { continue }
            if let error = chunk["error"]?.members {
                throw GatewayError(502, "engine_failed", error["message"]?.text ?? "The engine failed.")
            }
            out += try take(chunk)
        }
        return out
    }

    private mutating func take(_ chunk: [String: JSONValue]) throws -> [UInt8] {
        var out = begin()
        if let usage = chunk["usage"], usage != .null { self.usage = usage }
        guard let choice = chunk["choices"]?.elements.first?.members else { return out }
        let delta = choice["delta"]?.members ?? [:]
        if let text = delta["content"]?.text, !text.isEmpty {
            out += open(.text, .object(["type": .string("text"), "text": .string("")]))
            out += grow(["type": .string("text_delta"), "text": .string(text)])
        }
        for call in delta["tool_calls"]?.elements ?? [] {
            let fields = call.members
            let function = fields["function"]?.members ?? [:]
            var number: Int64 = 0
            if case .integer(let index)? = fields["index"] { number = index }
            out += open(
                .call(number),
                .object([
                    "type": .string("tool_use"), "id": fields["id"] ?? .string("toolu_\(number)"),
                    "name": function["name"] ?? .string(""), "input": .object([:]),
                ]))
            if let part = function["arguments"]?.text, !part.isEmpty {
                out += grow(["type": .string("input_json_delta"), "partial_json": .string(part)])
            }
        }
        if let finish = choice["finish_reason"], finish != .null { stopReason = AnthropicMessage.stopReason(finish) }
        return out
    }

    mutating func finish() -> [UInt8] {
        var out = begin() + close()
        out += event(
            "message_delta",
            [
                "delta": .object(["stop_reason": stopReason, "stop_sequence": .null]),
                "usage": .object(AnthropicMessage.usage(usage)),
            ])
        return out + event("message_stop", [:])
    }

    func failure(_ error: GatewayError) -> [UInt8] {
        Array("event: error\ndata: ".utf8) + CanonicalJSON.encode(AnthropicError.body(error.status, error.detail)) + [10, 10]
    }

    private mutating func begin() -> [UInt8] {
        guard !begun else { return [] }
        begun = true
        var message = AnthropicMessage.start(id: id, model: model)
        // The prompt's size is known once the engine says it, at the end.
        message["usage"] = .object(["input_tokens": .integer(0), "output_tokens": .integer(0)])
        return event("message_start", ["message": .object(message)])
    }

    private mutating func open(_ wanted: Block, _ content: JSONValue) -> [UInt8] {
        guard block != wanted else { return [] }
        let out = close()
        block = wanted
        index += 1
        return out + event("content_block_start", ["index": .integer(Int64(index)), "content_block": content])
    }

    private func grow(_ delta: [String: JSONValue]) -> [UInt8] {
        event("content_block_delta", ["index": .integer(Int64(index)), "delta": .object(delta)])
    }

    private mutating func close() -> [UInt8] {
        guard block != .none else { return [] }
        block = .none
        return event("content_block_stop", ["index": .integer(Int64(index))])
    }

    private func event(_ type: String, _ fields: [String: JSONValue]) -> [UInt8] {
        var fields = fields
        fields["type"] = .string(type)
        return Array("event: \(type)\ndata: ".utf8) + CanonicalJSON.encode(.object(fields)) + [10, 10]
    }
}

/// Cuts a stream of server-sent events (WHATWG HTML, section 9.2) into the data of each, wherever its pieces break.
struct EventSplitter {
    /// Bytes of one event at most.
    static let largestEvent = 8 << 20

    private var line: [UInt8] = []
    private var data: [UInt8] = []

    /// The data of the events that are complete now; `[DONE]` is none.
    mutating func feed(_ bytes: [UInt8]) throws -> [[UInt8]] {
        var complete: [[UInt8]] = []
        for byte in bytes {
            guard byte == 10 else {
                line.append(byte)
                guard line.count + data.count <= EventSplitter.largestEvent else {
                    throw GatewayError(502, "bad_answer", "The model's host sent an event without an end.")
                }
                continue
            }
            if line.last == 13 { line.removeLast() }
            if line.isEmpty {
                if !data.isEmpty, data != Array("[DONE]".utf8) { complete.append(data) }
                data = []
            } else if line.starts(with: Array("data:".utf8)) {
                let value = line.dropFirst(5)
                if !data.isEmpty { data.append(10) }
                data += value.first == 32 ? value.dropFirst() : value
            }
            line = []
        }
        return complete
    }
}
