internal import AsyncHTTPClient
internal import CargoArtifact
internal import FoundationEssentials
internal import NIOCore
internal import NIOHTTP1

/// An image that is on this host (Engine API, ImageInspect); only what is used.
struct EngineImage: Decodable, Sendable {
    struct Config: Decodable, Sendable {
        var user: String?
        var env: [String]?
        var cmd: [String]?
        var entrypoint: [String]?
        var workingDir: String?
        var volumes: [String: EmptyObject]?
    }
    /// Go's `struct{}`.
    struct EmptyObject: Decodable, Sendable {}

    var id: String
    var repoTags: [String]?
    var repoDigests: [String]?
    var size: Int64?
    var config: Config?
    var architecture: String?
    var os: String?
}

extension Engine {
    /// Nil when it is not on this host. `name`: a reference or an image id.
    func image(_ name: String) async throws -> EngineImage? {
        let operation = "inspect the image \(name)"
        let response = try await answer(.GET, "/images/\(Engine.pathEscaped(name))/json", operation: operation, accepting: [404])
        let bytes = try await bytes(of: response, operation: operation)
        if response.status == .notFound { return nil }
        guard let image = try? EngineJSON.decode(EngineImage.self, from: bytes) else {
            throw EngineError(.unsupported, operation, "the engine's answer is not an image of Engine API \(version)")
        }
        return image
    }

    /// Fetches an image from its registry. `onProgress` is awaited at most twice a second.
    func pull(
        _ reference: ImageReference, credentials: RegistryCredentials, onProgress: @Sendable (PullProgress) async -> Void
    ) async throws {
        let operation = "pull \(reference)"
        var headers: [(String, String)] = []
        if let login = credentials.header(registry: reference.registry) { headers.append(("X-Registry-Auth", login)) }
        // The tag may be a digest; both at once is what no engine takes.
        let selector = reference.digest?.description ?? reference.tag ?? "latest"
        let response: HTTPClientResponse
        do {
            response = try await answer(
                .POST, "/images/create", query: [("fromImage", reference.name), ("tag", selector)], headers: headers,
                timeout: .hours(24), operation: operation, notFound: .imageNotFound)
        } catch let error as EngineError where error.code == .failed {
            // An engine answers 500 with what the registry, or the network on the way there, said.
            throw Engine.pullError(error.message, operation: operation)
        }
        let reader = try await follow(response, operation: operation, onProgress: onProgress)
        if let failure = reader.failure { throw Engine.pullError(failure, operation: operation) }
    }

    /// Hands the engine a docker-archive; returns the ids of what it loaded.
    func load(
        _ body: HTTPClientRequest.Body, operation: String, onProgress: @Sendable (PullProgress) async -> Void
    ) async throws -> [String] {
        let response = try await answer(
            .POST, "/images/load", query: [("quiet", "true")], headers: [("Content-Type", "application/x-tar")], body: body,
            timeout: .hours(24), operation: operation, notFound: .failed)
        let reader = try await follow(response, operation: operation, onProgress: onProgress)
        if let failure = reader.failure {
            throw EngineError(.imageRefused, operation, "the engine refuses the image: \(failure)")
        }
        return reader.loaded
    }

    /// Removes an image that no container uses; false when one does.
    func removeImage(_ id: String) async throws -> Bool {
        let operation = "remove the image \(id.prefix(19))"
        let response = try await answer(
            .DELETE, "/images/\(Engine.pathEscaped(id))", query: [("force", "false"), ("noprune", "false")], operation: operation,
            accepting: [404, 409])
        _ = try await bytes(of: response, operation: operation)
        return response.status != .conflict
    }

    private func follow(
        _ response: HTTPClientResponse, operation: String, onProgress: @Sendable (PullProgress) async -> Void
    ) async throws -> PullReader {
        var reader = PullReader()
        var last: ContinuousClock.Instant?
        try await reaching(operation) {
            for try await piece in response.body where reader.take(piece.readableBytesView) {
                let now = ContinuousClock.now
                if let last, now - last < .milliseconds(500) { continue }
                last = now
                await onProgress(reader.progress)
            }
        }
        reader.finish()
        return reader
    }

    private static func pullError(_ said: String, operation: String) -> EngineError {
        let absent = ["manifest unknown", "not found", "does not exist", "access denied", "name unknown", "no such image"]
        let lower = said.lowercased()
        let isAbsent = absent.contains { lower.contains($0) } && !lower.contains("no such host")
        return EngineError(isAbsent ? .imageNotFound : .pullFailed, operation, said)
    }

    /// A name in a path keeps its slashes: engines route on them.
    static func pathEscaped(_ name: String) -> String {
        name.split(separator: "/", omittingEmptySubsequences: false).map { escaped(String($0)) }.joined(separator: "/")
    }
}
