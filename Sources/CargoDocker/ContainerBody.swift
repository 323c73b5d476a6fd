internal import CargoArtifact
internal import SystemPackage

/// The body of the Engine API's ContainerCreate: exactly the fields that we set.
///
/// Everything that a stranger's container could use against its host is shut here, in one value that tests can read.
struct ContainerBody: Hashable, Sendable, Encodable {
    struct LogConfig: Hashable, Sendable, Encodable {
        var type: String
        var config: [String: String]
    }
    struct BindOptions: Hashable, Sendable, Encodable {
        var propagation: String
    }
    struct Mount: Hashable, Sendable, Encodable {
        var type: String
        var source: String
        var target: String
        var readOnly: Bool
        var bindOptions: BindOptions
    }
    struct Ulimit: Hashable, Sendable, Encodable {
        var name: String
        var soft: UInt64
        var hard: UInt64
    }
    struct RestartPolicy: Hashable, Sendable, Encodable {
        var name: String
    }
    struct DeviceRequest: Hashable, Sendable, Encodable {
        var driver: String
        var deviceIDs: [String]
        var capabilities: [[String]]
    }
    struct Device: Hashable, Sendable, Encodable {
        var pathOnHost: String
        var pathInContainer: String
        var cgroupPermissions: String
    }
    struct HostConfig: Hashable, Sendable, Encodable {
        var capDrop: [String]
        var privileged: Bool
        var securityOpt: [String]
        var readonlyRootfs: Bool
        var networkMode: String
        var ipcMode: String
        var cgroupnsMode: String
        var pidsLimit: Int
        var memory: Int64
        var memorySwap: Int64
        var nanoCpus: Int64
        var shmSize: Int64
        var tmpfs: [String: String]
        var mounts: [Mount]
        var ulimits: [Ulimit]
        var logConfig: LogConfig
        var restartPolicy: RestartPolicy
        var autoRemove: Bool
        var oomScoreAdj: Int
        var maskedPaths: [String]
        var readonlyPaths: [String]
        var deviceRequests: [DeviceRequest]?
        var devices: [Device]?
    }

    var image: String
    var entrypoint: [String]
    var cmd: [String]
    var env: [String]
    var user: String
    var workingDir: String
    var hostname: String
    var labels: [String: String]
    var networkDisabled: Bool
    var tty: Bool
    var openStdin: Bool
    var stdinOnce: Bool
    var attachStdin: Bool
    var attachStdout: Bool
    var attachStderr: Bool
    var hostConfig: HostConfig
}

extension ContainerBody {
    /// Where the host's side of a container stands inside: pid 1 and the socket to its agent.
    static let controlFolder = "/.longshore"
    static let defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    /// Volumes that an image may declare; more is refused.
    static let maximumVolumes = 32

    /// Decides everything; refuses what an image or a job may not ask for.
    init(_ spec: ContainerSpec, image wishes: ImageWishes, host: ContainerHost) throws {
        let command = (spec.command ?? wishes.command) + spec.arguments
        guard !command.isEmpty else {
            throw Refusal("no-command", "the image names no command and the job gives none; give one after --")
        }
        image = spec.image
        entrypoint = [ContainerBody.controlFolder + "/init"]
        cmd = command
        env = ContainerBody.environment(spec, wishes, host)
        user = ContainerBody.user(wishes.user, host)
        workingDir = spec.workingFolder ?? wishes.workingFolder.flatMap { $0.isEmpty ? nil : $0 } ?? "/"
        hostname = "cargo"
        labels = [ContainerLabel.job: spec.job, ContainerLabel.agent: spec.agent]
        networkDisabled = spec.network == .none
        tty = spec.isTerminal
        openStdin = spec.hasInput
        stdinOnce = spec.hasInput
        attachStdin = spec.hasInput
        attachStdout = true
        attachStderr = true
        hostConfig = try ContainerBody.hostConfig(spec, wishes, host)
    }

    private static func hostConfig(_ spec: ContainerSpec, _ wishes: ImageWishes, _ host: ContainerHost) throws -> HostConfig {
        var config = HostConfig(
            capDrop: ["ALL"], privileged: false,
            securityOpt: ["no-new-privileges" + (host.engine == .docker ? ":true" : ""), "seccomp=" + spec.profile],
            readonlyRootfs: true, networkMode: spec.network == .none ? "none" : "host", ipcMode: "private",
            cgroupnsMode: "private",
            // One for pid 1, which is ours.
            pidsLimit: max(2, spec.limits.processes + 1), memory: max(6 << 20, spec.limits.memory),
            memorySwap: max(6 << 20, spec.limits.memory),
            nanoCpus: Int64(max(0.01, min(spec.limits.cpu, Double(host.cores))) * 1e9), shmSize: spec.limits.temporaryBytes,
            tmpfs: try tmpfs(spec, wishes, host), mounts: mounts(spec), ulimits: ulimits(spec, host),
            // The agent reads the attached streams; an engine that also wrote them to its disk would have no bound there.
            logConfig: LogConfig(type: "none", config: [:]), restartPolicy: RestartPolicy(name: "no"), autoRemove: false,
            // Under memory pressure of the whole host a job goes before what keeps the host.
            oomScoreAdj: 500, maskedPaths: maskedPaths, readonlyPaths: readonlyPaths)
        switch (spec.gpus, host.engine) {
        case (.none, _): break
        case (.cdi(let names), .docker):
            config.deviceRequests = [DeviceRequest(driver: "cdi", deviceIDs: names, capabilities: [])]
        case (.cdi(let names), .podman):
            config.devices = names.map { Device(pathOnHost: $0, pathInContainer: "", cgroupPermissions: "") }
        case (.nvidia(let ids), _):
            config.deviceRequests = [
                DeviceRequest(driver: "nvidia", deviceIDs: ids, capabilities: [["gpu", "compute", "utility"]])
            ]
        }
        return config
    }

    /// Names that neither a job nor an image may set (docs/rules.md 4): they steer the loader, the GPU runtime or us.
    static func isReserved(_ name: some StringProtocol) -> Bool {
        name == "PATH" || ["LD_", "CARGO_", "NVIDIA_", "LLAMA_ARG_"].contains { name.hasPrefix($0) }
    }

    private static func environment(_ spec: ContainerSpec, _ wishes: ImageWishes, _ host: ContainerHost) -> [String] {
        var values = ["PATH": defaultPath, "HOME": "/tmp", "TMPDIR": "/tmp"]
        values.merge(spec.environment) { $1 }
        let reserved = wishes.environment.map { $0.prefix { $0 != "=" } }.filter { isReserved($0) && values[String($0)] == nil }
        // A bare name takes the variable away in Docker; to Podman it would mean its own service's value.
        let removed = Set(reserved).sorted().map { host.engine == .docker ? String($0) : $0 + "=" }
        return values.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" } + removed
    }

    /// The image's own user where it is not root; else one that owns nothing on this host.
    ///
    /// Without root this process could not read what another user left in the output folder, so the user is its own; in a
    /// rootless engine that is the container's root.
    static func user(_ wish: String?, _ host: ContainerHost) -> String {
        if host.isRootless { return "0:0" }
        if host.user != 0 { return "\(host.user):\(host.group)" }
        let wish = wish ?? ""
        let name = wish.prefix { $0 != ":" }
        let isRoot = name.isEmpty || name == "root" || name.allSatisfy { $0 == "0" }
        return isRoot ? "\(host.jobUser):\(host.jobUser)" : wish
    }

    private static func tmpfs(_ spec: ContainerSpec, _ wishes: ImageWishes, _ host: ContainerHost) throws -> [String: String] {
        guard wishes.volumes.count <= maximumVolumes else {
            throw Refusal("image-volumes", "the image declares more than \(maximumVolumes) volumes")
        }
        // An inode costs kernel memory that no byte bound counts.
        let inodes = host.engine == .docker ? ",nr_inodes=\(max(1024, spec.limits.temporaryBytes / 4096))" : ""
        // runc gives such a mount the mode of the folder that it covers; its owner can write there all the same.
        let ids = user(wishes.user, host).split(separator: ":").compactMap { UInt32($0) }
        let owner = host.engine == .docker ? ids.first.map { ",uid=\($0),gid=\(ids.last ?? $0)" } ?? "" : ""
        let options = "rw,nosuid,nodev,exec,mode=1777,size=\(spec.limits.temporaryBytes)" + inodes + owner
        var tmpfs = ["/tmp": options]
        let taken = ["/proc", "/sys", "/dev", "/job", "/cargo", controlFolder]
        for volume in wishes.volumes {
            let parts = volume.split(separator: "/", omittingEmptySubsequences: true)
            let path = "/" + parts.joined(separator: "/")
            let isSafe = volume.hasPrefix("/") && !parts.isEmpty && !parts.contains { $0 == ".." || $0 == "." }
            guard isSafe, !taken.contains(where: { path == $0 || path.hasPrefix($0 + "/") }), path.utf8.count <= 1024 else {
                throw Refusal("image-volumes", "the image declares the volume '\(volume.prefix(200))', which no job may have")
            }
            tmpfs[path] = options
        }
        return tmpfs
    }

    private static func mounts(_ spec: ContainerSpec) -> [Mount] {
        let control = ContainerShare(source: spec.control, target: controlFolder)
        return (spec.shares + [control]).map { share in
            Mount(
                type: "bind", source: share.source.string, target: share.target, readOnly: !share.isWritable,
                bindOptions: BindOptions(propagation: "rprivate"))
        }
    }

    private static func ulimits(_ spec: ContainerSpec, _ host: ContainerHost) -> [Ulimit] {
        let files = min(spec.limits.openFiles, host.hardOpenFiles)
        let processes = min(1 << 15, host.hardProcesses)
        var limits = [
            Ulimit(name: "core", soft: 0, hard: 0), Ulimit(name: "nofile", soft: files, hard: files),
            Ulimit(name: "nproc", soft: processes, hard: processes),
        ]
        if let size = spec.limits.fileSize {
            limits.append(Ulimit(name: "fsize", soft: UInt64(max(0, size)), hard: UInt64(max(0, size))))
        }
        if let seconds = spec.limits.cpuSeconds {
            limits.append(Ulimit(name: "cpu", soft: UInt64(max(1, seconds)), hard: UInt64(max(1, seconds)) + 1))
        }
        return limits
    }

    /// Docker's own list, and what later versions added to it.
    static let maskedPaths = [
        "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
        "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
    ]
    static let readonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
}
