import CargoArtifact
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// `{"type": "error", "error": {type, message}}`, as Anthropic's clients read it.
enum AnthropicError {
    static func body(_ status: Int, _ message: String) -> JSONValue {
        .object([
            "type": .string("error"), "error": .object(["type": .string(type(status)), "message": .string(message)]),
        ])
    }

    static func response(_ error: GatewayError) -> Response {
        var response = error.response
        response.headers[.contentType] = "application/json"
        response.body = ResponseBody(byteBuffer: ByteBuffer(bytes: CanonicalJSON.encode(body(error.status, words(error)))))
        return response
    }

    /// The words by which Anthropic's clients know that they have to shorten a prompt stand first.
    private static func words(_ error: GatewayError) -> String {
        error.code == "context_length_exceeded" ? "prompt is too long: " + error.detail : error.detail
    }

    private static func type(_ status: Int) -> String {
        switch status {
        case 401: "authentication_error"
        case 403: "permission_error"
        case 404: "not_found_error"
        case 413: "request_too_large"
        case 429: "rate_limit_error"
        case 503: "overloaded_error"
        case 500...: "api_error"
        default: "invalid_request_error"
        }
    }
}

/// What is alike in a whole message and in a stream of its events.
enum AnthropicMessage {
    static func stopReason(_ finish: JSONValue?) -> JSONValue {
        switch finish {
        case .string("length")?: .string("max_tokens")
        case .string("tool_calls")?, .string("function_call")?: .string("tool_use")
        case .string("content_filter")?: .string("refusal")
        default: .string("end_turn")
        }
    }

    static func usage(_ usage: JSONValue?) -> [String: JSONValue] {
        let fields = usage?.members ?? [:]
        return [
            "input_tokens": fields["prompt_tokens"] ?? .integer(0), "output_tokens": fields["completion_tokens"] ?? .integer(0),
        ]
    }

    static func start(id: String, model: String) -> [String: JSONValue] {
        [
            "id": .string(id), "type": .string("message"), "role": .string("assistant"), "model": .string(model),
            "content": .array([]), "stop_reason": .null, "stop_sequence": .null,
        ]
    }
}

/// A chat's whole answer as one message.
struct AnthropicWhole: AnswerShape {
    let id: String
    let model: String
    private var body: [UInt8] = []

    init(id: String, model: String) {
        self.id = id
        self.model = model
    }

    mutating func translate(_ bytes: [UInt8]) -> [UInt8] {
        body += bytes
        return []
    }

    mutating func finish() throws -> [UInt8] {
        guard let answer = (try? StrictJSON.parse(body, limit: Gateway.largestAnswer))?.members else {
            throw GatewayError(502, "bad_answer", "The model's host answered with something that is no chat.")
        }
        let choice = answer["choices"]?.elements.first?.members ?? [:]
        let said = choice["message"]?.members ?? [:]
        var content: [JSONValue] = []
        if let text = said["content"]?.text, !text.isEmpty {
            content.append(.object(["type": .string("text"), "text": .string(text)]))
        }
        for call in said["tool_calls"]?.elements ?? [] {
            let function = call.members["function"]?.members ?? [:]
            let arguments = Array((function["arguments"]?.text ?? "{}").utf8)
            content.append(
                .object([
                    "type": .string("tool_use"), "id": call.members["id"] ?? .string("toolu_0"),
                    "name": function["name"] ?? .string(""),
                    "input": .object((try? StrictJSON.parse(arguments, limit: Gateway.largestAnswer))?.members ?? [:]),
                ]))
        }
        var message = AnthropicMessage.start(id: id, model: model)
        message["content"] = .array(content)
        message["stop_reason"] = AnthropicMessage.stopReason(choice["finish_reason"])
        message["usage"] = .object(AnthropicMessage.usage(answer["usage"]))
        return CanonicalJSON.encode(.object(message))
    }

    func failure(_ error: GatewayError) -> [UInt8] { CanonicalJSON.encode(AnthropicError.body(error.status, error.detail)) }
}

/// Counts a prompt's tokens by what the model itself says of it.
struct AnthropicCount: AnswerShape {
    private var body: [UInt8] = []

    mutating func translate(_ bytes: [UInt8]) -> [UInt8] {
        body += bytes
        return []
    }

    mutating func finish() throws -> [UInt8] {
        let answer = (try? StrictJSON.parse(body, limit: Gateway.largestAnswer))?.members ?? [:]
        guard let tokens = answer["usage"]?.members["prompt_tokens"] else {
            throw GatewayError(502, "no_count", "The model's host does not tell how many tokens a prompt has.")
        }
        return CanonicalJSON.encode(.object(["input_tokens": tokens]))
    }

    func failure(_ error: GatewayError) -> [UInt8] { [] }
}

extension JSONValue {
    var members: [String: JSONValue] { if case .object(let members) = self { members } else { [:] } }
    var elements: [JSONValue] { if case .array(let elements) = self { elements } else { [] } }
    var text: String? { if case .string(let text) = self { text } else { nil } }
}
