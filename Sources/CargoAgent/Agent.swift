import CargoArtifact
import CargoClient
import CargoEngines
import CargoFiles
import CargoRunner
import CargoStore
import CargoWire
import FoundationEssentials
import Glibc
public import Logging
public import ServiceLifecycle
import Synchronization
import SystemPackage

/// The host's side of a coordinator: claims jobs, runs up to `slots` of them at once, reports each.
///
/// A graceful shutdown takes no new job and waits for the running ones until `drain` is over; then they are handed back.
public struct Agent: Service {
    /// Seconds that one claim waits at the coordinator.
    static let longPoll = 30.0

    private let configuration: AgentConfiguration
    private let logger: Logger
    /// What carries jobs out instead of the store and the runner; nil outside tests.
    private let execution: (any Execution)?

    public init(_ configuration: AgentConfiguration, logger: Logger) {
        self.init(configuration, logger: logger, execution: nil)
    }

    init(_ configuration: AgentConfiguration, logger: Logger, execution: (any Execution)?) {
        self.configuration = configuration
        self.logger = logger
        self.execution = execution
    }

    public func run() async throws {
        let folder = configuration.home.appending("agent")
        let journal = try Journal(root: folder.appending("jobs"))
        // Two agents of one home would share an identity and a journal. Held until the process ends.
        let lock = try Folder.open(folder, create: 0o700)
        guard try lock.tryLock(.exclusive) else {
            throw ClientError(
                status: 0, code: "agent_runs",
                message: "another agent uses \(configuration.home); give each its own LONGSHORE_HOME")
        }
        defer { withExtendedLifetime(lock) {} }
        let store = try CargoStore(root: configuration.home)
        let containers = configuration.allowedImages.map {
            var settings = ContainerSettings(
                agent: Agent.containerLabel(home: configuration.home), trust: .strangers(allowing: $0))
            if let budget = configuration.imageBudget { settings.imageBudget = budget.bytes }
            return settings
        }
        if let containers { try await clearContainers(containers) }
        let identity = try HostIdentity(at: configuration.home.appending("host.key"))
        let door = configuration.usesTunnel ? TunnelDoor() : nil
        let session = HostSession(
            account: configuration.coordinator, identity: identity, name: configuration.name, slots: configuration.slots,
            offer: HostOffer(
                store: store, containers: containers, engines: configuration.engines, meter: configuration.meter,
                maxContextTier: configuration.maxContextTier, region: configuration.region,
                jurisdiction: configuration.jurisdiction, logger: logger),
            admission: HostAdmission(
                home: configuration.home, show: configuration.showPairing, closed: configuration.closed,
                groups: configuration.groups, door: door),
            logger: logger)
        let draining = Gate()
        let drainDeadline = Gate()
        let delivery = Delivery(session: session, drainDeadline: drainDeadline)
        let provisioning = Provisioning(
            store: store,
            runner: EngineRunner(
                store: store, list: configuration.engines, recordsEngines: true,
                models: configuration.chainModels.map { .served($0) } ?? .none),
            session: session,
            trust: configuration.trust,
            allowMissing: configuration.allowMissing, containers: containers,
            logLimits: configuration.logLimits, diskRate: configuration.diskRate)
        let attempt = Attempt(
            session: session, identity: identity, execution: execution ?? provisioning, journal: journal, delivery: delivery,
            drainDeadline: drainDeadline, logger: logger)
        let claims = ClaimLoop(
            session: session, slots: configuration.slots, draining: draining, delivery: delivery, logger: logger)
        let left = journal.left(for: configuration.coordinator.url)

        try await withGracefulShutdownHandler {
            try await registerPatiently(session, draining)
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    await draining.wait()
                    guard draining.isOpen else { return }
                    logger.info("draining")
                    guard (try? await Task.sleep(for: configuration.drain)) != nil else { return }
                    drainDeadline.open()
                }
                let (forwarded, room) = (ForwardedWork(), ServingRoom())
                let given = GivenRequests(configuration.models, forwarded: forwarded, room: room, draining: draining)
                if let door {
                    let keeper = TunnelKeeper(
                        session: session, door: door,
                        forwarding: Forwarding(service: configuration.models, work: forwarded), given: given,
                        draining: draining, logger: logger)
                    group.addTask { await keeper.run() }
                }
                let fetching =
                    configuration.fetchBudget > 0
                    ? Fetching(
                        session: session, store: store, trust: configuration.trust, budget: configuration.fetchBudget,
                        folder: folder, logger: logger) : nil
                if let fetching { group.addTask { await fetching.run() } }
                let reporting = Reporting(
                    session: session, service: configuration.models, prices: configuration.prices, slots: configuration.slots,
                    meter: configuration.meter, maxContextTier: configuration.maxContextTier, fetching: fetching, logger: logger)
                group.addTask { await reporting.run() }
                let serving = configuration.models.map {
                    Serving(
                        session: session, identity: identity, service: $0, forwarded: forwarded, given: given, room: room,
                        draining: draining, drainDeadline: drainDeadline, delivery: delivery, logger: logger)
                }
                await claims.run(
                    beside: {
                        async let served: Void = serve(serving, beside: door)
                        await recover(left, session, delivery)
                        await served
                        await settle(forwarded, draining, drainDeadline)
                    }
                ) { claim, at in
                    await attempt.run(claim, claimedAt: at)
                }
                group.cancelAll()
            }
            logger.info("stopped")
        } onGracefulShutdown: {
            draining.open()
        }
        await configuration.coordinator.shutdown()
    }

    private func serve(_ serving: Serving?, beside door: TunnelDoor?) async {
        guard let serving else { return }
        if let door { await door.beside { await serving.run() } } else { await serving.run() }
    }

    /// Waits for the answers that go straight through the tunnel, once the agent drains.
    private func settle(_ forwarded: ForwardedWork, _ draining: Gate, _ deadline: Gate) async {
        await draining.wait()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await forwarded.done() }
            group.addTask { await deadline.wait() }
            await group.next()
            group.cancelAll()
        }
    }

    /// One home is one agent: by its name the containers of an earlier life are known.
    static func containerLabel(home: FilePath) -> String { String(Digest(of: Array(home.string.utf8)).hex.prefix(32)) }

    /// No container of an earlier life goes on beside the attempts of this one, which will be tried again.
    private func clearContainers(_ containers: ContainerSettings) async throws {
        let engine = try await containers.engineDescription()
        logger.info("containers are on", metadata: ["engine": "\(engine)"])
        if let escapes = await containers.knownEscapes() { logger.warning("\(escapes)") }
        for job in try await containers.removeLeftovers() {
            logger.warning("removed a container that an earlier run of this agent left", metadata: ["job": "\(job)"])
        }
    }

    /// A coordinator that is not there yet is waited for; one that refuses this agent ends it with the reason.
    private func registerPatiently(_ session: HostSession, _ draining: Gate) async throws {
        var backoff = Backoff(first: .milliseconds(200), most: .seconds(5))
        while !draining.isOpen {
            do {
                _ = try await session.client()
                return
            } catch let error as ClientError where error.isTransient {
                logger.warning("the coordinator does not answer yet", metadata: ["error": "\(error)"])
                try await Task.sleep(for: backoff.next())
            }
        }
    }

    /// Outcomes of an earlier life are reported again; attempts that died with it are handed back at once.
    private func recover(_ entries: [Journal.Entry], _ session: HostSession, _ delivery: Delivery) async {
        for entry in entries {
            var logger = logger
            logger[metadataKey: "job"] = "\(entry.claimed.job)"
            let outcome =
                entry.outcome()
                ?? Journal.Outcome(
                    failure: Failure(
                        lease: entry.claimed.lease, error: JobError(.hostLost, "the agent was restarted while the job ran"),
                        retryable: true), logStart: 0, log: [])
            let channel = AttemptChannel(
                job: entry.claimed.job, lease: entry.claimed.lease, grantedAt: .now, session: session,
                logStart: outcome.logStart, logger: logger)
            logger.info("left by an earlier run of this agent: reporting it")
            await withTaskGroup(of: Void.self) { group in
                await channel.beginReporting()
                group.addTask { await channel.beat() }
                for chunk in outcome.log { await channel.append(chunk) }
                await delivery.deliver(outcome, of: entry, over: channel, logger)
                group.cancelAll()
            }
        }
    }
}
