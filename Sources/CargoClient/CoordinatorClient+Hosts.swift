import AsyncHTTPClient
public import CargoFiles
import CargoTunnel
public import CargoWire
import FoundationEssentials
import NIOCore
import NIOHTTP1
public import SystemPackage

/// The calls of a host.
extension CoordinatorClient {
    /// `POST /hosts`.
    public func register(_ host: HostRegistration) async throws -> RegisteredHost {
        try await transport.json(post("/hosts", host))
    }

    /// `POST /hosts/next-job`: nil when there was none within `wait`.
    public func claim(_ request: ClaimRequest) async throws -> Claim? {
        let timeout = TimeAmount.milliseconds(Int64((request.wait ?? 0) * 1000) + 15_000)
        if let answer = try await throughTunnel(.claim, request, timeout: timeout) {
            return answer.status == 204 ? nil : try transport.decode(Claim.self, from: answer.bytes, path: "/hosts/tunnel")
        }
        var call = try post("/hosts/next-job", request)
        call.timeout = timeout
        let response = try await transport.response(to: call)
        let bytes = try await transport.bytes(of: response)
        if response.status.code == 204 || bytes.isEmpty { return nil }
        return try transport.decode(Claim.self, from: bytes, path: call.path)
    }

    /// `POST /jobs/{id}/heartbeat`. `timeout`: how long an answer is worth waiting for.
    public func heartbeat(_ job: String, _ heartbeat: Heartbeat, timeout: Duration = .seconds(15)) async throws -> HeartbeatReply
    {
        if let answer = try await throughTunnel(.heartbeat, job: job, heartbeat, timeout: TimeAmount(timeout)) {
            return try transport.decode(HeartbeatReply.self, from: answer.bytes, path: "/hosts/tunnel")
        }
        var call = try post("/jobs/\(PercentEncoding.segment(job))/heartbeat", heartbeat)
        call.timeout = TimeAmount(timeout)
        return try await transport.json(call)
    }

    /// `PUT /jobs/{id}/outputs/{path}`: staged until the completion names it.
    public func putOutput(_ job: String, path: String, file: File, size: Int64, lease: Lease) async throws {
        var call = Transport.Call(
            method: .PUT, path: "/jobs/\(PercentEncoding.segment(job))/outputs/\(PercentEncoding.path(path))")
        call.headers = [("Content-Type", "application/octet-stream"), try leaseHeader(lease)]
        call.body = .stream(FileBody(file: file, offset: 0, size: size), length: .known(size))
        call.timeout = .hours(24)
        try await transport.send(call)
    }

    /// `POST /jobs/{id}/complete`.
    public func complete(_ job: String, _ completion: Completion) async throws {
        if try await throughTunnel(.complete, job: job, completion, timeout: .seconds(30)) != nil { return }
        try await transport.send(try post("/jobs/\(PercentEncoding.segment(job))/complete", completion))
    }

    /// `POST /jobs/{id}/fail`.
    public func fail(_ job: String, _ failure: Failure) async throws {
        if try await throughTunnel(.fail, job: job, failure, timeout: .seconds(30)) != nil { return }
        try await transport.send(try post("/jobs/\(PercentEncoding.segment(job))/fail", failure))
    }

    /// `GET /jobs/{id}/files/{name}`: one input file, written to `path`, which must not exist; size and SHA-256 checked.
    public func inputFile(_ job: String, _ file: ClaimedJob.File, lease: Lease, to path: FilePath) async throws {
        var call = Transport.Call(path: "/jobs/\(PercentEncoding.segment(job))/files/\(PercentEncoding.path(file.name))")
        call.headers = [try leaseHeader(lease)]
        let target = try SystemPackage.FileDescriptor.open(
            path, .writeOnly, options: [.create, .exclusiveCreate, .closeOnExec, .noFollow], permissions: .ownerReadWrite)
        defer { try? target.close() }
        try await download(call, size: file.size, sha256: file.sha256, name: file.name) { try target.writeAll($0) }
    }

    private func post(_ path: String, _ value: some Encodable) throws -> Transport.Call {
        Transport.Call(method: .POST, path: path, headers: Transport.jsonContent, body: try Transport.body(value))
    }

    private func leaseHeader(_ lease: Lease) throws -> (String, String) {
        ("Longshore-Lease", String(decoding: try wireEncoder().encode(lease), as: UTF8.self))
    }
}

extension TimeAmount {
    init(_ duration: Duration) {
        self = .nanoseconds(duration.components.seconds * 1_000_000_000 + duration.components.attoseconds / 1_000_000_000)
    }
}
