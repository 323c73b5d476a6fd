import CargoArtifact

/// What `/openapi.json` says of links, callbacks, the operator's calls and the registry.
extension OpenAPI {
    static let otherOperations: [Operation] = {
        let text: JSONValue = .object(["type": .string("string")])
        let free = Content.json(.object(["type": .string("object")]))
        let job = Content.json(OpenAPISchemas.reference("Job"))
        let outputs = Content.json(OpenAPISchemas.reference("OutputList"))
        let events = Content(type: "text/event-stream", schema: .object([:]))
        let figures = Content(type: "text/plain", schema: .object([:]))
        let manifest = Content(type: "application/vnd.oci.image.manifest.v1+json", schema: .object([:]))
        let index = Content(type: "application/vnd.oci.image.index.v1+json", schema: .object([:]))
        let blobs = "/v2/{publisher}/{name}/blobs"
        let manifests = "/v2/{publisher}/{name}/manifests/{reference}"
        return [
            Operation(method: "GET", path: "/shared/{token}", summary: "A shared job", success: (200, job), isOpen: true),
            Operation(
                method: "GET", path: "/shared/{token}/events", summary: "Its events", success: (200, events), isOpen: true),
            Operation(method: "GET", path: "/shared/{token}/logs", summary: "Its log", success: (200, .bytes), isOpen: true),
            Operation(
                method: "GET", path: "/shared/{token}/outputs", summary: "Its output files", success: (200, outputs),
                isOpen: true),
            Operation(
                method: "GET", path: "/shared/{token}/outputs/{path}", summary: "An output file", success: (200, .bytes),
                isOpen: true),
            Operation(
                method: "HEAD", path: "/shared/{token}/outputs/{path}", summary: "Its size", success: (200, nil), isOpen: true),
            Operation(method: "HEAD", path: "/jobs/{id}/outputs/{path}", summary: "An output's size", success: (200, nil)),
            Operation(method: "GET", path: "/jobs/{id}/webhooks", summary: "Its callbacks", success: (200, free)),
            Operation(
                method: "POST", path: "/jobs/{id}/webhooks/{webhook}/replay", summary: "Send a callback again",
                success: (202, free)),
            Operation(method: "GET", path: "/webhooks/secret", summary: "What signs callbacks", success: (200, free)),
            Operation(
                method: "POST", path: "/webhooks/secret", summary: "Change what signs callbacks",
                body: .json(OpenAPISchemas.request(["overlap": OpenAPISchemas.overlap])), isBodyOptional: true,
                success: (200, free)),
            Operation(
                method: "GET", path: "/hosts/tunnel", summary: "A host's tunnel: a WebSocket (RFC 6455)", success: (101, nil)),
            Operation(
                method: "POST", path: "/admin/keys", summary: "Make an API key of any account",
                body: .json(OpenAPISchemas.reference("KeyRequest")), success: (201, .json(OpenAPISchemas.reference("Key")))),
            Operation(method: "GET", path: "/healthz", summary: "It runs", success: (200, free), isOpen: true),
            Operation(method: "GET", path: "/readyz", summary: "It can commit", success: (200, free), isOpen: true),
            Operation(method: "GET", path: "/metrics", summary: "Figures for Prometheus, or as JSON", success: (200, figures)),
            Operation(method: "GET", path: "/openapi.json", summary: "This document", success: (200, free), isOpen: true),
            Operation(
                method: "GET", path: "/peer/jobs/{id}/logs/{attempt}",
                summary: "An attempt's log, for another coordinator on the same store", success: (200, .bytes)),
            Operation(
                method: "POST", path: "/peer/jobs/{id}/{report}",
                summary: "A host's report, from the coordinator that it reached", body: free, success: (200, free)),
            Operation(
                method: "GET", path: "/peer/kept/{id}", summary: "A file or batch that this coordinator keeps, for another",
                success: (200, free)),
            Operation(
                method: "GET", path: "/peer/kept/{id}/content", summary: "A piece of such a file's bytes", success: (200, .bytes)),
            Operation(
                method: "POST", path: "/peer/kept/{id}/{change}", summary: "Deletes such a file, or cancels such a batch",
                success: (200, free)),
            Operation(
                method: "POST", path: "/peer/batches", summary: "A batch of a file that this coordinator keeps", body: free,
                success: (200, free)),
            Operation(method: "GET", path: "/v2", summary: "OCI distribution 1.1", success: (200, free)),
            Operation(method: "GET", path: "\(blobs)/{digest}", summary: "A blob", success: (200, .bytes)),
            Operation(method: "HEAD", path: "\(blobs)/{digest}", summary: "A blob's size", success: (200, nil)),
            Operation(
                method: "POST", path: "\(blobs)/uploads", summary: "Begin an upload, or mount, or send it whole",
                query: [("digest", text), ("mount", text), ("from", text)], body: .bytes, success: (202, nil)),
            Operation(
                method: "GET", path: "\(blobs)/uploads/{upload}", summary: "How far an upload is", success: (204, nil)),
            Operation(
                method: "PATCH", path: "\(blobs)/uploads/{upload}", summary: "Send a chunk", body: .bytes, success: (202, nil)),
            Operation(
                method: "PUT", path: "\(blobs)/uploads/{upload}", summary: "End an upload", query: [("digest", text)],
                body: .bytes, success: (201, nil)),
            Operation(method: "DELETE", path: "\(blobs)/uploads/{upload}", summary: "Give an upload up", success: (204, nil)),
            Operation(method: "GET", path: manifests, summary: "A manifest by tag or digest", success: (200, manifest)),
            Operation(method: "HEAD", path: manifests, summary: "Its digest and size", success: (200, nil)),
            Operation(method: "PUT", path: manifests, summary: "Push a manifest", body: manifest, success: (201, nil)),
            Operation(
                method: "GET", path: "/v2/{publisher}/{name}/tags/list", summary: "Tags", query: [("n", text), ("last", text)],
                success: (200, free)),
            Operation(
                method: "GET", path: "/v2/{publisher}/{name}/referrers/{digest}",
                summary: "Signatures and what else refers to it",
                query: [("artifactType", text)], success: (200, index)),
        ]
    }()
}
