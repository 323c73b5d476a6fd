import Testing

/// One line of the attack program: a thing that strangers will try, written so that its success does no harm.
struct Attempt: Sendable, CustomTestStringConvertible {
    /// The attack surface it belongs to: the line of the list of attacks.
    let line: Int
    /// The program's word for it: what the job does, as a sentence whose subject is left out.
    let name: String

    var testDescription: String { name.replacing("-", with: " ") }
}

extension Attempt {
    private static func line(_ line: Int, _ names: String...) -> [Attempt] { names.map { Attempt(line: line, name: $0) } }

    /// Out through descriptors, the processes' folders and the files below the job.
    static let files = line(
        10,
        "inherits-a-descriptor",
        "opens-the-binary-of-pid-1",
        "lists-the-root-of-pid-1",
        "lists-the-descriptors-of-pid-1",
        "enters-the-folder-of-pid-1",
        "reads-the-environment-of-pid-1",
        "reads-the-maps-of-pid-1",
        "reads-the-auxv-of-pid-1",
        "opens-the-memory-of-pid-1",
        "makes-a-file-in-the-cargo",
        "changes-its-own-executable",
        "makes-a-file-in-usr-bin",
        "makes-a-file-in-etc",
        "makes-a-folder-in-the-root",
        "makes-a-folder-in-dev")

    /// Files of the kernel.
    static let kernelFiles = line(
        11,
        "reads-proc-kcore",
        "reads-proc-keys",
        "reads-proc-key-users",
        "reads-proc-timer-list",
        "reads-dev-kmsg",
        "reads-proc-kmsg",
        "reads-proc-interrupts",
        "reads-firmware-tables",
        "reads-proc-kpagecount",
        "reads-kernel-addresses",
        "opens-sysrq-trigger",
        "opens-core-pattern",
        "opens-poweroff-cmd",
        "opens-the-hostname-sysctl",
        "opens-drop-caches",
        "opens-binfmt-register",
        "opens-overcommit",
        "opens-ip-forward",
        "opens-irq-affinity",
        "opens-mtrr",
        "opens-a-file-of-sys-for-writing",
        "opens-cgroup-files",
        "sees-its-cgroup-path",
        "may-dump-core",
        "raises-its-limits")

    /// Namespaces, mounts, roots and nodes.
    static let namespaces = line(
        12,
        "unshares-users",
        "unshares-mounts",
        "unshares-the-network",
        "unshares-processes",
        "unshares-ipc",
        "unshares-names",
        "unshares-cgroups",
        "unshares-time",
        "clones-into-new-users",
        "clones-into-new-users-by-the-upper-half",
        "clones-into-new-users-by-clone3",
        "clones-into-a-cgroup",
        "enters-its-own-network",
        "enters-the-mounts-of-pid-1",
        "enters-the-users-of-pid-1",
        "enters-namespaces-by-pidfd",
        "mounts-a-tmpfs",
        "mounts-proc",
        "mounts-sysfs",
        "mounts-cgroups",
        "binds-the-root",
        "remounts-the-root",
        "changes-mount-propagation",
        "unmounts",
        "opens-a-file-system",
        "copies-a-mount-tree",
        "moves-a-mount",
        "picks-a-file-system",
        "sets-mount-attributes",
        "changes-its-root",
        "calls-chroot",
        "makes-a-disk-node",
        "makes-a-memory-node")

    /// Processes of the host, of other jobs, and pid 1.
    static let processes = line(
        13,
        "signals-a-host-process",
        "sees-a-host-process",
        "traces-a-host-process",
        "reads-memory-of-a-host-process",
        "takes-a-descriptor-of-a-host-process",
        "reads-limits-of-a-host-process",
        "sets-the-priority-of-a-host-process",
        "signals-every-process",
        "traces-pid-1",
        "reads-memory-of-pid-1",
        "takes-a-descriptor-of-pid-1",
        "compares-itself-with-pid-1",
        "traces-a-sibling",
        "raises-its-priority",
        "runs-in-real-time")

    /// Doors of the kernel that no computation needs.
    static let kernelCalls = line(
        14,
        "makes-a-bpf-map",
        "opens-a-performance-counter",
        "sets-up-io-uring",
        "enters-io-uring",
        "registers-with-io-uring",
        "handles-page-faults",
        "adds-a-key",
        "requests-a-key",
        "reads-a-keyring",
        "loads-a-kernel",
        "loads-a-kernel-file",
        "loads-a-module",
        "loads-a-module-file",
        "unloads-a-module",
        "adds-swap",
        "switches-accounting",
        "asks-for-quotas",
        "reboots",
        "opens-io-ports",
        "opens-one-io-port",
        "reads-the-kernel-log",
        "watches-all-files",
        "hangs-up-the-terminal",
        "renames-the-host",
        "renames-the-domain",
        "lists-mounts",
        "asks-for-a-mount",
        "releases-anothers-memory",
        "moves-anothers-memory",
        "advises-anothers-memory",
        "sets-a-home-node",
        "sets-a-security-attribute",
        "reads-local-descriptors",
        "opens-a-file-by-handle",
        "sets-the-clock",
        "makes-secret-memory",
        "pushes-terminal-input",
        "pushes-terminal-input-by-the-upper-half",
        "pastes-into-a-console",
        "changes-a-line-discipline",
        "calls-by-int-80",
        "calls-by-x32",
        "nests-a-filter")

    /// Privileges, devices, sockets and networks.
    static let reach = line(
        15,
        "sees-devices-of-the-host",
        "opens-a-gpu",
        "connects-to-an-abstract-socket",
        "connects-to-a-container-socket",
        "connects-to-another-jobs-socket",
        "connects-to-a-port-of-the-host",
        "connects-to-the-metadata-address",
        "sees-network-interfaces",
        "opens-a-raw-socket",
        "opens-a-packet-socket",
        "opens-a-machine-socket",
        "opens-a-crypto-socket",
        "opens-an-audit-socket",
        "hears-device-events",
        "finds-shared-memory-of-the-host",
        "opens-a-message-queue-of-the-host",
        "opens-shared-files-of-the-host",
        "holds-capabilities",
        "may-gain-privileges",
        "raises-an-ambient-capability",
        "becomes-another-user",
        "changes-its-groups",
        "gains-by-a-setuid-file")

    /// What the host knows and no job may.
    static let secrets = line(
        16,
        "reads-shadow",
        "lists-the-home-of-root",
        "lists-homes",
        "lists-var-lib",
        "reads-a-file-of-the-host",
        "finds-the-hosts-environment",
        "sees-arguments-of-the-host")

    /// Links into what a job may write.
    static let links = line(
        21,
        "hard-links-a-file-of-the-host")

    static let all = files + kernelFiles + namespaces + processes + kernelCalls + reach + secrets + links
}
