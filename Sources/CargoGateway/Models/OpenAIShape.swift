import CargoArtifact
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// OpenAI's clients read an engine's answer byte for byte; only what ends a broken stream is ours.
struct Verbatim: AnswerShape {
    mutating func translate(_ bytes: [UInt8]) -> [UInt8] { bytes }
    mutating func finish() -> [UInt8] { [] }
    var passesRefusals: Bool { true }

    /// The event that OpenAI's clients raise as an error.
    func failure(_ error: GatewayError) -> [UInt8] {
        Array("data: ".utf8) + ((try? OpenAIError.encode(error)) ?? []) + [10, 10]
    }
}

/// `{"error": {message, type, param, code}}`.
enum OpenAIError {
    /// First parts of paths whose clients left `/v1` out of their base URL.
    static let unversioned: Set<String> = ["chat", "completions", "embeddings", "images", "responses", "messages"]

    private struct Envelope: Encodable {
        struct Detail: Encodable {
            var message: String
            var type: String
            var param: String?
            var code: String?

            enum CodingKeys: String, CodingKey { case message, type, param, code }

            /// Clients look for all four.
            func encode(to encoder: any Encoder) throws {
                var container = encoder.container(keyedBy: CodingKeys.self)
                try container.encode(message, forKey: .message)
                try container.encode(type, forKey: .type)
                try container.encode(param, forKey: .param)
                try container.encode(code, forKey: .code)
            }
        }
        var error: Detail
    }

    static func encode(_ error: GatewayError) throws -> [UInt8] {
        let parameter = error.param ?? (["model_not_found", "unsupported_operation"].contains(error.code) ? "model" : nil)
        let code = error.status == 401 ? "invalid_api_key" : error.code
        let detail = Envelope.Detail(message: error.detail, type: type(error.status), param: parameter, code: code)
        return Array(try Answer.encoder.encode(Envelope(error: detail)))
    }

    static func response(_ error: GatewayError) -> Response {
        var response = error.response
        response.headers[.contentType] = "application/json"
        response.body = ResponseBody(byteBuffer: ByteBuffer(bytes: (try? encode(error)) ?? []))
        return response
    }

    private static func type(_ status: Int) -> String {
        switch status {
        case 401: "authentication_error"
        case 403: "permission_error"
        case 429: "rate_limit_error"
        case 500...: "server_error"
        default: "invalid_request_error"
        }
    }
}

/// Whose error shape a path answers in.
enum ErrorShape {
    /// First parts below `/api/v1` that belong to other interfaces; all else there is OpenAI's, as it is below `/v1`.
    private static let others: Set<String> = ["jobs", "workers"]

    static func response(_ error: GatewayError, _ request: Request) -> Response {
        var parts = request.uri.path.split(separator: "/", maxSplits: 3).map(String.init)[...]
        let isBelowAPI = parts.first == "api"
        if isBelowAPI { parts = parts.dropFirst() }
        switch (parts.first, parts.dropFirst().first) {
        case ("v1", "messages"?): return AnthropicError.response(error)
        case ("v1", "models"?) where request.headers[ModelHeader.anthropicVersion] != nil: return AnthropicError.response(error)
        case ("v1", let part) where !isBelowAPI || !(part.map(others.contains) ?? false): return OpenAIError.response(error)
        case (let part?, _) where !isBelowAPI && OpenAIError.unversioned.contains(part): return OpenAIError.response(error)
        default: return error.response
        }
    }
}
