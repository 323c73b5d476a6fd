internal import CargoArtifact
internal import CargoWire
internal import FoundationEssentials

/// One JSON object of an answer in OpenAI's shape: the whole of it, or one event of a stream.
///
/// It is read to know that it is JSON, what it took and whether it is an error, and goes on as it came, unless it says what no
/// client may know: what was cached (RULES.md 21).
struct OpenAIAnswer {
    /// Empty for an event that the client did not ask for.
    let bytes: [UInt8]
    let usage: ModelUsage?

    private struct Facts: Decodable {
        struct Anything: Decodable {
            init(from decoder: any Decoder) {}
        }
        var usage: ModelUsage?
        var error: ServerError?
        var choices: [Anything]?
        var timings: Anything?
    }

    /// The whole body of an answer that is not streamed.
    init(whole: [UInt8]) throws(ModelFailure) {
        let facts = try OpenAIAnswer.facts(whole)
        usage = facts.usage
        bytes = try OpenAIAnswer.withoutSecrets(whole, facts)
    }

    /// The data of one event.
    init(event: [UInt8], wantsUsage: Bool) throws(ModelFailure) {
        let facts = try OpenAIAnswer.facts(event)
        usage = facts.usage
        // The event that carries nothing but usage: asked for by us, not always by the client.
        if facts.usage != nil, facts.choices?.isEmpty == true, !wantsUsage {
            bytes = []
        } else {
            bytes = try OpenAIAnswer.withoutSecrets(event, facts)
        }
    }

    private static func facts(_ bytes: [UInt8]) throws(ModelFailure) -> Facts {
        let facts: Facts
        do {
            facts = try JSONDecoder().decode(Facts.self, from: Data(bytes))
        } catch {
            throw ModelFailure(.badAnswer, message: "The model server's answer is not a JSON object in OpenAI's shape.")
        }
        if let error = facts.error {
            throw ModelFailure(.failed, message: "The model server failed: \(error.message.prefix(500))", retryable: true)
        }
        return facts
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
        case 400, 413, 422: return ModelFailure(.badRequest, status: status, message: reason)
        case 404: return ModelFailure(.modelNotFound, message: "The model server does not know '\(model)': \(reason)")
        case 401, 403:
            return ModelFailure(.failed, message: "The model server wants a credential that this host does not have.")
        case 408, 504: return ModelFailure(.timedOut, message: "The model server timed out: \(reason)")
        case 429, 503: return ModelFailure(.overloaded, message: "The model server is busy: \(reason)")
        default: return ModelFailure(.failed, message: "The model server failed: \(reason)", retryable: status >= 500)
        }
    }
}
