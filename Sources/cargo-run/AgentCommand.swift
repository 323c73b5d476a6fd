import ArgumentParser
import CargoAgent
import CargoArtifact
import CargoClient
import CargoRunner
import CargoStore
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

    @OptionGroup var hostLimits: HostLimits

    @Option(help: ArgumentHelp("Seconds that running jobs get at a shutdown.", valueName: "seconds"))
    var drain: Double = 60

    @Option(name: .customLong("log-level"), help: "trace, debug, info, notice, warning, error.")
    var logLevel: String = "info"

    func validate() throws {
        guard (1...1024).contains(slots) else { throw ValidationError("--slots is a number from 1 to 1024.") }
        guard Logger.Level(rawValue: logLevel) != nil else { throw ValidationError("--log-level does not know '\(logLevel)'.") }
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
        var flags = ClientSettings(url: coordinator)
        if let apiKeyFile { flags.apiKey = try ClientSettings.key(from: FilePath(apiKeyFile)) }
        let settings = try ClientSettings.load(flags: flags)
        let level = Logger.Level(rawValue: logLevel) ?? .info
        LoggingSystem.bootstrap { label in
            var handler = StreamLogHandler.standardError(label: label)
            handler.logLevel = level
            return handler
        }
        let logger = Logger(label: "cargo-run")
        // One long poll, and for each slot a heartbeat, an upload and a pull at once.
        let client = try settings.client(connections: 2 + 3 * slots)
        var configuration = AgentConfiguration(
            coordinator: client, name: name ?? machineName(), slots: slots, home: CargoStore.defaultRoot(),
            trust: trust.map { FilePath($0) } ?? ClientSettings.trustFile(), allowMissing: Set(allowMissing),
            allowedImages: allowImages || !allowedImages.isEmpty
                ? (allowImages ? ContainerSettings.publicRegistries : []) + allowedImages : nil, drain: .seconds(drain))
        configuration.imageBudget = imageBudget
        configuration.logLimits = hostLimits.log
        configuration.diskRate = hostLimits.diskRate?.bytes
        let group = ServiceGroup(
            configuration: .init(
                services: [
                    .init(service: Agent(configuration, logger: logger), successTerminationBehavior: .gracefullyShutdownGroup)
                ],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
        try await group.run()
    }

    private func machineName() -> String {
        var bytes = [CChar](repeating: 0, count: 256)
        guard gethostname(&bytes, bytes.count - 1) == 0 else { return "host" }
        return String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
