/// Turns a specification and the host's facts into a launch plan. Pure: the same words give the same steps, so the
/// order of mounts and of rights given up is tested without root and without a kernel.
struct LaunchPlanner {
    /// The user and group that a job is, inside.
    static let user = 1000
    /// Where the new root grows before it becomes `/`.
    static let base = "/tmp"

    let spec: SandboxSpec
    let host: HostFacts
    /// The compiled filter; empty loads none.
    let filter: [UInt8]
    /// `tasks` files of the cgroups that the process enters by itself.
    var joins: [String] = []
    /// Seccomp notifications go to the supervisor instead of plain refusals.
    var traces = false

    init(spec: SandboxSpec, host: HostFacts, filter: [UInt8]) {
        self.spec = spec
        self.host = host
        self.filter = filter
    }

    /// What `cargo-init` is born into. The network namespace is made beside the mounts, the cgroup namespace when it has
    /// joined its cgroups.
    static let namespaces = Namespaces.user | Namespaces.mount | Namespaces.pid | Namespaces.ipc | Namespaces.uts

    /// Sources, cgroup, identity, mounts, pivot, cgroup namespace, rights given up, command.
    func plan() -> LaunchPlan {
        var root = RootPlanner(spec: spec, host: host)
        let building = root.steps()
        var plan = LaunchPlan(steps: spec.network == .host ? [] : [.makeNetwork])
        plan += joins.map { .join(path: $0) } + root.sources
        plan += [
            .await,
            .become(user: LaunchPlanner.user, group: LaunchPlanner.user, dropGroups: host.isRoot),
            .mount(source: "none", target: "/", type: "", flags: MountFlags.private, data: ""),
        ]
        plan += building
        plan += [.pivot, .readOnly(path: "/", ownMount: true)]
        if spec.network != .host { plan += [.enterNetwork] }
        if case .egress = spec.network { plan += [.listen(port: EgressProxy.port)] }
        plan += [.hostname(spec.hostname), .unshare(flags: Namespaces.cgroup)]
        plan += limits()
        plan += [.oomScore(500), .dropCapabilities, .noNewPrivileges]
        if host.landlockABI > 0 {
            plan += [
                .landlock(
                    LandlockRules(
                        abi: host.landlockABI, writable: root.writable,
                        devices: RootPlanner.devices.map { "/dev/" + $0.name } + spec.devices.sorted(),
                        tcp: tcp))
            ]
        }
        plan += [.fork, .session, .enter(path: spec.workingFolder), .closeDescriptors]
        if !filter.isEmpty { plan += [.seccomp(filter: filter, notify: traces)] }
        plan += [command()]
        return plan
    }

    /// A job with single targets reaches its proxy and no other port; without any network there is nothing to forbid.
    private var tcp: [Int]? {
        if case .egress = spec.network { return [EgressProxy.port] }
        return nil
    }

    /// Clamped to what this host allows the supervisor: a limit is never raised.
    private func limits() -> [LaunchStep] {
        func limit(_ resource: Int, soft: UInt64, hard: UInt64) -> LaunchStep {
            let ceiling = host.hardLimits[resource] ?? .max
            return .limit(resource: resource, soft: min(soft, ceiling), hard: min(hard, ceiling))
        }
        let files = UInt64(max(16, spec.limits.openFiles))
        var steps = [
            // One byte and not none: to the kernel it means that no program of the host is started for a crash either.
            limit(Limit.core, soft: 1, hard: 1),
            limit(Limit.openFiles, soft: min(1024, files), hard: files),
            limit(Limit.messageQueues, soft: 0, hard: 0),
            limit(Limit.signals, soft: 4096, hard: 4096),
            limit(Limit.lockedMemory, soft: 8 << 20, hard: 8 << 20),
            limit(Limit.nice, soft: 0, hard: 0),
            limit(Limit.realtime, soft: 0, hard: 0),
        ]
        if let bytes = spec.limits.fileSize {
            steps.append(limit(Limit.fileSize, soft: UInt64(max(0, bytes)), hard: UInt64(max(0, bytes))))
        }
        if let seconds = spec.limits.cpuSeconds {
            steps.append(limit(Limit.cpu, soft: UInt64(max(1, seconds)), hard: UInt64(max(1, seconds)) + 1))
        }
        // Counted per user id and user namespace: a second bound beside the cgroup's, and the only one without it.
        if let processes = spec.limits.processes {
            steps.append(limit(Limit.processes, soft: UInt64(processes + 1), hard: UInt64(processes + 1)))
        }
        return steps
    }

    private func command() -> LaunchStep {
        let name = spec.command.first ?? ""
        let path = spec.environment.last { $0.name == "PATH" }?.value ?? "/usr/bin:/bin"
        let candidates = name.contains("/") ? [name] : path.split(separator: ":").prefix(32).map { $0 + "/" + name }
        return .exec(
            candidates: candidates, arguments: spec.command, environment: spec.environment.map { $0.name + "=" + $0.value })
    }
}

/// Numbers of `RLIMIT_*`, the same on every architecture that `cargo-init` knows.
enum Limit {
    static let cpu = 0
    static let fileSize = 1
    static let core = 4
    static let processes = 6
    static let openFiles = 7
    static let lockedMemory = 8
    static let signals = 11
    static let messageQueues = 12
    static let nice = 13
    static let realtime = 14
}

/// `CLONE_NEW*`.
enum Namespaces {
    static let mount: UInt = 0x0002_0000
    static let cgroup: UInt = 0x0200_0000
    static let uts: UInt = 0x0400_0000
    static let ipc: UInt = 0x0800_0000
    static let user: UInt = 0x1000_0000
    static let pid: UInt = 0x2000_0000
}

/// `MS_*`.
enum MountFlags {
    static let noSetuid: UInt = 2
    static let noDevices: UInt = 4
    static let noExecution: UInt = 8
    static let `private`: UInt = 0x44000
}
