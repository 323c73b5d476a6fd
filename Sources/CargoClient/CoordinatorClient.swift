import AsyncHTTPClient
public import CargoFiles
public import CargoWire
import NIOCore
import NIOHTTP1

/// A coordinator's API, typed: what the command line, the agent and tests speak through.
///
/// Every call throws `ClientError`, or `CancellationError` when its task was cancelled.
public struct CoordinatorClient: Sendable {
    let transport: Transport
    /// Through which a host's calls go where it is open.
    private(set) var door: TunnelDoor?

    /// `url`: `http(s)://HOST[:PORT]`. `connections`: how many calls may be under way at once.
    public init(url: String, token: String?, connections: Int = 8) throws {
        transport = try Transport(base: url, token: token, connections: connections)
    }

    init(transport: Transport) { self.transport = transport }

    /// Where it speaks to, without a slash at the end.
    public var url: String { transport.base }

    /// The same connections under another credential.
    public func with(token: String?) -> CoordinatorClient { CoordinatorClient(transport: transport.with(token: token)) }

    /// The same, whose calls of a host go through an open tunnel.
    public func through(_ door: TunnelDoor) -> CoordinatorClient {
        var client = self
        client.door = door
        return client
    }

    /// Whether both speak to the same place with the same credential.
    public func isSame(as other: CoordinatorClient) -> Bool {
        transport.base == other.transport.base && transport.token == other.transport.token
    }

    /// Closes the connections; needed wherever the process goes on afterwards.
    public func shutdown() async { try? await transport.http.shutdown() }

    // MARK: Jobs

    /// `POST /jobs`: returns once the job is on the coordinator's disk.
    ///
    /// With an id in the request the call is idempotent and is tried again for up to `patience` when no answer comes.
    public func submit(_ request: JobRequest, patience: Duration = .seconds(10)) async throws -> Job {
        var call = Transport.Call(method: .POST, path: "/jobs", headers: Transport.jsonContent)
        call.body = try Transport.body(request)
        if let id = request.id { call.headers.append(("Idempotency-Key", id)) }
        guard request.id != nil else { return try await transport.json(call) }
        let sent = call
        return try await retrying(for: patience) { try await transport.json(sent) }
    }

    /// `GET /jobs/{id}`.
    public func job(_ id: String) async throws -> Job {
        try await transport.json(.init(path: "/jobs/" + PercentEncoding.segment(id)))
    }

    /// `GET /jobs`: newest first; `before` is the `next` of the page before.
    public func jobs(limit: Int? = nil, before: String? = nil, status: JobStatus? = nil) async throws -> JobList {
        var call = Transport.Call(path: "/jobs")
        if let limit { call.query.append(("limit", String(limit))) }
        if let before { call.query.append(("before", before)) }
        if let status { call.query.append(("status", status.rawValue)) }
        return try await transport.json(call)
    }

    /// `POST /jobs/{id}/cancel`.
    public func cancel(_ id: String) async throws -> Job {
        try await transport.json(.init(method: .POST, path: "/jobs/\(PercentEncoding.segment(id))/cancel"))
    }

    /// `POST /jobs/{id}/replay`: a dead letter runs again.
    public func replay(_ id: String) async throws -> Job {
        try await transport.json(.init(method: .POST, path: "/jobs/\(PercentEncoding.segment(id))/replay"))
    }

    /// `GET /jobs/{id}/outputs`.
    public func outputs(_ id: String) async throws -> [OutputFile] {
        let list: OutputList = try await transport.json(.init(path: "/jobs/\(PercentEncoding.segment(id))/outputs"))
        return list.outputs
    }

    /// `POST /uploads`: a file too large to travel inside `POST /jobs`.
    public func upload(_ file: File) async throws -> Upload {
        let body = FileBody(file: file, offset: 0, size: try file.status().size)
        var call = Transport.Call(method: .POST, path: "/uploads", headers: [("Content-Type", "application/octet-stream")])
        call.timeout = .hours(24)
        call.body = .stream(body, length: .known(body.size))
        return try await transport.json(call)
    }

    /// `GET /healthz`: throws unless the coordinator answers.
    public func health() async throws {
        try await transport.send(.init(path: "/healthz", timeout: .seconds(5)))
    }

    /// Repeats an idempotent call while the server does not answer, for at most `patience`.
    func retrying<Value>(for patience: Duration, _ operation: () async throws -> Value) async throws -> Value {
        let end = ContinuousClock.now + patience
        var backoff = Backoff()
        while true {
            do {
                return try await operation()
            } catch let error as ClientError where error.isTransient {
                let wait = backoff.next()
                guard ContinuousClock.now + wait < end else { throw error }
                try await Task.sleep(for: wait)
            }
        }
    }
}
