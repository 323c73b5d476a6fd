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
        var report = HostReport()
        report.slots = slots
        report.prices = prices.isEmpty ? nil : prices
        report.maxContextTier = maxContextTier
        report.activeJobs = await session.activeJobs
        let metrics = await meter?.current()
        report.freeMemory = (metrics?.memoryFree ?? Reporting.freeMemory()).map { ByteCount($0) }
        report.freeVRAM = metrics?.gpus.compactMap(\.vramFree).max().map { ByteCount($0) }
        let models = await service?.models() ?? []
        if service != nil { report.models = Array(models.prefix(Reporting.mostModels)) }
        let formats = Set(await session.offer.formats() + models.compactMap(\.format) + models.compactMap(\.quantization))
        report.formats = formats.isEmpty ? nil : formats.sorted().prefix(100).map(\.self)
        // Of what is served now: a model that went is nobody's measure.
        let speeds = metrics?.models.compactMapValues(\.tokensPerSecond) ?? [:]
        let served = speeds.filter { model, _ in models.contains { $0.id == model } }
        report.speed = served.isEmpty ? nil : served
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
