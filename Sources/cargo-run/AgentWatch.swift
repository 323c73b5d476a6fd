import CargoAgent
import CargoClient
import CargoEndpoints
import CargoEngines
import CargoFiles
import CargoMeter
import CargoStatus
import CargoWire
import Glibc
import Logging
import SystemPackage

/// Shows the owner of a host what its agent does, on a page of the loopback.
struct AgentWatch: Sendable {
    private let configuration: AgentConfiguration
    private let port: Int
    private let logger: Logger
    private let house: EngineHouse

    init(_ configuration: AgentConfiguration, house: EngineHouse, port: Int, logger: Logger) {
        self.configuration = configuration
        self.house = house
        self.port = port
        self.logger = logger
    }

    /// Until the task is cancelled. An agent works without its page too.
    func run() async {
        do {
            try await StatusServer(home: configuration.home, port: port) { await status() }.run { place in
                logger.info("status page at \(place.url); 'cargo-run top --page' prints its address with the token")
            }
        } catch {
            if !Task.isCancelled { logger.warning("there is no status page", metadata: ["error": "\(error)"]) }
        }
    }

    private func status() async -> HostStatus {
        let configuration = configuration
        let jobs = try? await blocking {
            try Folder.open(configuration.home.appending("agent").appending("jobs")).names(limit: HostStatus.mostJobs).names
                .sorted()
        }
        let loads = house.loads().sorted { $0.key < $1.key }.prefix(HostStatus.mostJobs).map { model, load in
            HostStatus.Load(model: model, current: load.current, total: load.total)
        }
        var status = HostStatus(
            name: configuration.name, coordinator: configuration.coordinator.url, at: HostStatus.now(),
            slots: configuration.slots,
            jobs: jobs ?? [], models: await configuration.models?.models() ?? [],
            metrics: await configuration.meter?.current() ?? HostMetrics())
        status.loads = loads.isEmpty ? nil : loads
        return status
    }
}

/// What this machine calls itself.
func machineName() -> String {
    var bytes = [CChar](repeating: 0, count: 256)
    guard gethostname(&bytes, bytes.count - 1) == 0 else { return "host" }
    return String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
