public import CargoBlobs
import CargoFiles
import CargoGateway
public import CargoQueue
import CargoRegistry
import CargoSigning
import CargoStore
public import CargoWebhooks
import CargoWire
import Hummingbird
import HummingbirdCore
public import Logging
import NIOCore
import ServiceLifecycle
import Synchronization
public import SystemPackage
import UnixSignals

#if canImport(Glibc)
    import Glibc
#endif

/// Where and how one coordinator serves.
public struct CoordinatorSettings: Sendable {
    public var data: FilePath
    public var host = "127.0.0.1"
    public var port = 8080
    /// Nil: without TLS, as behind a proxy that has it, or on one machine.
    public var tls: TLSFiles?
    public var store = StoreSettings()
    /// A PostgreSQL database (anything libpq reads); nil: SQLite in the data folder.
    public var database: String?
    /// Where the other coordinators on the same database reach this one; nil: where it listens, by the machine's name if it
    /// listens on all its addresses.
    public var advertise: String?
    /// Where the blobs of jobs lie; nil: in the data folder.
    public var blobs: (S3Place, S3Credentials)?
    /// Addresses that callbacks may go to besides the public ones.
    public var callbacks: [AddressBlock] = []
    /// Bytes of the disk that new work leaves free for the state changes of what was accepted.
    public var reserve: Int64 = 64 << 20
    /// Where each request is noted in a line; `-` is standard output, nil nowhere.
    public var accessLog: FilePath?
    /// Seconds that open requests have to end after SIGTERM.
    public var shutdownSeconds = 5
    /// Seconds after which a connection that says nothing, or does not come to the end of a request's head, is closed.
    public var idleSeconds = 75

    public init(data: FilePath) { self.data = data }
}

/// The coordinator as one service: data folder, queue, registry, HTTP.
public struct Coordinator: Sendable {
    private let settings: CoordinatorSettings
    private let logger: Logger
    private let folder: DataFolder
    private let queue: JobQueue
    private let gateway: Gateway
    private let courier: Courier
    private let retention: RetentionService
    private let peerClient: PeerClient?
    private let access: AccessLog?
    /// The admin key, when this start made it: shown once.
    public let newAdminKey: String?

    /// Connections at most; more wait in the listener's backlog.
    private static let mostConnections = 20_000

    /// Locks the data folder and takes up its jobs.
    public init(_ settings: CoordinatorSettings, logger: Logger) async throws {
        self.settings = settings
        self.logger = logger
        folder = try DataFolder(settings.data)
        let metrics = GatewayMetrics()
        var hooks = StoreHooks()
        hooks.onCommit = { metrics.committed($0) }
        hooks.onClaim = { metrics.claimed() }
        hooks.onEnd = { metrics.ended($0) }
        hooks.onLeaseLost = { job, host in
            metrics.leaseLost()
            logger.notice("a host was lost", metadata: ["job": "\(job)", "host": "\(host)"])
        }
        let bell = Doorbell()
        hooks.onWebhook = { bell.ring(.work) }
        if let database = settings.database {
            var store = settings.store
            store.coordinator = try folder.identity()
            let client = PeerClient()
            peerClient = client
            queue = try await JobQueue(folder: settings.data, database: database, settings: store, hooks: hooks, calls: client)
        } else {
            peerClient = nil
            queue = try await JobQueue(folder: settings.data, settings: settings.store, hooks: hooks)
        }
        let store = try BlobStore(root: settings.data.appending("store"))
        let registry = try RegistryIndex(folder: settings.data.appending("registry"), blobs: store)
        let blobs: any JobBlobs
        if let (place, credentials) = settings.blobs {
            let staging = try BlobStore(root: settings.data.appending("staging"))
            blobs = try await blocking { try S3Blobs(place, credentials: credentials, staging: staging) }
        } else {
            blobs = FolderBlobs(store)
        }
        let identity = try SigningKey(
            pem: try await queue.directory.secret("audit head key", making: SigningKey().pem))
        let addresses = AddressPolicy(allowed: settings.callbacks)
        let blobGuard = BlobGuard()
        access = try settings.accessLog.map { try AccessLog(to: $0) }
        let gateway = Gateway(
            queue: queue, blobs: blobs, registry: registry, blobGuard: blobGuard, metrics: metrics,
            disk: DiskSpace(settings.data, reserve: settings.reserve), identity: identity,
            files: try FileShelf(settings.data), addresses: addresses, access: access)
        self.gateway = gateway
        courier = Courier(
            outbox: queue.outbox, dial: Dial(policy: addresses), bell: bell, log: logger,
            render: { try await gateway.webhookBody($0) })
        retention = RetentionService(
            queue: queue, blobs: blobs, store: store, registry: registry, blobGuard: blobGuard, logger: logger)
        if folder.hasAdminKey {
            newAdminKey = nil
        } else {
            let key = try await queue.directory.createKey(name: "admin", scopes: Set(Scope.allCases), account: "default")
            try folder.writeAdminKey(key.token)
            newAdminKey = key.token
        }
    }

    /// The keys of the data folder itself, for when no server runs.
    var directory: Directory { queue.directory }

    func close() {
        queue.close()
        folder.release()
    }

    /// Serves until SIGTERM or SIGINT; `onReady` gets the address once it is bound.
    public func run(onReady: @escaping @Sendable (String) -> Void) async throws {
        signal(SIGPIPE, SIG_IGN)
        let (folder, host, logger, queue, advertise) = (folder, settings.host, logger, queue, settings.advertise)
        var http = HTTP1Channel.Configuration(
            additionalChannelHandlers: [CloseWhenPeerCloses(), ServerWatch()])
        http.httpDecoder = .init(maxHeaderFieldSize: 32 << 10, maxHeaderListSize: 64 << 10, maxHeaderFieldCount: 200)
        let certificate = try settings.tls.map { try ServerCertificate($0, logger: logger) }
        let scheme = certificate == nil ? "http" : "https"
        let server = HTTPServerBuilder { [gateway, http] responder in
            LoopBoundChannel(
                base: TunnelChannel(
                    http: HTTP1Channel(responder: responder, configuration: http), gateway: gateway,
                    certificate: certificate, patience: .seconds(Int64(settings.idleSeconds))))
        }
        let application = Application(
            responder: OwnStack(base: try gateway.router().buildResponder()), server: server,
            configuration: ApplicationConfiguration(
                address: .hostname(host, port: settings.port), serverName: Gateway.serverName, backlog: 4096,
                availableConnectionsDelegate: MaximumAvailableConnections(Coordinator.mostConnections)),
            onServerRunning: { channel in
                let address = "\(scheme)://\(host.contains(":") ? "[\(host)]" : host):\(channel.localAddress?.port ?? 0)"
                do {
                    try folder.writeAddress(address)
                } catch {
                    logger.error("the address could not be written", metadata: ["error": "\(error)"])
                }
                queue.peers?.advertise(advertise ?? Self.advertised(address, listening: host))
                StartupPages.giveBack()
                onReady(address)
            }, logger: logger)
        let limit = ShutdownLimit(patience: .seconds(settings.shutdownSeconds + 5), logger: logger)
        defer { limit.lift() }
        var configuration = ServiceGroupConfiguration(
            services: [
                .init(service: AccessLogService(log: access)), .init(service: QueueService(queue: queue)),
                .init(service: courier), .init(service: retention),
                .init(service: AccountService(queue: queue, isShared: settings.database != nil, logger: logger)),
                .init(service: BatchService(gateway: gateway)),
                .init(service: application),
                .init(
                    service: DrainService(
                        queue: queue, tunnels: gateway.tunnels, requests: gateway.direct,
                        patience: .milliseconds(max(0, settings.shutdownSeconds * 1000 - 1500)), limit: limit)),
            ],
            gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
        if let peerClient {
            configuration.services.append(.init(service: PeerService(queue: queue, client: peerClient, logger: logger)))
        }
        configuration.maximumGracefulShutdownDuration = .seconds(settings.shutdownSeconds)
        defer {
            close()
            access?.close()
        }
        try await ServiceGroup(configuration: configuration).run()
    }
}

extension Coordinator {
    /// An address that another machine can use: every address of this one is its name.
    static func advertised(_ address: String, listening host: String) -> String {
        guard ["0.0.0.0", "::", "*"].contains(host), let colon = address.lastIndex(of: ":") else { return address }
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return address }
        let text = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let scheme = address.prefix { $0 != ":" }
        return "\(scheme)://\(text)\(address[colon...])"
    }
}

/// Drives leases and delayed jobs; goes last.
private struct QueueService: Service {
    let queue: JobQueue

    func run() async throws {
        await cancelWhenGracefulShutdown { await queue.run() }
    }
}

/// Writes the access log; ends after everyone who writes into it.
private struct AccessLogService: Service {
    let log: AccessLog?

    func run() async throws {
        guard let log else { return try await gracefulShutdown() }
        await cancelWhenGracefulShutdown { await log.run() }
    }
}

/// Asks models for what batches hold.
private struct BatchService: Service {
    let gateway: Gateway

    func run() async throws {
        await cancelWhenGracefulShutdown { await gateway.runBatches() }
    }
}

/// Goes first at a shutdown: ends streams and polls, so that the server's connections can finish.
private struct DrainService: Service {
    let queue: JobQueue
    let tunnels: TunnelHub
    let requests: DirectRequests
    /// How long answers that live in memory alone may take to end.
    let patience: Duration
    let limit: ShutdownLimit

    func run() async throws {
        try? await gracefulShutdown()
        // Who embeds a coordinator ends it by cancelling, and decides alone about the process.
        if !Task.isCancelled { limit.begin() }
        tunnels.goAway()
        queue.drain()
        // What was under way has a moment to be answered; an open socket would hold up the end.
        let end = ContinuousClock.now + patience
        repeat {
            try? await Task.sleep(for: .milliseconds(500))
        } while requests.open > 0 && ContinuousClock.now < end && !Task.isCancelled
        tunnels.close()
    }
}

/// Ends the process when a shutdown takes too long, whatever still holds on: all that was acknowledged is on disk.
private final class ShutdownLimit: Sendable {
    private let patience: Duration
    private let logger: Logger
    private let task = Mutex<Task<Void, any Error>?>(nil)

    init(patience: Duration, logger: Logger) {
        self.patience = patience
        self.logger = logger
    }

    func begin() {
        let task = Task.detached { [patience, logger] in
            try await Task.sleep(for: patience)
            logger.error("connections did not end in time; stopping without them")
            _exit(1)
        }
        self.task.withLock { $0 = task }
    }

    func lift() { task.withLock { $0?.cancel() } }
}
