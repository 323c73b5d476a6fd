import ArgumentParser
import CargoAgent
import CargoArtifact
import CargoClient
import CargoEndpoints
import CargoEngines
import CargoMeter
import CargoRunner
import CargoSigning
import CargoStore
import CargoWire
import Glibc
import Logging
import ServiceLifecycle
import SystemPackage
import UnixSignals

/// Works for a coordinator until it is told to stop.
struct AgentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agent",
        abstract: "Run jobs for a coordinator.",
        discussion: """
            Registers this machine, claims jobs, verifies each cargo against the trust file, runs it confined, streams its \
            log and reports its outcome. An agent never runs an unsigned cargo.

            SIGTERM drains: no new job is taken, running ones end, and what is not done after --drain seconds goes back to \
            the queue. Each agent on a machine needs its own $LONGSHORE_HOME.
            """)

    @Option(help: ArgumentHelp("The coordinator. Default: LONGSHORE_URL, then 'longshore login'.", valueName: "url"))
    var coordinator: String?

    @Option(name: .customLong("api-key-file"), help: ArgumentHelp("A key with the scope 'host'.", valueName: "file"))
    var apiKeyFile: String?

    @Option(
        help: ArgumentHelp(
            "Certificates that the coordinator's own may come from besides the system's, as PEM; SSL_CERT_FILE says the same.",
            valueName: "file"))
    var ca: String?

    @Option(help: ArgumentHelp("Whose signatures this host runs. Default: trust.json in $LONGSHORE_CONFIG.", valueName: "file"))
    var trust: String?

    @Option(help: "This host's name. Default: the machine's.")
    var name: String?

    @Option(help: "Jobs at once.")
    var slots: Int = 1

    @Option(
        name: .customLong("allow-missing"),
        help: ArgumentHelp("Run though this host lacks the mechanism (cgroup, landlock …).", valueName: "name"))
    var allowMissing: [String] = []

    @Flag(
        name: .customLong("allow-images"),
        help: "Run jobs in containers of Docker or Podman, also by image names of public registries.")
    var allowImages = false

    @Option(
        name: .customLong("allow-image"),
        help: ArgumentHelp(
            "Run jobs in containers, of images with such names only (ghcr.io/acme/*, local:toolbox:1).", valueName: "pattern"))
    var allowedImages: [String] = []

    @Option(
        name: .customLong("image-budget"),
        help: "Bytes of pulled images that are kept, such as 64GiB (the default); the least recently used go first.")
    var imageBudget: ByteCount?

    @Option(
        name: .customLong("endpoint"),
        help: ArgumentHelp(
            "Offer the models of this server too (http://HOST:PORT[/v1], unix:///PATH); may be given several times.",
            valueName: "url"))
    var endpoints: [String] = []

    @Flag(
        name: .customLong("no-scan"),
        help: "Do not look for model servers (Ollama, LM Studio, llama.cpp, vLLM …) on the usual ports of this machine.")
    var noScan = false

    @Option(
        name: .customLong("scan-port"),
        help: ArgumentHelp("Look for a model server on this port of the loopback as well.", valueName: "port"))
    var scanPorts: [Int] = []

    @Flag(help: "Without an API key: show a six-character code, by which an account lets this host in.")
    var pair = false

    @Flag(help: "Give this host a new identity key, signed by the old one, and end. No agent may run in its home.")
    var rotate = false

    @Flag(help: "Run jobs of its own account and its groups alone.")
    var closed = false

    @Option(
        name: .customLong("group"), help: ArgumentHelp("Serve this group of the account. Repeatable.", valueName: "id or name"))
    var groups: [String] = []

    @Flag(name: .customLong("no-tunnel"), help: "Speak to the coordinator by single calls only.")
    var noTunnel = false

    @Option(
        name: .customLong("price"),
        help: ArgumentHelp(
            "Credits that this host asks for a model, or for all others. Repeatable.", valueName: "[model=]credits"))
    var prices: [String] = []

    @Option(
        name: .customLong("fetch-budget"),
        help: "Bytes of models that this host fetches ahead because requests wait for them (20GiB); 0 fetches none.")
    var fetchBudget: ByteCount?

    @Option(help: "Where this host stands, for jobs that ask for a region, such as eu-west.")
    var region: String?

    @Option(help: "Whose law holds there, such as EU or CH.")
    var jurisdiction: String?

    @Option(
        name: .customLong("max-context-tier"),
        help: ArgumentHelp(
            "The largest prompts that this host takes: 1 (1,500 characters), 2 (6,000), 3 (24,000) or 4 (all).", valueName: "tier"
        ))
    var maxContextTier: Int?

    @Option(
        name: .customLong("model-memory"),
        help: "Memory for all models that engines keep loaded, such as 16GiB. Default: three quarters of this host's.")
    var modelMemory: ByteCount?

    @Option(
        name: .customLong("vram"),
        help: ArgumentHelp("Memory of a GPU for models: once for each GPU, in their order.", valueName: "size"))
    var vram: [ByteCount] = []

    @Option(name: .customLong("model-idle"), help: "How long a model stays loaded that nobody asks (15m); 0 keeps it.")
    var modelIdle: Seconds?

    @Option(
        name: .customLong("status-port"),
        help: ArgumentHelp(
            "The port of the status page on 127.0.0.1. Default: a free one; 'cargo-run top --page' prints it.", valueName: "port")
    )
    var statusPort: Int = 0

    @OptionGroup var hostLimits: HostLimits

    @Option(help: ArgumentHelp("Seconds that running jobs get at a shutdown.", valueName: "seconds"))
    var drain: Double = 60

    @Option(name: .customLong("log-level"), help: "trace, debug, info, notice, warning, error.")
    var logLevel: String = "info"

    func validate() throws {
        _ = try AgentCommand.prices(prices)
        if pair, apiKeyFile != nil { throw ValidationError("--pair is for a host without --api-key-file.") }
        if rotate, pair { throw ValidationError("--rotate is for a host that is known already; --pair brings a new one in.") }
        if pair, !groups.isEmpty {
            throw ValidationError("Whoever confirms the code names the groups: longshore hosts pair --group.")
        }
        guard (1...1024).contains(slots) else { throw ValidationError("--slots is a number from 1 to 1024.") }
        guard Logger.Level(rawValue: logLevel) != nil else { throw ValidationError("--log-level does not know '\(logLevel)'.") }
        guard scanPorts.allSatisfy({ (1...65535).contains($0) }), scanPorts.count <= 64 else {
            throw ValidationError("--scan-port is a port from 1 to 65535, given 64 times at most.")
        }
        _ = try attached()
        guard (1...4).contains(maxContextTier ?? 4) else { throw ValidationError("--max-context-tier is 1, 2, 3 or 4.") }
        guard (0...65535).contains(statusPort) else { throw ValidationError("--status-port is a port up to 65535.") }
        guard drain >= 0, drain <= 86400 else { throw ValidationError("--drain is a number of seconds up to 86400.") }
    }

    func run() async throws {
        do {
            try await work()
        } catch {
            say("cargo-run agent: \(error)")
            throw ExitCode(ProgramExit.failed)
        }
    }

    private func work() async throws {
        // Calls, tunnel and transfers all read the one variable; nothing that the agent starts inherits it.
        if let ca { setenv("SSL_CERT_FILE", ca, 1) }
        var flags = ClientSettings(url: coordinator)
        if let apiKeyFile { flags.apiKey = try ClientSettings.key(from: FilePath(apiKeyFile)) }
        var settings = try ClientSettings.load(flags: flags)
        // A host that pairs never holds an account's key (docs/rules.md 2).
        if pair { settings.apiKey = nil }
        let level = Logger.Level(rawValue: logLevel) ?? .info
        LoggingSystem.bootstrap { label in
            var handler = StreamLogHandler.standardError(label: label)
            handler.logLevel = level
            return handler
        }
        let logger = Logger(label: "cargo-run")
        // One long poll, and for each slot a heartbeat, an upload and a pull at once; a claim and a heartbeat for each answer.
        let client = try settings.client(connections: 2 + 3 * slots + 8 + 2 * 64)
        var configuration = AgentConfiguration(
            coordinator: client, name: name ?? machineName(), slots: slots, home: CargoStore.defaultRoot(),
            trust: trust.map { FilePath($0) } ?? ClientSettings.trustFile(), allowMissing: Set(allowMissing),
            allowedImages: allowImages || !allowedImages.isEmpty
                ? (allowImages ? ContainerSettings.publicRegistries : []) + allowedImages : nil, drain: .seconds(drain))
        configuration.imageBudget = imageBudget
        configuration.closed = closed
        configuration.groups = groups
        configuration.usesTunnel = !noTunnel
        configuration.prices = try AgentCommand.prices(prices)
        configuration.fetchBudget = fetchBudget?.bytes ?? 20 << 30
        configuration.region = region
        configuration.jurisdiction = jurisdiction
        configuration.maxContextTier = maxContextTier
        if pair {
            configuration.showPairing = { pairing in
                say("To let this host in, within \(Int(pairing.expiresIn / 60)) minutes: longshore hosts pair \(pairing.code)")
                say("Its fingerprint: \(pairing.fingerprint)")
            }
        }
        if rotate {
            let rotated = try await IdentityRotation.run(configuration)
            print("\(rotated.host) is now \(rotated.fingerprint), before \(rotated.former)")
            return await client.shutdown()
        }
        configuration.logLimits = hostLimits.log
        configuration.diskRate = hostLimits.diskRate?.bytes
        let found = try foundModels(configuration, logger)
        let house = try house(configuration, beside: found, logger)
        let speeds = ModelSpeeds()
        configuration.models = MeteredModels(ModelServices([house, found]), speeds: speeds)
        configuration.chainModels = house.asked
        configuration.meter = HostMeter(folder: configuration.home, speeds: speeds)
        let watch = AgentWatch(configuration, house: house, port: statusPort, logger: logger)
        // These hold nothing that must be put in order, so they simply end with the program.
        let looking = Task { await found.run() }
        let serving = Task { await house.run() }
        let showing = Task { await watch.run() }
        defer {
            looking.cancel()
            serving.cancel()
            showing.cancel()
        }
        let group = ServiceGroup(
            configuration: .init(
                services: [
                    .init(service: Agent(configuration, logger: logger), successTerminationBehavior: .gracefullyShutdownGroup)
                ],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
        try await group.run()
    }

    /// The servers that were named.
    private func attached() throws -> [EndpointAddress] {
        guard endpoints.count <= 64 else { throw ValidationError("--endpoint may be given 64 times at most.") }
        return try endpoints.map { text in
            do { return try EndpointAddress(text) } catch { throw ValidationError("--endpoint: \(error).") }
        }
    }

    /// The models of this host's store, behind the engines that its owner added.
    private func house(
        _ configuration: AgentConfiguration, beside found: EndpointService, _ logger: Logger
    ) throws -> EngineHouse {
        let all = Int64(sysconf(Int32(_SC_PHYS_PAGES))) * Int64(sysconf(Int32(_SC_PAGESIZE)))
        let trust = configuration.trust
        // Read again at each load, so that a revocation holds at once; an agent never serves what nobody signed.
        var settings = EngineHouse.Settings(
            store: try CargoStore(root: configuration.home), list: configuration.engines,
            memory: modelMemory?.bytes ?? all / 4 * 3
        ) { .trusted(try TrustPolicy(contentsOf: trust)) }
        settings.vram = vram.map(\.bytes)
        settings.beside = found
        if let modelIdle { settings.idle = modelIdle.value > 0 ? modelIdle.value : nil }
        settings.allowMissing = configuration.allowMissing
        settings.onChange = { change in
            switch change {
            case .loading(let model): logger.info("loading a model", metadata: ["model": "\(model)"])
            case .ready(let model, let seconds, let memory):
                logger.info(
                    "a model is loaded",
                    metadata: ["model": "\(model)", "seconds": "\(seconds)", "memory": "\(memory.map(String.init) ?? "unknown")"])
            case .stopped(let model): logger.info("a model was unloaded", metadata: ["model": "\(model)"])
            case .failed(let model, let reason, let tail):
                logger.warning(
                    "an engine failed",
                    metadata: ["model": "\(model)", "reason": "\(reason)", "said": "\(printable(String(tail.suffix(500))))"])
            }
        }
        return EngineHouse(settings)
    }

    /// The model servers that were here already: found, named here, or among the engines.
    private func foundModels(_ configuration: AgentConfiguration, _ logger: Logger) throws -> EndpointService {
        var settings = EndpointService.Settings()
        settings.ports = noScan ? [] : EndpointService.usualPorts + scanPorts.filter { !EndpointService.usualPorts.contains($0) }
        settings.attached = try attached()
        settings.report = { logger.notice("\($0)") }
        let (store, list) = (try CargoStore(root: configuration.home), configuration.engines)
        settings.named = { await EngineSet.load(store: store, list: list).servers.map(\.server) }
        return EndpointService(settings)
    }

    /// `model=credits`, or credits alone for all others.
    private static func prices(_ words: [String]) throws -> [String: Double] {
        try words.reduce(into: [:]) { prices, word in
            let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
            guard let last = parts.last, let credits = Double(last), credits >= 0, credits < 1e12 else {
                throw ValidationError("--price is a number of credits, or MODEL=CREDITS.")
            }
            prices[parts.count == 2 ? parts[0] : "_default"] = credits
        }
    }
}
