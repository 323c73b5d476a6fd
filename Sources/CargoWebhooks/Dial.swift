import AsyncHTTPClient
import CargoArtifact
public import FoundationEssentials
import NIOCore
import NIOHTTP1
import NIOPosix

/// Sends one message over a connection of its own, to an address that was checked and to no other.
///
/// The name is resolved once, the answers are judged, and a judged address is what is connected to: what the name
/// resolves to afterwards does not matter. `Host`, SNI and the certificate's check keep the name. Redirects are not
/// followed, proxies not used, and nothing of the answer's body is read.
public struct Dial: Sendable {
    /// Seconds for everything from the resolver to the answer's head.
    public var seconds = 15.0
    public var policy: AddressPolicy
    /// Blocks; runs on a thread of its own. Tests answer with what they like.
    var resolve: @Sendable (String) throws -> [IPAddress] = { name throws in try IPAddress.resolve(name) }

    /// A resolver blocks, for half a minute where its server is silent; then others wait, and nothing else does.
    private static let resolvers: NIOThreadPool = {
        let pool = NIOThreadPool(numberOfThreads: 8)
        pool.start()
        return pool
    }()

    /// Addresses of a name that are tried in turn.
    private let mostAddresses = 3

    public init(policy: AddressPolicy = AddressPolicy()) { self.policy = policy }

    /// One attempt. Never throws: what went wrong is a result.
    public func post(_ body: Data, to url: WebhookURL, headers: [(name: String, value: String)]) async -> DeliveryResult {
        let limit = seconds
        return await withTaskGroup(of: DeliveryResult.self) { group in
            group.addTask { await attempt(body, url, headers) }
            group.addTask {
                try? await Task.sleep(for: .seconds(limit))
                return .unreachable("the receiver did not answer within \(limit) seconds")
            }
            let first = await group.next()
            group.cancelAll()
            return first ?? .unreachable("cancelled")
        }
    }

    private func attempt(_ body: Data, _ url: WebhookURL, _ headers: [(name: String, value: String)]) async -> DeliveryResult {
        let addresses: [IPAddress]
        do {
            addresses = try await checked(url)
        } catch let refusal as Refusal {
            return .refused(refusal.message)
        } catch {
            return .unreachable("\(url.authority) has no address: \((error as? ResolutionFailure)?.reason ?? "\(error)")")
        }
        var last = DeliveryResult.unreachable("\(url.authority) has no address")
        for address in addresses.prefix(mostAddresses) {
            do {
                return try await send(body, url, headers, to: address)
            } catch let error as HTTPClientError where error == .connectTimeout {
                last = .unreachable("\(address) did not accept a connection in time")
            } catch let error as ChannelError {
                last = .unreachable("\(address) did not accept a connection: \(error)")
            } catch let error as NIOConnectionError {
                last = .unreachable("\(address) did not accept a connection: \(error.connectionErrors.first?.error ?? error)")
            } catch {
                // Bytes may have arrived: another address is the next attempt's.
                return .unreachable("the connection to \(address) failed: \(error)")
            }
        }
        return last
    }

    /// The addresses that may be dialled; throws `Refusal` when the name has only others.
    private func checked(_ url: WebhookURL) async throws -> [IPAddress] {
        let known: [IPAddress]
        switch url.host {
        case .address(let address): known = [address]
        case .name(let name):
            let resolve = resolve
            known = try await Self.resolvers.runIfActive { try resolve(name) }
        }
        let good = known.filter { policy.refusal(of: $0) == nil }
        if good.isEmpty, let bad = known.first, let word = policy.refusal(of: bad) {
            throw WebhookURL.forbidden(url.host == .address(bad) ? "\(bad)" : "\(url.authority) (\(bad))", word)
        }
        return good
    }

    private func send(
        _ body: Data, _ url: WebhookURL, _ headers: [(name: String, value: String)], to address: IPAddress
    ) async throws -> DeliveryResult {
        var configuration = HTTPClient.Configuration()
        configuration.redirectConfiguration = .disallow
        configuration.timeout = .init(connect: .seconds(5), read: .seconds(15), write: .seconds(15))
        configuration.httpVersion = .http1Only
        configuration.connectionPool.retryConnectionEstablishment = false
        // The name in the URL is lower case and plain, so it is the very key that is looked up here.
        if case .name(let name) = url.host { configuration.dnsOverride = [name: address.description] }
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        var request = HTTPClientRequest(url: url.description)
        request.method = .POST
        request.headers.add(name: "Content-Type", value: "application/json")
        request.headers.add(name: "User-Agent", value: "longshore-webhooks")
        request.headers.add(name: "Connection", value: "close")
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        request.body = .bytes(ByteBuffer(bytes: body))
        let outcome: Result<DeliveryResult, any Error>
        do {
            let response = try await client.execute(request, timeout: .nanoseconds(Int64(seconds * 1e9)))
            let retryAfter = response.headers.first(name: "Retry-After").flatMap { Int($0) }
            outcome = .success(.answered(status: Int(response.status.code), retryAfter: retryAfter))
        } catch {
            outcome = .failure(error)
        }
        // Ends the connection under an answer whose body nobody reads.
        try? await client.shutdown()
        return try outcome.get()
    }
}
