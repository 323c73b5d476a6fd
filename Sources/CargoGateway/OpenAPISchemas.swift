import CargoArtifact
import CargoWire

/// The schemas of `/openapi.json` (JSON Schema 2020-12). Unknown fields are ignored, so none forbids them.
enum OpenAPISchemas {
    static func reference(_ name: String) -> JSONValue { .object(["$ref": .string("#/components/schemas/\(name)")]) }
    static func pattern(_ text: String) -> JSONValue { .object(["type": .string("string"), "pattern": .string(text)]) }
    static func choice(_ words: [String]) -> JSONValue {
        .object(["type": .string("string"), "enum": .array(words.map(JSONValue.string))])
    }
    static func integer(_ least: Int64, _ most: Int64) -> JSONValue {
        .object(["type": .string("integer"), "minimum": .integer(least), "maximum": .integer(most)])
    }

    static let uuid = pattern("^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
    /// A host's report: the lease and, in the reference, the rest.
    static let leased = object(["lease": reference("Lease")], required: ["lease"])

    static let boolean: JSONValue = .object(["type": .string("boolean")])
    static let seconds = span(least: "exclusiveMinimum")
    /// None is a time too.
    static let overlap = span(least: "minimum")

    private static func span(least: String) -> JSONValue {
        .object([
            "anyOf": .array([
                .object(["type": .string("number"), least: .integer(0), "maximum": .integer(31_622_400)]),
                pattern("^[0-9]{1,4}[smh]$"),
            ])
        ])
    }

    private static let text: JSONValue = .object(["type": .string("string")])
    private static let number: JSONValue = .object(["type": .string("number")])
    private static let anything: JSONValue = .object([:])
    private static let size = integer(0, 9_007_199_254_740_991)
    /// A size: bytes, or a text with a unit.
    private static let bytes: JSONValue = .object([
        "anyOf": .array([integer(0, 1_125_899_906_842_624), pattern("^[0-9]{1,6}(KiB|MiB|GiB|TiB)$")])
    ])
    private static let sha256 = pattern("^[0-9a-f]{64}$")

    private static func object(_ properties: [String: JSONValue], required: [String] = []) -> JSONValue {
        .object([
            "type": .string("object"), "properties": .object(properties), "required": .array(required.map(JSONValue.string)),
        ])
    }

    /// What a request may leave out it may also set to null.
    static func request(_ properties: [String: JSONValue], required: [String] = []) -> JSONValue {
        let open = properties.map { name, schema in
            // What takes anything takes null as it is.
            (name, required.contains(name) || schema == anything ? schema : nullable(schema))
        }
        return object(Dictionary(uniqueKeysWithValues: open), required: required)
    }

    private static func list(_ schema: JSONValue) -> JSONValue { .object(["type": .string("array"), "items": schema]) }
    private static func map(_ schema: JSONValue) -> JSONValue {
        .object(["type": .string("object"), "additionalProperties": schema])
    }
    private static func nullable(_ schema: JSONValue) -> JSONValue {
        .object(["anyOf": .array([schema, .object(["type": .string("null")])])])
    }

    static var all: [String: JSONValue] {
        let status = choice(JobStatus.allCases.map(\.rawValue))
        let error = object(["code": text, "message": text], required: ["code", "message"])
        return [
            "Problem": object(
                ["type": text, "title": text, "status": integer(400, 599), "detail": text, "code": text],
                required: ["type", "title", "status", "detail", "code"]),
            "OutputFile": object(["path": text, "size": size, "sha256": sha256], required: ["path", "size", "sha256"]),
            "OutputList": object(["outputs": list(reference("OutputFile"))], required: ["outputs"]),
            "Upload": object(["id": uuid, "size": size, "sha256": sha256], required: ["id", "size", "sha256"]),
            "Job": object(
                [
                    "id": uuid, "status": status, "tier": integer(1, 4), "priority": integer(0, 100), "attempt": size,
                    "cargo": text,
                    "image": text, "digest": pattern("^sha256:[0-9a-f]{64}$"), "host": nullable(text),
                    "exit_code": nullable(.object(["type": .string("integer")])), "exit": map(anything), "error": nullable(error),
                    "outputs": list(reference("OutputFile")), "notice": text, "metadata": anything, "created_at": text,
                    "started_at": nullable(text), "finished_at": nullable(text),
                ],
                required: ["id", "status", "tier", "priority", "attempt", "outputs", "created_at"]),
            "JobList": object(["jobs": list(reference("Job")), "next": text], required: ["jobs"]),
            "JobRequest": request([
                "id": uuid, "cargo": text, "image": text, "args": list(text), "command": list(text), "env": map(text),
                "input": anything, "params": map(anything), "files": list(reference("JobFile")), "resources": map(anything),
                "tier": integer(1, 4), "priority": integer(0, 100), "timeout": seconds, "attempts": integer(1, 100),
                "retention": seconds, "metadata": anything,
                "constraints": request([
                    "region": text, "jurisdiction": text, "group": text, "memory": bytes, "vram": bytes,
                    "max_price": .object(["type": .string("number"), "minimum": .integer(0), "maximum": .integer(1_000_000_000)]),
                ]),
            ]),
            "KeyRequest": request(
                [
                    "name": text, "account": text, "scopes": list(choice(Scope.allCases.map(\.rawValue))), "expires_in": seconds,
                    "policy": request([
                        "durable": .object(["type": .string("boolean")]), "requests_per_minute": integer(1, 1_000_000_000),
                        "tokens_per_minute": integer(1, 1_000_000_000), "tokens_per_day": integer(1, 1_000_000_000_000),
                        "credits_per_day": .object(["type": .string("number"), "minimum": .integer(0)]),
                    ]),
                ], required: ["scopes"]),
            "Key": object(
                [
                    "id": text, "key": text, "name": text, "account": text, "scopes": list(text), "created_at": text,
                    "expires_at": text, "last_used_at": text, "revoked_at": text, "policy": map(anything),
                ], required: ["id", "name", "account", "scopes", "created_at"]),
            "JobFile": request(["name": text, "content": text, "upload": text], required: ["name"]),
            "Lease": object(
                ["generation": size, "epoch": size, "token": text, "host": text, "seconds": number],
                required: ["generation", "epoch", "token", "host"]),
            "HostRegistration": request(
                [
                    "name": text, "slots": size, "public_key": text, "proof": anything, "sealing": anything,
                    "capabilities": map(anything),
                ],
                required: ["name"]),
            "ClaimRequest": request([
                "wait": .object(["type": .string("number"), "minimum": .integer(0), "maximum": .integer(60)]), "slots": size,
                "claim_id": text, "host": text, "capabilities": map(anything),
            ]),
        ]
    }
}
