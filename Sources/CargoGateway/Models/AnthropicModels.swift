import CargoArtifact
import Hummingbird

/// The list of models as Anthropic's clients page through it (docs: Models, List).
enum AnthropicModels {
    /// When a model was made is not known.
    private static let created = "1970-01-01T00:00:00Z"

    static func entry(_ entry: Gateway.ModelEntry) -> JSONValue {
        .object([
            "type": .string("model"), "id": .string(entry.id), "display_name": .string(entry.id), "created_at": .string(created),
        ])
    }

    static func list(_ entries: [Gateway.ModelEntry], _ request: Request) throws -> JSONValue {
        let query = request.uri.queryParameters
        let limit = query["limit"].map { Int($0) } ?? 20
        guard let limit, (1...1000).contains(limit) else {
            throw GatewayError(400, "invalid_query", "limit: a number from 1 to 1000.")
        }
        var page = entries[...]
        if let after = query["after_id"] {
            page = page.drop { $0.id <= after }
        }
        var isCut = page.count > limit
        if let before = query["before_id"] {
            page = page.prefix { $0.id < before }
            isCut = page.count > limit
            page = page.suffix(limit)
        } else {
            page = page.prefix(limit)
        }
        return .object([
            "data": .array(page.map(entry)), "has_more": .bool(isCut),
            "first_id": page.first.map { .string($0.id) } ?? .null, "last_id": page.last.map { .string($0.id) } ?? .null,
        ])
    }
}
