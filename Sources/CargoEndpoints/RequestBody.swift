internal import CargoArtifact
internal import CargoWire
internal import FoundationEssentials

/// A request's body as its backend gets it.
struct RequestBody {
    /// Bytes of the body that are read; images travel inside.
    static let limit = 32 << 20

    /// Checked against `RequestFields`.
    var fields: [String: JSONValue]
    /// The client asked for the usage at the end of the stream.
    let wantsUsage: Bool
    let stream: Bool

    /// `extra`: fields that the engine's manifest adds.
    init(_ request: ModelRequest, extra: [String] = []) throws(ModelFailure) {
        let value: JSONValue
        do {
            value = try StrictJSON.parse(Array(request.body.utf8), limit: RequestBody.limit)
        } catch {
            throw ModelFailure(.badRequest, message: "The body is not JSON: \(error.reason).")
        }
        guard case .object(let all) = value else { throw ModelFailure(.badRequest, message: "The body is not a JSON object.") }
        fields = try RequestFields.checked(all, for: request.operation, extra: extra)
        stream = request.stream && (request.operation == .chat || request.operation == .completions)
        if case .object(let options)? = fields["stream_options"], options["include_usage"] == .bool(true) {
            wantsUsage = true
        } else {
            wantsUsage = false
        }
    }

    /// OpenAI's shape under the backend's own name of the model, with the switches that keep accounts apart.
    func openAI(_ operation: ModelRequest.Operation, model: String, dialect: Dialect, account: String) throws -> [UInt8] {
        var fields = fields
        fields["stream_options"] = nil
        fields["stream"] = nil
        if operation != .infer { fields["model"] = .string(model) }
        if stream {
            fields["stream"] = .bool(true)
            // Without it nobody could say what a streamed answer took.
            fields["stream_options"] = .object(["include_usage": .bool(true)])
        }
        if operation == .images { fields["response_format"] = .string("b64_json") }
        // No prompt cache crosses accounts (docs/rules.md 21): vLLM keeps them apart by a salt, llama-server does without.
        switch dialect {
        case .vLLM where operation == .chat || operation == .completions: fields["cache_salt"] = .string("account:" + account)
        case .llamaCpp where operation == .chat || operation == .completions: fields["cache_prompt"] = .bool(false)
        default: break
        }
        return try encode(JSONValue.object(fields))
    }
}

/// One spelling of JSON for all that is sent to servers and clients.
func encode(_ value: some Encodable) throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return [UInt8](try encoder.encode(value))
}
