internal import CargoArtifact
internal import CargoEndpoints
internal import CargoWire
internal import FoundationEssentials

/// One request of a batch: a line of JSON as OpenAI's batch files have it, or the body alone.
struct BatchLine: Sendable {
    /// Most bytes of a line.
    static let limit = 8 << 20

    /// The publisher's own name of it, or `request-N` by its line.
    var id: String
    var request: ModelRequest

    /// `{"custom_id", "method", "url", "body"}`, or a body. `number` counts from 1. Throws `ModelFailure`.
    init(_ bytes: some Collection<UInt8>, number: Int, model: String, operations: [String]) throws {
        id = "request-\(number)"
        let value: JSONValue
        do {
            value = try StrictJSON.parse(Array(bytes), limit: BatchLine.limit)
        } catch {
            throw ModelFailure(.badRequest, message: "Line \(number) is not JSON: \(error.reason).")
        }
        guard case .object(let line) = value else {
            throw ModelFailure(.badRequest, message: "Line \(number) is no JSON object.")
        }
        var body = line
        var operation: ModelRequest.Operation?
        if case .object(let inner)? = line["body"] {
            body = inner
            if case .string(let id)? = line["custom_id"] { self.id = String(id.prefix(256)) }
            if case .string(let url)? = line["url"] {
                operation = ModelRequest.Operation(rawValue: url.hasPrefix("/v1/") ? String(url.dropFirst(4)) : url)
                if operation == nil {
                    throw ModelFailure(
                        .badRequest, message: "Line \(number) asks for '\(url.prefix(100))', which no model answers.")
                }
            }
        }
        guard let operation = operation ?? BatchLine.operation(of: body, among: operations) else {
            throw ModelFailure(
                .badRequest, message: "Line \(number) holds no messages, prompt, input or inputs that this model answers.")
        }
        guard operations.contains(operation.rawValue) else {
            throw ModelFailure(.badRequest, message: "Line \(number): this model does not answer \(operation.rawValue).")
        }
        request = ModelRequest(
            operation: operation, model: model,
            body: String(decoding: try BatchLine.encode(.object(body)), as: UTF8.self))
    }

    /// What a body asks for, by the field that only it has.
    private static func operation(of body: [String: JSONValue], among operations: [String]) -> ModelRequest.Operation? {
        if body["messages"] != nil { return .chat }
        if body["inputs"] != nil { return .infer }
        if body["input"] != nil { return .embeddings }
        guard body["prompt"] != nil else { return nil }
        return operations.contains(ModelRequest.Operation.images.rawValue) ? .images : .completions
    }

    /// The line of an answer, in the shape of OpenAI's batch results.
    static func answer(id: String, status: Int, body: [UInt8]) -> [UInt8] {
        let value = (try? StrictJSON.parse(body, limit: 64 << 20)) ?? .string(String(decoding: body, as: UTF8.self))
        return line([
            "custom_id": .string(id), "error": .null,
            "response": .object(["status_code": .integer(Int64(status)), "body": value]),
        ])
    }

    static func failure(id: String, _ failure: ModelFailure) -> [UInt8] {
        line([
            "custom_id": .string(id), "response": .null,
            "error": .object(["code": .string(failure.code.rawValue), "message": .string(failure.message)]),
        ])
    }

    private static func line(_ fields: [String: JSONValue]) -> [UInt8] {
        ((try? encode(.object(fields))) ?? Array("{}".utf8)) + [10]
    }

    private static func encode(_ value: JSONValue) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(value))
    }
}
