import CargoArtifact
import CargoClient
import CargoEndpoints
import CargoMeter
import CargoWire
import FoundationEssentials
import Logging

/// Tells the coordinator each ten seconds how this host is, besides what its claims offer.
struct Reporting: Sendable {
    let session: HostSession
    let service: (any ModelService)?
    let prices: [String: Double]
    let slots: Int
    let meter: HostMeter?
    let maxContextTier: Int?
    /// Acts on what the coordinator hints at; nil where the owner wants nothing fetched ahead.
    let fetching: Fetching?
    let logger: Logger

    private static let interval = 10.0
    /// Models of one report.
    private static let mostModels = 1000
    /// Formats and quantisations of one report.
    private static let mostFormats = 100

    /// Until its task is cancelled.
    func run() async {
        var pause = Reporting.interval
        while !Task.isCancelled {
            do {
                let report = await report()
                let reply = try await session.call { try await $0.report(report) }
                pause = min(60, max(1, reply.seconds))
                fetching?.heard(reply.fetch)
            } catch {
                if Task.isCancelled { return }
                logger.debug("no report: trying again", metadata: ["error": "\(error)"])
            }
            // Hosts that started together do not report together.
            try? await Task.sleep(for: .seconds(pause * Double.random(in: 0.9...1)))
        }
    }

    private func report() async -> HostReport {
        var report = Reporting.report(
            models: await service?.models(), metrics: await meter?.current(), formats: await session.offer.formats())
        if report.freeMemory == nil { report.freeMemory = Reporting.freeMemory().map { ByteCount($0) } }
        report.slots = slots
        report.prices = prices.isEmpty ? nil : prices
        report.maxContextTier = maxContextTier
        report.activeJobs = await session.activeJobs
        return report
    }

    /// What was measured, and what is here. `models`: nil where this host serves none; `formats`: what its engines run.
    static func report(models: [ServedModel]?, metrics: HostMetrics?, formats: [String]) -> HostReport {
        var report = HostReport()
        report.freeMemory = metrics?.memoryFree.map { ByteCount($0) }
        report.freeVRAM = metrics?.gpus.compactMap(\.vramFree).max().map { ByteCount($0) }
        report.models = models.map { Array($0.prefix(mostModels)) }
        let served = models ?? []
        let known = Set(formats + served.compactMap(\.format) + served.compactMap(\.quantization))
        report.formats = known.isEmpty ? nil : Array(known.sorted().prefix(mostFormats))
        // Of what is here now: the speed of a model that went is nobody's measure.
        let names = Set(report.models?.map(\.id) ?? [])
        let speeds = metrics?.models.filter { names.contains($0.key) }.compactMapValues(\.tokensPerSecond) ?? [:]
        report.speed = speeds.isEmpty ? nil : speeds
        return report
    }

    /// `MemAvailable` of proc(5), bytes.
    private static func freeMemory() -> Int64? {
        guard let data = FileManager.default.contents(atPath: "/proc/meminfo") else { return nil }
        return freeMemory(in: String(decoding: data, as: UTF8.self))
    }

    static func freeMemory(in text: String) -> Int64? {
        let line = text.split(separator: "\n").first { $0.hasPrefix("MemAvailable:") }
        return line?.split(separator: " ").dropFirst().first.flatMap { Int64($0) }.map { $0 * 1024 }
    }
}
