import CargoClient
import CargoWire
import FoundationEssentials
import Logging
import SystemPackage

/// This host as the coordinator knows it: registers, and again when its token is no longer taken.
actor HostSession {
    private let account: CoordinatorClient
    nonisolated let coordinatorURL: String
    private let identity: HostIdentity
    private let name: String
    private let slots: Int
    let offer: HostOffer
    private let logger: Logger
    private let admission: HostAdmission
    private var current: CoordinatorClient?
    private var hostID: String?
    private var registering: Task<CoordinatorClient, any Error>?

    init(
        account: CoordinatorClient, identity: HostIdentity, name: String, slots: Int, offer: HostOffer,
        admission: HostAdmission = HostAdmission(), logger: Logger
    ) {
        self.account = account
        coordinatorURL = account.url
        self.identity = identity
        self.name = name
        self.slots = slots
        self.offer = offer
        self.admission = admission
        self.logger = logger
    }

    /// A client with this host's token; registers first where there is none.
    func client() async throws -> CoordinatorClient {
        if let current { return current }
        return try await register()
    }

    /// The token that `client` carries was not taken: the next call registers again.
    func rejected(_ client: CoordinatorClient) {
        guard let current, current.isSame(as: client) else { return }
        self.current = nil
        // A paired host whose token was ended is let in anew by a person, or not at all.
        if !account.hasToken, let home = admission.home { HostCredential.remove(from: home) }
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

    /// Attempts that a word of the coordinator may stop at once, by job.
    private var attempts: [String: @Sendable () async -> Void] = [:]

    /// Jobs and requests that this host works on now.
    var activeJobs: Int { attempts.count }

    func runs(_ job: String, stop: @escaping @Sendable () async -> Void) { attempts[job] = stop }

    func ended(_ job: String) { attempts[job] = nil }

    /// The coordinator says that the job was cancelled.
    func cancelled(_ job: String) async { await attempts[job]?() }

    private func register() async throws -> CoordinatorClient {
        // Two calls that lost the same token share one registration.
        if let registering { return try await registering.value }
        let task = Task {
            var request = try identity.registration(name: name, slots: slots, capabilities: await offer.current(), at: Date())
            request.closed = admission.closed ? true : nil
            request.groups = admission.groups.isEmpty ? nil : admission.groups
            let host = try await admit(request)
            logger.info("registered", metadata: ["host": "\(host.id)", "coordinator": "\(account.url)"])
            hostID = host.id
            let own = account.with(token: host.token)
            return admission.door.map(own.through) ?? own
        }
        registering = task
        defer { registering = nil }
        let client = try await task.value
        current = client
        return client
    }

    /// With an account's key it registers; without one it is who it was, or asks to be let in by a code.
    private func admit(_ request: HostRegistration) async throws -> RegisteredHost {
        if account.hasToken { return try await account.register(request) }
        if let home = admission.home, let kept = HostCredential.load(from: home, coordinator: account.url) {
            return RegisteredHost(id: kept.id, name: name, token: kept.token)
        }
        guard let show = admission.show else {
            throw ClientError(
                status: 0, code: "no_key",
                message: "this host has no credentials yet: start it with --pair, or with --api-key-file")
        }
        while true {
            let pairing = try await account.beginPairing(request)
            show(pairing)
            let end = ContinuousClock.now + .seconds(pairing.expiresIn)
            while ContinuousClock.now < end {
                do {
                    if let host = try await account.pairingAnswer(pairing.code, secret: pairing.secret) {
                        if let home = admission.home {
                            try HostCredential(coordinator: account.url, id: host.id, token: host.token).save(to: home)
                        }
                        return host
                    }
                } catch let error as ClientError where error.isTransient || error.status == 429 {
                    logger.notice("the coordinator does not answer, asking again", metadata: ["error": "\(error)"])
                }
                try await Task.sleep(for: admission.poll)
            }
            logger.notice("nobody confirmed the code in its time: a new one follows")
        }
    }
}

/// How a host comes to its credentials, and whom it serves.
struct HostAdmission: Sendable {
    /// Where a paired host's credentials are kept.
    var home: FilePath?
    /// Shows a person the code; nil where the host was not told to pair.
    var show: (@Sendable (Pairing) -> Void)?
    var closed = false
    var groups: [String] = []
    /// Through which its calls go where it is open.
    var door: TunnelDoor?
    /// How often the host asks whether it was let in.
    var poll = Duration.seconds(2)
}
