import AsyncHTTPClient
import CargoQueue
import NIOCore
import NIOHTTP1

/// Calls of this coordinator to the others on its store, over HTTP.
struct PeerClient: PeerCalls {
    /// The other side says something each five seconds.
    private static let silence = TimeAmount.seconds(15)
    /// A report is taken as fast as a disk takes it.
    private static let patience = TimeAmount.seconds(10)
    /// Streams to one coordinator: each has a reader here, and readers are bounded as connections are.
    private static let mostStreams = 20_000
    private static let largestAnswer = 1 << 20

    private let client: HTTPClient

    init() {
        var configuration = HTTPClient.Configuration(
            redirectConfiguration: .disallow,
            timeout: .init(connect: .seconds(2), read: Self.silence),
            connectionPool: .init(idleTimeout: .seconds(30), concurrentHTTP1ConnectionsPerHostSoftLimit: Self.mostStreams))
        configuration.httpVersion = .http1Only
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    /// What a coordinator answered instead of what was asked.
    struct Unexpected: Error {
        let status: UInt
    }

    @concurrent
    func read(
        _ url: String, header: String, receive: @escaping @Sendable ([UInt8]) async throws -> Void
    ) async throws {
        var request = HTTPClientRequest(url: url)
        request.headers.add(name: Peers.header, value: header)
        // The deadline is the silence's: a stream lives as long as its reader.
        let response = try await client.execute(request, deadline: .distantFuture)
        guard response.status == .ok else { throw Unexpected(status: response.status.code) }
        for try await bytes in response.body { try await receive(Array(bytes.readableBytesView)) }
    }

    @concurrent
    func post(_ url: String, header: String, body: [UInt8]) async throws -> (status: Int, body: [UInt8]) {
        var request = HTTPClientRequest(url: url)
        request.method = .POST
        request.headers.add(name: Peers.header, value: header)
        request.headers.add(name: "Content-Type", value: "application/json")
        request.body = .bytes(ByteBuffer(bytes: body))
        let response = try await client.execute(request, timeout: Self.patience)
        let answer = try await response.body.collect(upTo: Self.largestAnswer)
        return (Int(response.status.code), Array(answer.readableBytesView))
    }

    func close() async throws { try await client.shutdown() }
}
