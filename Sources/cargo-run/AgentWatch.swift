import CargoAgent
import CargoClient
import CargoEndpoints
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

    init(_ configuration: AgentConfiguration, port: Int, logger: Logger) {
        self.configuration = configuration
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
        return HostStatus(
            name: configuration.name, coordinator: configuration.coordinator.url, at: HostStatus.now(),
            slots: configuration.slots,
            jobs: jobs ?? [], models: await configuration.models?.models() ?? [],
            metrics: await configuration.meter?.current() ?? HostMetrics())
    }
}

/// What this machine calls itself.
func machineName() -> String {
    var bytes = [CChar](repeating: 0, count: 256)
    guard gethostname(&bytes, bytes.count - 1) == 0 else { return "host" }
    return String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
