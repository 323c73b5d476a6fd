import Glibc

/// Limits and accounts of one job in the kernel: one small tree of cgroups, made before the job and removed after it.
protocol Cgroup: Sendable {
    /// A cgroup v2 folder that a process can be born in, or nil.
    var birthplace: Descriptor? { get }
    /// Files in which a process enters its name to join, where it cannot be born inside.
    var joins: [String] { get }
    /// Processes that the kernel killed because the job was out of memory.
    func outOfMemoryKills() -> Int
    /// Processor seconds of all its processes, or nil.
    func cpuSeconds() -> Double?
    /// The same cgroup with its limits set, before anything runs in it. When it throws, the caller removes it.
    func limited(by limits: SandboxSpec.Limits) throws(SandboxError) -> any Cgroup
    /// Removes it at once where nothing is left in it; false where something is.
    func removeEmpty() -> Bool
    /// Bytes that its processes hold: anonymous, shared and mapped from files; without what is only cached. Nil: not counted.
    func memoryBytes() -> Int64?
    /// Whether this process of the host is in it.
    func contains(_ process: Int32) -> Bool
    /// Removes it, after killing what may be left.
    func remove()
}

/// Where the cgroups of jobs are made on this host.
enum CgroupLayout: Sendable {
    /// cgroup v2: one folder below which jobs get theirs.
    case unified(parent: String)
    /// cgroup v1: a folder per controller (`memory`, `pids`, `cpu`, `cpuacct` where mounted).
    case legacy(parents: [String: String])
    /// Nothing that this user can write; the sentence says what is missing.
    case absent(String)

    static let controllers = ["memory", "pids", "cpu", "cpuacct", "blkio"]

    /// How much a job weighs against others when the processor is short: a core's worth is 1024 of v1 and 100 of v2,
    /// as much as any process outside.
    static func shares(cores: Double?) -> (legacy: Int, unified: Int) {
        let cores = min(64, max(0.01, cores ?? 1))
        return (max(2, Int(cores * 1024)), max(1, Int(cores * 100)))
    }

    /// The disk and the rate for a cgroup's file, or the reason why there is none.
    static func disk(_ rate: SandboxSpec.Limits.DiskRate) throws(SystemError) -> (device: String, bytes: Int64) {
        guard let device = DiskDevice.name(under: rate.under) else {
            throw SystemError("find the disk under \(rate.under)", ENODEV)
        }
        return (device, max(4096, rate.bytes))
    }

    static func noDiskRate(_ error: SystemError) -> SandboxError {
        SandboxError(
            .refused, mechanism: "disk-rate",
            "the rate of the disk cannot be limited (\(error)); put $LONGSHORE_HOME on one disk and have the blkio or io controller, or allow it to be missing with --allow-missing disk-rate"
        )
    }

    /// Reads `/proc/self/mountinfo` and `/proc/self/cgroup`; pure, so that every layout can be tested.
    /// Gives candidates: whether they can be written is tried by the caller.
    static func find(mountinfo: String, membership: String, isRoot: Bool) -> CgroupLayout {
        var unified: String?
        var legacy: [String: String] = [:]
        for line in mountinfo.split(separator: "\n") {
            let halves = line.split(separator: " ", omittingEmptySubsequences: true)
            guard let dash = halves.firstIndex(of: "-"), halves.count > dash + 3, halves.count > 4 else { continue }
            let point = String(halves[4])
            switch halves[dash + 1] {
            case "cgroup2": unified = unified ?? point
            case "cgroup":
                for option in halves[dash + 3].split(separator: ",") where controllers.contains(String(option)) {
                    legacy[String(option)] = legacy[String(option)] ?? point
                }
            default: continue
            }
        }
        var own: [String: String] = [:]
        for line in membership.split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3 else { continue }
            for name in parts[1].split(separator: ",", omittingEmptySubsequences: false) { own[String(name)] = String(parts[2]) }
        }
        func join(_ point: String, _ path: String) -> String { path == "/" ? point : point + path }
        if legacy["memory"] != nil, legacy["pids"] != nil {
            return .legacy(
                parents: Dictionary(
                    uniqueKeysWithValues: legacy.map { ($0.key, join($0.value, own[$0.key] ?? "/") + "/longshore") }))
        }
        if let unified {
            return .unified(parent: isRoot ? unified + "/longshore" : join(unified, own[""] ?? "/"))
        }
        return .absent("no cgroup hierarchy with the memory and pids controllers is mounted")
    }
}
