internal import CargoArtifact
internal import CargoWire
internal import FoundationEssentials

/// One JSON object of an answer in OpenAI's shape: the whole of it, or one event of a stream.
///
/// It is read to know that it is JSON, what it took and whether it is an error, and goes on as it came, unless it says what no
/// client may know: what was cached (docs/rules.md 21).
struct OpenAIAnswer {
    /// Empty for an event that the client did not ask for.
    let bytes: [UInt8]
    let usage: ModelUsage?

    /// Whose name an answer carries: the client's own where the server says its own.
    struct Names: Sendable {
        /// As the server names the model.
        var own: String
        /// As the client asked for it.
        var asked: String
    }

    private struct Facts: Decodable {
        struct Anything: Decodable {
            init(from decoder: any Decoder) {}
        }
        var usage: ModelUsage?
        var error: ServerError?
        var choices: [Anything]?
        var timings: Anything?
        var model: String?
        /// As the Open Inference Protocol says it.
        var modelName: String?
        enum CodingKeys: String, CodingKey {
            case usage, error, choices, timings, model
            case modelName = "model_name"
        }
    }

    /// The whole body of an answer that is not streamed.
    init(whole: [UInt8], names: Names? = nil) throws(ModelFailure) {
        let facts = try OpenAIAnswer.facts(whole)
        usage = facts.usage
        bytes = OpenAIAnswer.named(try OpenAIAnswer.withoutSecrets(whole, facts), facts, names)
    }

    /// The data of one event.
    init(event: [UInt8], wantsUsage: Bool, names: Names? = nil) throws(ModelFailure) {
        if let plain = OpenAIAnswer.plain(event, names) {
            (bytes, usage) = (plain, nil)
            return
        }
        let facts = try OpenAIAnswer.facts(event)
        usage = facts.usage
        // The event that carries nothing but usage: asked for by us, not always by the client.
        if facts.usage != nil, facts.choices?.isEmpty == true, !wantsUsage {
            bytes = []
        } else {
            bytes = OpenAIAnswer.named(try OpenAIAnswer.withoutSecrets(event, facts), facts, names)
        }
    }

    /// The event as it goes on when it says nothing beyond its choices, as nearly all do; nil when it has to be read.
    private static func plain(_ event: [UInt8], _ names: Names?) -> [UInt8]? {
        guard event.allSatisfy({ $0 < 0x80 }) || String(validating: event, as: UTF8.self) != nil,
            let outline = event.withUnsafeBufferPointer({ JSONOutline($0) })
        else { return nil }
        var model: Range<Int>?
        for (name, value) in outline.members {
            let name = event[name].dropFirst().dropLast()
            if name.contains(UInt8(ascii: "\\")) { return nil }
            let says = !event[value].elementsEqual("null".utf8)
            if says, ["usage", "error", "timings"].contains(where: { name.elementsEqual($0.utf8) }) { return nil }
            if name.elementsEqual("model_name".utf8) { return nil }
            if name.elementsEqual("model".utf8) { model = value }
        }
        guard let names, names.own != names.asked, let model else { return event }
        let said = event[model].dropFirst().dropLast()
        if said.contains(UInt8(ascii: "\\")) { return nil }
        guard said.elementsEqual(names.own.utf8) else { return event }
        guard let asked = try? encode(JSONValue.string(names.asked)) else { return nil }
        return Array(event[..<model.lowerBound]) + asked + Array(event[model.upperBound...])
    }

    private static func facts(_ bytes: [UInt8]) throws(ModelFailure) -> Facts {
        // The decoder looks at no string that it does not need.
        guard String(validating: bytes, as: UTF8.self) != nil,
            let facts = try? JSONDecoder().decode(Facts.self, from: Data(bytes))
        else {
            throw ModelFailure(.badAnswer, message: "The model server's answer is not a JSON object in OpenAI's shape.")
        }
        if let error = facts.error {
            throw ModelFailure(.failed, message: "The model server failed: \(error.message.prefix(500))", retryable: true)
        }
        return facts
    }

    /// The answer under the name that was asked for; only where the server says its own, and at the one place where it does.
    private static func named(_ bytes: [UInt8], _ facts: Facts, _ names: Names?) -> [UInt8] {
        guard let names, names.own != names.asked, facts.model == names.own || facts.modelName == names.own,
            let place = memberValue(facts.model == nil ? "model_name" : "model", in: bytes),
            let asked = try? encode(JSONValue.string(names.asked))
        else { return bytes }
        return Array(bytes[..<place.lowerBound]) + asked + Array(bytes[place.upperBound...])
    }

    /// Where the text stands that is the outermost object's member of this name, quotes included; nil where there is none.
    private static func memberValue(_ name: String, in bytes: [UInt8]) -> Range<Int>? {
        var depth = 0
        var index = 0
        var key: Range<Int>?
        while index < bytes.count {
            switch bytes[index] {
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
            case UInt8(ascii: ","): key = nil
            case UInt8(ascii: "\""):
                let begin = index
                index += 1
                while index < bytes.count, bytes[index] != UInt8(ascii: "\"") {
                    index += bytes[index] == UInt8(ascii: "\\") ? 2 : 1
                }
                guard index < bytes.count else { return nil }
                guard depth == 1 else { break }
                if let known = key {
                    if bytes[known].dropFirst().dropLast().elementsEqual(name.utf8) { return begin..<index + 1 }
                } else {
                    key = begin..<index + 1
                }
            default: break
            }
            index += 1
        }
        return nil
    }

    private static func withoutSecrets(_ bytes: [UInt8], _ facts: Facts) throws(ModelFailure) -> [UInt8] {
        guard facts.usage != nil || facts.timings != nil else { return bytes }
        guard facts.timings != nil || bytes.firstRange(of: Array("prompt_tokens_details".utf8)) != nil else { return bytes }
        do {
            guard case .object(var object) = try StrictJSON.parse(bytes, limit: bytes.count) else { return bytes }
            object["timings"] = nil
            if case .object(var usage)? = object["usage"] {
                usage["prompt_tokens_details"] = nil
                object["usage"] = .object(usage)
            }
            return try encode(JSONValue.object(object))
        } catch {
            throw ModelFailure(.badAnswer, message: "The model server's answer is not clean JSON.")
        }
    }
}

/// What a server says of its failure: OpenAI's `{"error": {"message"}}` or a plain text under `error`.
struct ServerError: Decodable {
    var message: String
    var type: String?

    private enum CodingKeys: String, CodingKey { case message, type }

    init(from decoder: any Decoder) throws {
        if let text = try? decoder.singleValueContainer().decode(String.self) {
            message = text
            return
        }
        let container = try decoder.container(keyedBy: CodingKeys.self)
        message = (try? container.decode(String.self, forKey: .message)) ?? "it gave no reason"
        type = try? container.decode(String.self, forKey: .type)
    }
}

extension ModelServer {
    /// What a status other than 2xx is to the client.
    static func failure(status: Int, said: [UInt8], model: String) -> ModelFailure {
        struct Told: Decodable {
            var error: ServerError?
            var message: String?
            var detail: String?
        }
        let told = try? JSONDecoder().decode(Told.self, from: Data(said))
        let reason = String((told?.error?.message ?? told?.message ?? told?.detail ?? "it answered \(status)").prefix(500))
        switch status {
        case 400, 413, 422:
            return ModelFailure(
                meansTooLong(told?.error?.type, reason) ? .contextExceeded : .badRequest, status: status, message: reason)
        // What the model cannot read is the request's fault, whatever status llama.cpp gives it.
        case 500 where reason.contains("input is not supported"):
            return ModelFailure(.badRequest, message: reason, param: "messages")
        case 404: return ModelFailure(.modelNotFound, message: "The model server does not know '\(model)': \(reason)")
        case 401, 403:
            return ModelFailure(.failed, message: "The model server wants a credential that this host does not have.")
        case 408, 504: return ModelFailure(.timedOut, message: "The model server timed out: \(reason)")
        case 429, 503: return ModelFailure(.overloaded, message: "The model server is busy: \(reason)")
        default: return ModelFailure(.failed, message: "The model server failed: \(reason)", retryable: status >= 500)
        }
    }

    /// llama.cpp says it by a type, vLLM and others by a sentence.
    private static func meansTooLong(_ type: String?, _ reason: String) -> Bool {
        type == "exceed_context_size_error" || type == "context_length_exceeded" || reason.contains("maximum context length")
    }
}
