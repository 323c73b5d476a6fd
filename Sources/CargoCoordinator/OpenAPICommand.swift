import CargoGateway

/// What `GET /openapi.json` answers, without a server.
public enum OpenAPICommand {
    public static func text() throws -> String { String(decoding: try OpenAPIDocument.json(), as: UTF8.self) }
}
