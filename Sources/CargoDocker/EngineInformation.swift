internal import FoundationEssentials
internal import NIOHTTP1

/// What an engine says of itself and its host (Engine API, SystemVersion and SystemInfo).
public struct EngineInformation: Hashable, Sendable {
    /// `20.10.24`
    public var version: String
    /// `overlay2`
    public var storageDriver: String
    /// `1` or `2`
    public var cgroupVersion: String
    public var cgroupDriver: String
    /// Enforces limits of memory, swap, processes and processor time.
    public var limitsMemory: Bool
    public var limitsSwap: Bool
    public var limitsProcesses: Bool
    public var limitsCPU: Bool
    public var filtersSystemCalls: Bool
    /// Runs without root on this host.
    public var isRootless: Bool
    /// Name and version of what starts containers, e.g. `runc 1.1.5`.
    public var runtimes: [String]
    public var warnings: [String]
}

private struct VersionAnswer: Decodable {
    struct Component: Decodable {
        var name: String
        var version: String
    }
    var version: String
    var components: [Component]?
}

private struct InfoAnswer: Decodable {
    var driver: String?
    var cgroupDriver: String?
    var cgroupVersion: String?
    var memoryLimit: Bool?
    var swapLimit: Bool?
    var pidsLimit: Bool?
    var cpuCfsQuota: Bool?
    var securityOptions: [String]?
    var warnings: [String]?
}

extension Engine {
    public func information() async throws -> EngineInformation {
        let said = try await json(VersionAnswer.self, .GET, "/version", operation: "ask the engine for its version")
        let info = try await json(InfoAnswer.self, .GET, "/info", operation: "ask the engine about its host")
        let options = info.securityOptions ?? []
        return EngineInformation(
            version: said.version, storageDriver: info.driver ?? "", cgroupVersion: info.cgroupVersion ?? "1",
            cgroupDriver: info.cgroupDriver ?? "", limitsMemory: info.memoryLimit ?? false, limitsSwap: info.swapLimit ?? false,
            limitsProcesses: info.pidsLimit ?? false, limitsCPU: info.cpuCfsQuota ?? false,
            filtersSystemCalls: options.contains { $0.hasPrefix("name=seccomp") },
            isRootless: options.contains { $0.hasPrefix("name=rootless") },
            runtimes: (said.components ?? []).filter { $0.name != "Engine" }.map { "\($0.name) \($0.version)" },
            warnings: info.warnings ?? [])
    }
}
