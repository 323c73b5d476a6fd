import CargoClient
import CargoWire
import FoundationEssentials
import Logging

/// This host as the coordinator knows it: registers, and again when its token is no longer taken.
actor HostSession {
    private let account: CoordinatorClient
    nonisolated let coordinatorURL: String
    private let identity: HostIdentity
    private let name: String
    private let slots: Int
    let offer: HostOffer
    private let logger: Logger
    private var current: CoordinatorClient?
    private var hostID: String?
    private var registering: Task<CoordinatorClient, any Error>?

    init(
        account: CoordinatorClient, identity: HostIdentity, name: String, slots: Int, offer: HostOffer,
        logger: Logger
    ) {
        self.account = account
        coordinatorURL = account.url
        self.identity = identity
        self.name = name
        self.slots = slots
        self.offer = offer
        self.logger = logger
    }

    /// A client with this host's token; registers first where there is none.
    func client() async throws -> CoordinatorClient {
        if let current { return current }
        return try await register()
    }

    /// The token that `client` carries was not taken: the next call registers again.
    func rejected(_ client: CoordinatorClient) {
        if let current, current.isSame(as: client) { self.current = nil }
    }

    /// Runs a call under the host's token; once more under a fresh one when the token is not taken.
    func call<Value: Sendable>(_ operation: @Sendable (CoordinatorClient) async throws -> Value) async throws -> Value {
        let first = try await client()
        do {
            return try await operation(first)
        } catch let error as ClientError where error.status == 401 {
            rejected(first)
            return try await operation(try await client())
        }
    }

    private func register() async throws -> CoordinatorClient {
        // Two calls that lost the same token share one registration.
        if let registering { return try await registering.value }
        let task = Task {
            let request = try identity.registration(name: name, slots: slots, capabilities: await offer.current(), at: Date())
            let host = try await account.register(request)
            logger.info("registered", metadata: ["host": "\(host.id)", "coordinator": "\(account.url)"])
            hostID = host.id
            return account.with(token: host.token)
        }
        registering = task
        defer { registering = nil }
        let client = try await task.value
        current = client
        return client
    }
}
