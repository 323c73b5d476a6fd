import CargoArtifact
import CargoWire
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// `/openapi.json` (OpenAPI 3.1.0): the operations and what they take and give, built from one table, so that the router's
/// "method not allowed" and the document cannot disagree.
enum OpenAPI {
    /// One operation as the document shows it.
    struct Operation {
        var method: String
        var path: String
        var summary: String
        var query: [(String, JSONValue)] = []
        var headers: [(String, JSONValue)] = []
        var body: Content?
        /// Without a body it means its defaults.
        var isBodyOptional = false
        var success: (status: Int, content: Content?)
        /// Needs no key.
        var isOpen = false
    }

    /// A body: its media type and schema.
    struct Content {
        var type: String
        var schema: JSONValue

        static func json(_ schema: JSONValue) -> Content { Content(type: "application/json", schema: schema) }
        static let bytes = Content(type: "application/octet-stream", schema: .object([:]))
    }

    static func document() throws -> [UInt8] {
        var paths: [String: JSONValue] = [:]
        for operation in operations {
            var methods: [String: JSONValue] = [:]
            if case .object(let known) = paths[operation.path] { methods = known }
            methods[operation.method.lowercased()] = describe(operation)
            // The interface of OpenAI's and Anthropic's clients stands under /api/v1 as well.
            if operation.path.hasPrefix("/v1/") {
                methods["servers"] = .array(["/", "/api"].map { .object(["url": .string($0)]) })
            }
            paths[operation.path] = .object(methods)
        }
        let document = JSONValue.object([
            "openapi": .string("3.1.0"),
            "info": .object(["title": .string("Longshore"), "version": .string("1.0.0")]),
            "paths": .object(paths),
            "components": .object([
                "schemas": .object(OpenAPISchemas.all),
                "securitySchemes": .object(["key": .object(["type": .string("http"), "scheme": .string("bearer")])]),
            ]),
            "security": .array([.object(["key": .array([])])]),
        ])
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(document))
    }

    private static func describe(_ operation: Operation) -> JSONValue {
        var parameters: [JSONValue] = []
        for part in operation.path.split(separator: "/") where part.hasPrefix("{") {
            let name = String(part.dropFirst().dropLast())
            let schema = name == "id" ? OpenAPISchemas.uuid : .object(["type": .string("string")])
            parameters.append(parameter(name, "path", schema, required: true))
        }
        parameters += operation.query.map { parameter($0.0, "query", $0.1, required: false) }
        parameters += operation.headers.map { parameter($0.0, "header", $0.1, required: $0.0 == "Longshore-Lease") }
        var success: [String: JSONValue] = ["description": .string("done")]
        if let content = operation.success.content { success["content"] = body(content) }
        // OpenAI's and Anthropic's clients read errors in their own shapes.
        let isForeign = operation.path.hasPrefix("/v1/")
        if operation.path.hasPrefix("/v2") { return registry(operation, parameters, success) }
        let problem = body(
            isForeign
                ? .json(.object(["type": .string("object"), "required": .array([.string("error")])]))
                : Content(type: "application/problem+json", schema: OpenAPISchemas.reference("Problem")))
        var fields: [String: JSONValue] = [
            "summary": .string(operation.summary), "parameters": .array(parameters),
            "responses": .object([
                String(operation.success.status): .object(success),
                "default": .object(["description": .string("refused"), "content": problem]),
            ]),
        ]
        if operation.success.status == 202 || operation.path == "/hosts/next-job",
            case .object(var responses) = fields["responses"]
        {
            let other = operation.path == "/hosts/next-job" ? "204" : "200"
            responses[other] = other == "204" ? .object(["description": .string("nothing to do")]) : .object(success)
            fields["responses"] = .object(responses)
        }
        if operation.isOpen { fields["security"] = .array([]) }
        if let content = operation.body {
            // No bytes are bytes too: an empty file.
            let isNeeded = content.type != Content.bytes.type && !operation.isBodyOptional
            fields["requestBody"] = .object(["required": .bool(isNeeded), "content": body(content)])
        }
        return .object(fields)
    }

    /// OCI's errors have a shape of their own, and its answers the media types of what is stored.
    private static func registry(
        _ operation: Operation, _ parameters: [JSONValue], _ success: [String: JSONValue]
    ) -> JSONValue {
        let errors = body(.json(.object(["type": .string("object"), "required": .array([.string("errors")])])))
        var fields: [String: JSONValue] = [
            "summary": .string(operation.summary), "parameters": .array(parameters),
            "responses": .object([
                String(operation.success.status): .object(success),
                "default": .object(["description": .string("refused"), "content": errors]),
            ]),
        ]
        if let content = operation.body { fields["requestBody"] = .object(["required": .bool(false), "content": body(content)]) }
        return .object(fields)
    }

    private static func parameter(_ name: String, _ place: String, _ schema: JSONValue, required: Bool) -> JSONValue {
        .object(["name": .string(name), "in": .string(place), "required": .bool(required), "schema": schema])
    }

    private static func body(_ content: Content) -> JSONValue { .object([content.type: .object(["schema": content.schema])]) }

    /// The methods of a path that is in the table; nil for one that is not.
    static func methods(of path: String) -> [String]? {
        let parts =
            path.hasPrefix("/api/v1/") && !path.hasPrefix("/api/v1/jobs") && !path.hasPrefix("/api/v1/workers")
            ? path.dropFirst(4).split(separator: "/") : path.split(separator: "/")
        let known = operations.filter { operation in
            let pattern = operation.path.split(separator: "/")
            let open = pattern.last == "{path}" && parts.count >= pattern.count
            guard open || parts.count == pattern.count else { return false }
            return zip(pattern, parts).allSatisfy { $0.hasPrefix("{") || $0 == $1 }
        }
        return known.isEmpty ? nil : Set(known.map(\.method)).sorted()
    }

    static let operations: [Operation] = {
        let job = Content.json(OpenAPISchemas.reference("Job"))
        let request = Content.json(OpenAPISchemas.reference("JobRequest"))
        let text: JSONValue = .object(["type": .string("string")])
        let free = Content.json(.object(["type": .string("object")]))
        let after = [("Last-Event-ID", OpenAPISchemas.pattern("^[0-9]+\\.[0-9]+\\.[0-9]+$"))]
        let events = Content(type: "text/event-stream", schema: .object([:]))
        let lease = [("Longshore-Lease", text)]
        let logs: [(String, JSONValue)] = [
            ("stream", OpenAPISchemas.choice(["stdout", "stderr", "event", "answer"])),
            ("attempt", OpenAPISchemas.integer(1, 1_000_000)),
        ]
        let list: [(String, JSONValue)] = [
            ("limit", OpenAPISchemas.integer(1, 500)), ("status", OpenAPISchemas.choice(JobStatus.allCases.map(\.rawValue))),
            ("before", OpenAPISchemas.uuid),
        ]
        return [
            Operation(
                method: "POST", path: "/jobs", summary: "Submit a job", headers: [("Idempotency-Key", text)], body: request,
                success: (202, job)),
            Operation(
                method: "GET", path: "/jobs", summary: "Jobs, newest first", query: list,
                success: (200, .json(OpenAPISchemas.reference("JobList")))),
            Operation(
                method: "GET", path: "/jobs/{id}", summary: "A job",
                query: [("wait", OpenAPISchemas.pattern("^[0-9]{1,4}(\\.[0-9]{1,3})?(ms|s|m|h)?$"))],
                success: (200, job)),
            Operation(
                method: "GET", path: "/jobs/{id}/events", summary: "Its events as they come", headers: after,
                success: (200, events)),
            Operation(method: "GET", path: "/jobs/{id}/logs", summary: "Its log", query: logs, success: (200, .bytes)),
            Operation(
                method: "GET", path: "/jobs/{id}/outputs", summary: "Its output files",
                success: (200, .json(OpenAPISchemas.reference("OutputList")))),
            Operation(method: "GET", path: "/jobs/{id}/outputs/{path}", summary: "An output file", success: (200, .bytes)),
            Operation(
                method: "PUT", path: "/jobs/{id}/outputs/{path}", summary: "A host uploads an output", headers: lease,
                body: .bytes,
                success: (201, .json(OpenAPISchemas.reference("OutputFile")))),
            Operation(method: "GET", path: "/jobs/{id}/result", summary: "The job once it has ended", success: (200, job)),
            Operation(method: "GET", path: "/jobs/{id}/audit", summary: "Its audit trail", success: (200, free)),
            Operation(method: "POST", path: "/jobs/{id}/cancel", summary: "Cancel", success: (202, job)),
            Operation(method: "POST", path: "/jobs/{id}/replay", summary: "Try a failed job again", success: (202, job)),
            Operation(method: "POST", path: "/jobs/{id}/ack", summary: "The result was received", success: (200, job)),
            Operation(method: "POST", path: "/jobs/{id}/share", summary: "A link that shows this job", success: (201, free)),
            Operation(method: "DELETE", path: "/jobs/{id}/share", summary: "Revoke its links", success: (204, nil)),
            Operation(
                method: "POST", path: "/uploads", summary: "Upload an input file", body: .bytes,
                success: (201, .json(OpenAPISchemas.reference("Upload")))),
            Operation(
                method: "GET", path: "/queue", summary: "What waits", query: [("job", OpenAPISchemas.uuid)], success: (200, free)),
            Operation(
                method: "POST", path: "/hosts", summary: "Register a host",
                body: .json(OpenAPISchemas.reference("HostRegistration")), success: (201, free)),
            Operation(
                method: "POST", path: "/hosts/next-job", summary: "Claim a job",
                body: .json(OpenAPISchemas.reference("ClaimRequest")), success: (200, free)),
            Operation(
                method: "GET", path: "/jobs/{id}/placement", summary: "Which hosts were left out, how the rest scored",
                success: (200, free)),
            Operation(method: "GET", path: "/hosts", summary: "Hosts that the key may see", success: (200, free)),
            Operation(method: "GET", path: "/hosts/{host}", summary: "A host", success: (200, free)),
            Operation(
                method: "PATCH", path: "/hosts/{host}", summary: "Open an own host to everyone, or close it",
                body: .json(OpenAPISchemas.request(["open": OpenAPISchemas.boolean], required: ["open"])), success: (200, free)),
            Operation(method: "DELETE", path: "/hosts/{host}", summary: "Forget an own host", success: (204, nil)),
            Operation(
                method: "POST", path: "/hosts/heartbeat", summary: "How a host is", body: free, success: (200, free)),
            Operation(
                method: "POST", path: "/hosts/rotate", summary: "New credentials of a host", body: free, isBodyOptional: true,
                success: (200, free)),
            Operation(
                method: "POST", path: "/hosts/pairings", summary: "Ask to be let in without a key", body: free,
                success: (201, free)),
            Operation(
                method: "GET", path: "/hosts/pairings/{code}", summary: "Which host waits under a code", success: (200, free)),
            Operation(
                method: "POST", path: "/hosts/pairings/{code}", summary: "Let that host in",
                body: .json(
                    OpenAPISchemas.request(["fingerprint": text, "open": OpenAPISchemas.boolean], required: ["fingerprint"])),
                success: (204, nil)),
            Operation(
                method: "POST", path: "/hosts/pairings/{code}/answer", summary: "Whether the host was let in",
                body: .json(OpenAPISchemas.request(["secret": text], required: ["secret"])), success: (202, free)),
            Operation(
                method: "POST", path: "/groups", summary: "Make a group",
                body: .json(OpenAPISchemas.request(["name": text], required: ["name"])), success: (201, free)),
            Operation(method: "GET", path: "/groups", summary: "The account's groups", success: (200, free)),
            Operation(
                method: "POST", path: "/groups/join", summary: "Join by an invitation",
                body: .json(OpenAPISchemas.request(["invite": text], required: ["invite"])), success: (200, free)),
            Operation(method: "GET", path: "/groups/{group}", summary: "A group", success: (200, free)),
            Operation(method: "DELETE", path: "/groups/{group}", summary: "Delete an own group", success: (204, nil)),
            Operation(
                method: "POST", path: "/groups/{group}/invites", summary: "Invite",
                body: .json(OpenAPISchemas.request(["seconds": OpenAPISchemas.seconds, "uses": OpenAPISchemas.integer(1, 500)])),
                isBodyOptional: true, success: (201, free)),
            Operation(method: "POST", path: "/groups/{group}/leave", summary: "Leave a group", success: (204, nil)),
            Operation(
                method: "DELETE", path: "/groups/{group}/members/{member}", summary: "Remove a member", success: (204, nil)),
            Operation(
                method: "PUT", path: "/groups/{group}/hosts/{host}", summary: "An own host serves it", success: (200, free)),
            Operation(
                method: "DELETE", path: "/groups/{group}/hosts/{host}", summary: "An own host serves it no longer",
                success: (204, nil)),
            Operation(
                method: "POST", path: "/keys", summary: "Make an API key",
                body: .json(OpenAPISchemas.reference("KeyRequest")), success: (201, .json(OpenAPISchemas.reference("Key")))),
            Operation(
                method: "GET", path: "/keys", summary: "The account's keys", query: [("account", text)], success: (200, free)),
            Operation(
                method: "GET", path: "/keys/{key}", summary: "A key", success: (200, .json(OpenAPISchemas.reference("Key")))),
            Operation(method: "DELETE", path: "/keys/{key}", summary: "Revoke a key", success: (204, nil)),
            Operation(
                method: "POST", path: "/keys/{key}/rotate", summary: "Give a key a new secret",
                body: .json(OpenAPISchemas.request(["overlap": OpenAPISchemas.overlap])), isBodyOptional: true,
                success: (200, .json(OpenAPISchemas.reference("Key")))),
            Operation(
                method: "GET", path: "/keys/{key}/usage", summary: "What a key used, by model",
                query: [("days", OpenAPISchemas.integer(1, 366))], success: (200, free)),
            Operation(
                method: "GET", path: "/usage", summary: "What the account used, by key and model",
                query: [("days", OpenAPISchemas.integer(1, 366)), ("account", text)], success: (200, free)),
            Operation(
                method: "GET", path: "/jobs/{id}/files/{path}", summary: "An input file", headers: lease, success: (200, .bytes)),
            Operation(
                method: "POST", path: "/jobs/{id}/heartbeat", summary: "Renew a lease, send logs",
                body: .json(OpenAPISchemas.leased), success: (200, free)),
            Operation(
                method: "POST", path: "/jobs/{id}/complete", summary: "Report the end", body: .json(OpenAPISchemas.leased),
                success: (200, job)),
            Operation(
                method: "POST", path: "/jobs/{id}/fail", summary: "Report that it could not run",
                body: .json(OpenAPISchemas.leased), success: (200, job)),
        ] + modelOperations + otherOperations
    }()
}

/// The document for programs that have no server at hand.
public enum OpenAPIDocument {
    public static func json() throws -> [UInt8] { try OpenAPI.document() }
}

extension Gateway {
    func addOpenAPI(to router: Router<GatewayContext>) throws {
        let document = ByteBuffer(bytes: try OpenAPI.document())
        router.get("/openapi.json") { _, _ in Answer.bytes(document) }
    }
}
