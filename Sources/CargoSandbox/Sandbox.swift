import CLinux
import FoundationEssentials
import Glibc
import Synchronization
public import SystemPackage

/// Confines and starts processes. One a process of this program is enough: it keeps what every launch shares — the
/// sealed `cargo-init`, compiled filters, this host's facts — and nothing of a finished job.
public final class Sandbox: Sendable {
    private let program: Descriptor
    let host: HostFacts
    let layout: CgroupLayout
    /// Compiled filters by profile name: a handful of profiles exist.
    private let filters = Mutex<[String: [UInt8]]>([:])
    private let cache: FilterCache?

    /// - Parameter cache: a folder of this user alone in which compiled filters are kept; nil compiles them anew.
    public init(cache: FilePath? = nil) throws(SandboxError) {
        self.cache = cache.map { FilterCache(folder: $0) }
        guard let image = Data(base64Encoded: EmbeddedPrograms.cargoInit) else {
            throw SandboxError(.failed, "this program was built without cargo-init; build it again")
        }
        let file = image.withUnsafeBytes { clinux_sealed_file("cargo-init", $0.baseAddress, $0.count, 1) }
        guard file >= 0 else {
            throw SandboxError(
                .refused, mechanism: "memfd",
                "this kernel allows no executable memory file (\(SystemError.text(errno))); set vm.memfd_noexec to 0 or 1")
        }
        program = Descriptor(file)
        host = HostFacts.gather()
        layout = CgroupLayout.find(
            mountinfo: SmallFile.text("/proc/self/mountinfo") ?? "", membership: SmallFile.text("/proc/self/cgroup") ?? "",
            isRoot: host.isRoot)
        CgroupFolder.sweep(layout)
    }

    /// The profiles that this program carries.
    public static var profileNames: [String] { EmbeddedPrograms.profiles.keys.filter { !$0.isEmpty }.sorted() }

    /// A user id for a job; files that the job may write must belong to it.
    public func reserveUser() throws(SandboxError) -> JobUser { try JobUser.reserve() }

    /// How files of root become readable to one job without a copy; nil where this host cannot do it.
    public func ownerMapping(for user: JobUser) -> OwnerMapping? { OwnerMapping(program: program, user: user) }

    /// Mechanisms that `spec` asks for, this host lacks and the operator allowed to be missing.
    public func missing(for spec: SandboxSpec) -> [String] {
        var missing: [String] = []
        if host.landlockABI == 0, spec.allowMissing.contains("landlock") { missing.append("landlock") }
        if spec.allowMissing.contains("cgroup"),
            case .failure = Result(catching: { try cgroup(for: SandboxSpec(command: [])).remove() })
        {
            missing.append("cgroup")
        }
        if spec.allowMissing.contains("disk-rate"), let rate = spec.limits.diskRate {
            var trial = SandboxSpec(command: [])
            trial.limits.diskRate = rate
            do throws(SandboxError) {
                try cgroup(for: trial).remove()
            } catch {
                if error.mechanism == "disk-rate" { missing.append("disk-rate") }
            }
        }
        return missing
    }

    /// Starts the command of `spec` as `user`. Returns when it was executed inside.
    /// Throws `SandboxError` when nothing was run.
    public func launch(_ spec: SandboxSpec, as user: JobUser) async throws -> ConfinedProcess {
        guard !spec.command.isEmpty else { throw SandboxError(.failed, "the cargo names no command") }
        guard host.landlockABI > 0 || spec.allowMissing.contains("landlock") else {
            throw SandboxError(
                .refused, mechanism: "landlock",
                "this kernel does not enforce Landlock; add landlock to the kernel's lsm= list (Linux 5.13 or newer), or allow it to be missing with --allow-missing landlock"
            )
        }
        let filter = try filter(spec.profile, tracing: spec.tracesCalls)
        var planner = LaunchPlanner(spec: spec, host: host, filter: filter)
        planner.traces = spec.tracesCalls
        return try await WorkThread.launching.run { [self, planner] in try start(planner, spec: spec, user: user) }
    }

    /// The compiled filter of an embedded profile, for a benchmark's peer that loads the same one.
    package func compiledFilter(_ name: String) throws(SandboxError) -> [UInt8] { try filter(name, tracing: false) }

    /// The compiled filter of an embedded profile.
    private func filter(_ name: String, tracing: Bool) throws(SandboxError) -> [UInt8] {
        let key = tracing ? name + " traced" : name
        if let ready = filters.withLock({ $0[key] }) { return ready }
        guard !name.isEmpty, let encoded = EmbeddedPrograms.profiles[name], let json = Data(base64Encoded: encoded) else {
            throw SandboxError(
                .refused, mechanism: "seccomp",
                "there is no sandbox profile '\(name)'; known are \(Sandbox.profileNames.joined(separator: ", "))")
        }
        let place = cache.map { ($0, FilterCache.Key(profile: Array(json), tracing: tracing)) }
        let program: [UInt8]
        if let place, let kept = place.0.filter(for: place.1) {
            program = kept
        } else {
            program = try SeccompFilter.compile(SeccompProfile(json: Array(json), name: name), tracing: tracing).program
            if let place { place.0.keep(program, for: place.1) }
        }
        filters.withLock { $0[key] = program }
        return program
    }

    /// A new cgroup with the limits of `spec`, and nothing in it.
    func cgroup(for spec: SandboxSpec) throws(SandboxError) -> any Cgroup {
        let cgroup = try emptyCgroup()
        do {
            return try cgroup.limited(by: spec.limits)
        } catch {
            cgroup.remove()
            throw error
        }
    }

    private func emptyCgroup() throws(SandboxError) -> any Cgroup {
        // The process id says whose cgroup was left behind; the random part tells process namespaces apart.
        let name = "job-\(getpid())-" + String(UInt64.random(in: 0 ... .max), radix: 36)
        switch layout {
        case .unified(let parent): return try CgroupV2(parent: parent, name: name)
        case .legacy(let parents): return try CgroupV1(parents: parents, name: name)
        case .absent(let why):
            throw SandboxError(
                .refused, mechanism: "cgroup", "\(why); mount cgroup2, or allow it to be missing with --allow-missing cgroup")
        }
    }

    /// On the launching thread: everything from the cgroup to the executed command.
    private func start(_ planner: LaunchPlanner, spec: SandboxSpec, user: JobUser) throws -> ConfinedProcess {
        let started = Clock.nanoseconds()
        let (waiting, empty) = try waitingInit(spec)
        // From here on cargo-init starts on its own processor, beside what its plan is made of.
        var cgroup = empty
        do {
            cgroup = try limited(empty, spec)
            var planner = planner
            planner.joins = cgroup?.joins ?? []
            return try LaunchAttempt(
                waiting: waiting, plan: planner.plan(), spec: spec, user: user, cgroup: cgroup, started: started
            ).run()
        } catch {
            waiting.end()
            cgroup?.remove()
            throw error
        }
    }

    /// A new `cargo-init` in a new cgroup; without one where the operator allows that.
    private func waitingInit(_ spec: SandboxSpec) throws -> (WaitingInit, (any Cgroup)?) {
        var cgroup: (any Cgroup)?
        do throws(SandboxError) {
            cgroup = try emptyCgroup()
        } catch {
            guard let mechanism = error.mechanism, spec.allowMissing.contains(mechanism) else { throw error }
        }
        do {
            let waiting = try WaitingInit(
                program: program, namespaces: LaunchPlanner.namespaces, birthplace: cgroup?.birthplace,
                input: spec.standardInputFile(), trees: spec.mounts.map(\.tree))
            return (waiting, cgroup)
        } catch {
            cgroup?.remove()
            throw error
        }
    }

    /// The cgroup with the limits of `spec`, less those that the operator allows to be missing.
    private func limited(_ cgroup: (any Cgroup)?, _ spec: SandboxSpec) throws(SandboxError) -> (any Cgroup)? {
        guard let cgroup else { return nil }
        do throws(SandboxError) {
            return try cgroup.limited(by: spec.limits)
        } catch {
            guard let mechanism = error.mechanism, spec.allowMissing.contains(mechanism) else { throw error }
            guard mechanism == "disk-rate" else { return cgroup }
            var rest = spec.limits
            rest.diskRate = nil
            return try cgroup.limited(by: rest)
        }
    }
}

extension SandboxSpec {
    /// What the command reads as standard input; nil is nothing.
    fileprivate func standardInputFile() throws -> Descriptor? {
        guard let bytes = standardInput else { return nil }
        return Descriptor(
            try check("make standard input") {
                bytes.withUnsafeBytes { clinux_sealed_file("input", $0.baseAddress, $0.count, 0) }
            })
    }
}

/// The seccomp profiles that this program carries, as the JSON that container runtimes read too.
public enum SandboxProfiles {
    public static func json(named name: String) -> [UInt8]? {
        guard !name.isEmpty, let text = EmbeddedPrograms.profiles[name] else { return nil }
        return Data(base64Encoded: text).map { Array($0) }
    }
}
