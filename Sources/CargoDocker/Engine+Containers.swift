internal import AsyncHTTPClient
internal import FoundationEssentials
internal import NIOCore
internal import NIOHTTP1

/// What an engine knows of one container (Engine API, ContainerInspect); only what is used.
struct ContainerState: Decodable, Sendable {
    struct State: Decodable, Sendable {
        var status: String?
        var running: Bool
        var oOMKilled: Bool?
        var exitCode: Int?
        var error: String?
        var pid: Int?
    }
    var id: String
    var state: State
}

/// A container in a list (Engine API, ContainerList).
struct ListedContainer: Decodable, Sendable {
    var id: String
    var labels: [String: String]?
    var state: String?
}

/// What an engine answers to `wait`.
struct ContainerExit: Decodable, Sendable {
    var statusCode: Int
}

private struct CreatedContainer: Decodable {
    var id: String
}

extension Engine {
    /// Makes a container from a body; returns its id. `imageNotFound` when the image is not on this host.
    func create(_ body: ContainerBody, name: String) async throws -> String {
        let bytes = try EngineJSON.encode(body)
        return try await json(
            CreatedContainer.self, .POST, "/containers/create", query: [("name", name)], body: .bytes(bytes),
            timeout: .seconds(120), operation: "create a container of \(body.image)", notFound: .imageNotFound
        ).id
    }

    func start(_ id: String) async throws {
        try await send(
            .POST, "/containers/\(id)/start", timeout: .seconds(120), operation: "start the container \(id.prefix(12))")
    }

    /// Waits for the next end; ask before the start, so that a short life is not missed.
    func waitForExit(_ id: String) async throws -> Int {
        try await json(
            ContainerExit.self, .POST, "/containers/\(id)/wait", query: [("condition", "next-exit")], timeout: .hours(24 * 400),
            operation: "wait for the container \(id.prefix(12))"
        ).statusCode
    }

    func inspect(_ id: String) async throws -> ContainerState {
        try await json(
            ContainerState.self, .GET, "/containers/\(id)/json", operation: "inspect the container \(id.prefix(12))")
    }

    /// Harmless for one that does not run any more.
    func kill(_ id: String, signal: String = "KILL") async throws {
        try await send(
            .POST, "/containers/\(id)/kill", query: [("signal", signal)], operation: "kill the container \(id.prefix(12))",
            accepting: [404, 409, 500])
    }

    /// Kills it where it runs, and removes it with its volumes. Harmless for one that is gone.
    func remove(_ id: String) async throws {
        try await send(
            .DELETE, "/containers/\(id)", query: [("force", "true"), ("v", "true")],
            operation: "remove the container \(id.prefix(12))", accepting: [404, 409])
    }

    /// Every container, running or not, that carries all of `labels`.
    func containers(labels: [String]) async throws -> [ListedContainer] {
        let filters = String(decoding: try EngineJSON.encode(["label": labels]), as: UTF8.self)
        return try await json(
            [ListedContainer].self, .GET, "/containers/json", query: [("all", "true"), ("filters", filters)],
            operation: "list containers")
    }
}
