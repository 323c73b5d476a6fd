/// One thing that `cargo-init` does on its way to the command. Steps are data: what happens, in which order, is
/// decided and tested in Swift; `cargo-init` decides nothing.
enum LaunchStep: Hashable, Sendable {
    /// Opens a host path as a source for later binds, with the supervisor's own rights.
    case open(slot: Int, path: String)
    /// Takes over a descriptor of the supervisor, by its place among the extra ones; it holds a detached mount.
    case inherit(slot: Int, index: Int)
    /// The source must be this character device.
    case expectDevice(slot: Int, major: Int, minor: Int)
    /// Moves itself into a cgroup v1 folder, by its `tasks` file.
    case join(path: String)
    /// Waits until the supervisor has written the user id map.
    case await
    case become(user: Int, group: Int, dropGroups: Bool)
    /// mount(2).
    case mount(source: String, target: String, type: String, flags: UInt, data: String)
    /// Attaches a source at a target of the new root, which is reached without following links.
    case bind(slot: Int, target: String, attributes: MountAttributes, detached: Bool = false)
    /// overlayfs, read-only: `above` (a folder inside, or empty) over the sources, the first uppermost.
    case overlay(target: String, above: String, slots: [Int])
    case directory(path: String, mode: Int)
    case file(path: String, mode: Int, bytes: [UInt8])
    case symlink(target: String, path: String)
    case enter(path: String)
    /// Makes the current folder the root and detaches the old one.
    case pivot
    /// Hides a file behind /dev/null, a folder behind an empty one; what is absent needs no mask.
    case mask(path: String, null: Int)
    /// `ownMount`: the path is a mount point already.
    case readOnly(path: String, ownMount: Bool)
    /// A child begins to make a network namespace with nothing but its loopback.
    case makeNetwork
    /// Waits for that and enters it.
    case enterNetwork
    /// Listens on the sandbox's loopback and hands the socket to the supervisor.
    case listen(port: Int)
    case hostname(String)
    case unshare(flags: UInt)
    case limit(resource: Int, soft: UInt64, hard: UInt64)
    case dropCapabilities
    case noNewPrivileges
    case landlock(LandlockRules)
    /// The rest happens in a child; this process stays as pid 1.
    case fork
    case session
    case oomScore(Int)
    case closeDescriptors
    case seccomp(filter: [UInt8], notify: Bool)
    case exec(candidates: [String], arguments: [String], environment: [String])

    /// What was being done, for the sentence of a failure.
    var purpose: String {
        switch self {
        case .open(_, let path): "open \(path) of this host"
        case .inherit: "take over a prepared mount"
        case .expectDevice(_, let major, let minor): "check that a device of this host is character device \(major):\(minor)"
        case .join(let path): "enter its cgroup (\(path))"
        case .await: "wait for the supervisor"
        case .become(let user, _, _): "become user \(user) inside"
        case .mount(_, let target, let type, _, _): "mount \(type.isEmpty ? "private" : type) at \(target)"
        case .bind(_, let target, _, _): "bind a host path at \(target)"
        case .overlay(let target, _, _): "lay folders over each other at \(target)"
        case .directory(let path, _): "make the folder \(path)"
        case .file(let path, _, _): "make the file \(path)"
        case .symlink(_, let path): "make the link \(path)"
        case .enter(let path): "enter \(path)"
        case .pivot: "change the root (pivot_root)"
        case .mask(let path, _): "mask \(path)"
        case .readOnly(let path, _): "make \(path) read-only"
        case .makeNetwork: "begin to make the network namespace"
        case .enterNetwork: "make the network namespace"
        case .listen(let port): "listen on its loopback, port \(port)"
        case .hostname: "set the host name"
        case .unshare: "make the cgroup namespace"
        case .limit(let resource, _, _): "set resource limit \(resource)"
        case .dropCapabilities: "drop capabilities"
        case .noNewPrivileges: "set no_new_privs"
        case .landlock: "restrict itself by Landlock"
        case .fork: "start a child"
        case .session: "start a session"
        case .oomScore: "set its OOM score"
        case .closeDescriptors: "close other descriptors"
        case .seccomp: "load the system call filter"
        case .exec(let candidates, _, _): "execute \(candidates.first ?? "the command")"
        }
    }
}

/// `MOUNT_ATTR_*` of mount_setattr(2).
struct MountAttributes: OptionSet, Hashable, Sendable {
    let rawValue: UInt32

    static let readOnly = MountAttributes(rawValue: 1)
    static let noSetuid = MountAttributes(rawValue: 2)
    static let noDevices = MountAttributes(rawValue: 4)
    static let noExecution = MountAttributes(rawValue: 8)
}

/// The steps of a launch, in order.
struct LaunchPlan: Hashable, Sendable {
    var steps: [LaunchStep] = []

    static func += (plan: inout LaunchPlan, steps: [LaunchStep]) { plan.steps += steps }
}
