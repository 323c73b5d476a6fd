import CargoArtifact

/// What `/openapi.json` says of models: the interfaces of others are named here and described by their owners.
extension OpenAPI {
    static let modelOperations: [Operation] = {
        let free = Content.json(.object(["type": .string("object")]))
        let text: JSONValue = .object(["type": .string("string")])
        let events = Content(type: "text/event-stream", schema: .object([:]))
        let form = Content(
            type: "multipart/form-data",
            schema: .object([
                "type": .string("object"), "required": .array([.string("purpose"), .string("file")]),
                "properties": .object(["purpose": text, "file": text]),
            ]))
        func ask(_ path: String, _ summary: String, _ fields: [String]) -> Operation {
            let properties = Dictionary(uniqueKeysWithValues: fields.map { ($0, JSONValue.object([:])) })
            let body = Content.json(
                .object([
                    "type": .string("object"), "required": .array(fields.map(JSONValue.string)),
                    "properties": .object(properties.merging(["model": text]) { $1 }),
                ]))
            return Operation(
                method: "POST", path: path, summary: summary, headers: [("Idempotency-Key", text)], body: body,
                success: (200, free))
        }
        return [
            ask("/v1/chat/completions", "OpenAI: chat, whole or streamed", ["model", "messages"]),
            ask("/v1/completions", "OpenAI: complete a text", ["model", "prompt"]),
            ask("/v1/responses", "OpenAI: a response, whole or streamed; nothing is stored", ["model", "input"]),
            ask("/v1/embeddings", "OpenAI: vectors of texts", ["model", "input"]),
            ask("/v1/images/generations", "OpenAI: images", ["model", "prompt"]),
            Operation(method: "GET", path: "/v1/models", summary: "OpenAI: models that are served", success: (200, free)),
            Operation(method: "GET", path: "/v1/models/{path}", summary: "OpenAI: one model", success: (200, free)),
            ask("/v1/messages", "Anthropic: a message, whole or streamed", ["model", "messages", "max_tokens"]),
            ask("/v1/messages/count_tokens", "Anthropic: a prompt's tokens", ["model", "messages"]),
            ask("/run/model", "Run the model that the body names", ["model"]),
            Operation(
                method: "POST", path: "/run/{path}", summary: "Run a model in its own protocol", body: free, success: (200, free)),
            Operation(
                method: "GET", path: "/jobs/{id}/answer", summary: "A model's answer, from an event on",
                query: [("after", OpenAPISchemas.integer(0, 1_000_000_000))], success: (200, events)),
            Operation(
                method: "POST", path: "/v1/files", summary: "OpenAI: upload a file", body: form, success: (200, free)),
            Operation(
                method: "GET", path: "/v1/files", summary: "OpenAI: files, newest first",
                query: [("limit", OpenAPISchemas.integer(1, 10_000)), ("after", text), ("purpose", text)], success: (200, free)),
            Operation(method: "GET", path: "/v1/files/{file}", summary: "OpenAI: a file", success: (200, free)),
            Operation(method: "DELETE", path: "/v1/files/{file}", summary: "OpenAI: delete a file", success: (200, free)),
            Operation(method: "GET", path: "/v1/files/{file}/content", summary: "OpenAI: a file's bytes", success: (200, .bytes)),
            ask("/v1/batches", "OpenAI: make jobs of a file of requests", ["input_file_id", "endpoint", "completion_window"]),
            Operation(
                method: "GET", path: "/v1/batches", summary: "OpenAI: batches, newest first",
                query: [("limit", OpenAPISchemas.integer(1, 100)), ("after", text)], success: (200, free)),
            Operation(method: "GET", path: "/v1/batches/{batch}", summary: "OpenAI: a batch", success: (200, free)),
            Operation(method: "POST", path: "/v1/batches/{batch}/cancel", summary: "OpenAI: stop a batch", success: (200, free)),
            Operation(
                method: "POST", path: "/api/v1/workers/register", summary: "A worker becomes known", body: free,
                success: (201, free)),
            Operation(
                method: "POST", path: "/api/v1/workers/login", summary: "A worker's token for its secret",
                body: .json(OpenAPISchemas.request(["node_id": text, "secret_key": text], required: ["node_id", "secret_key"])),
                success: (200, free), isOpen: true),
            Operation(
                method: "POST", path: "/api/v1/workers/heartbeat", summary: "What a worker can do", body: free,
                success: (200, free)),
            Operation(
                method: "GET", path: "/api/v1/workers/jobs/available", summary: "What waits; looking reserves nothing",
                query: [("limit", OpenAPISchemas.integer(1, 100))], success: (200, free)),
            Operation(
                method: "POST", path: "/api/v1/workers/jobs/{id}/claim", summary: "Claim this very job", success: (200, free)),
            Operation(
                method: "POST", path: "/api/v1/workers/jobs/{id}/complete", summary: "A worker's result",
                body: .json(OpenAPISchemas.leased), success: (200, free)),
            Operation(
                method: "POST", path: "/api/v1/workers/jobs/{id}/fail", summary: "A worker could not do it",
                body: .json(OpenAPISchemas.leased), success: (200, free)),
            Operation(method: "GET", path: "/models", summary: "Models and their hosts", success: (200, free)),
            Operation(method: "POST", path: "/gen/{task}", summary: "Queue a task", body: free, success: (202, free)),
            Operation(method: "GET", path: "/output/gen/{task}/{id}", summary: "A task's result", success: (200, free)),
            Operation(
                method: "POST", path: "/api/v1/jobs", summary: "Submit a workload and its input", body: free,
                success: (201, free)),
            Operation(
                method: "GET", path: "/api/v1/jobs", summary: "Workloads, newest first",
                query: [("limit", OpenAPISchemas.integer(1, 100)), ("offset", OpenAPISchemas.integer(0, 10_000))],
                success: (200, free)),
            Operation(method: "GET", path: "/api/v1/jobs/{id}", summary: "A job in two pages' words", success: (200, free)),
            Operation(method: "DELETE", path: "/api/v1/jobs/{id}", summary: "Cancel a workload", success: (200, free)),
            Operation(method: "GET", path: "/api/v1/jobs/{id}/output", summary: "What a workload said", success: (200, free)),
            Operation(
                method: "GET", path: "/api/v1/jobs/{id}/stream", summary: "Its tokens as they come", success: (200, events)),
            Operation(method: "POST", path: "/api/v1/jobs/submit", summary: "Submit a job", body: free, success: (202, free)),
            Operation(
                method: "POST", path: "/api/v1/jobs/{id}/acknowledge", summary: "The result was received", success: (200, free)),
        ]
    }()
}
