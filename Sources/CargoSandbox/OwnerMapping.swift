import CLinux
import Glibc
public import SystemPackage

/// Lets one job read files of this host that belong to root alone, without a copy: mounts under which they belong to
/// the job's user (idmapped mounts, Linux 5.12). Needs root and a file system that takes them (ext4, XFS, Btrfs …).
public final class OwnerMapping: Sendable {
    /// One file or folder under the mapping: read-only, attached nowhere yet.
    public final class Mount: Sendable, Hashable {
        let tree: Descriptor

        fileprivate init(tree: Descriptor) { self.tree = tree }

        public static func == (left: Mount, right: Mount) -> Bool { left === right }
        public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
    }

    /// A user namespace whose user 0 is the job's; nobody lives in it.
    private let namespace: Descriptor

    /// Nil where this host cannot do it.
    init?(program: Descriptor, user: JobUser) {
        guard user.isSeparate, let namespace = try? OwnerMapping.namespace(program, user) else { return nil }
        self.namespace = namespace
    }

    /// The open file as the job's own; nil where its file system takes no mapping. It must belong to root.
    public func mount(_ file: FileDescriptor) -> Mount? {
        let tree = clinux_mapped_tree(file.rawValue, namespace.number)
        return tree < 0 ? nil : Mount(tree: Descriptor(tree))
    }

    /// `cargo-init` in a user namespace waits for its word, which never comes: the namespace is taken, and its end closes.
    private static func namespace(_ program: Descriptor, _ user: JobUser) throws -> Descriptor {
        let bytes = LaunchPlan(steps: [.await]).bytes
        let plan = Descriptor(
            try check("make a plan's file") {
                bytes.withUnsafeBytes { clinux_sealed_file("plan", $0.baseAddress, $0.count, 0) }
            })
        let null = try Descriptor.open("/dev/null", O_RDWR)
        let control = try Descriptor.socketPair()
        var inherited = [null, null, null, plan, null, null, control.1]
        for index in inherited.indices where inherited[index].number < inherited.count {
            inherited[index] = try inherited[index].raised()
        }
        let numbers = inherited.map(\.number)
        var pidfd: Int32 = -1
        let process = numbers.withUnsafeBufferPointer { numbers in
            var start = clinux_start_arguments(
                program: program.number, descriptors: numbers.baseAddress, descriptor_count: Int32(numbers.count),
                namespaces: UInt64(Namespaces.user), cgroup: -1)
            return clinux_start(&start, &pidfd)
        }
        guard process > 0 else { throw SystemError("make a user namespace") }
        let handle = Descriptor(pidfd)
        defer {
            _ = clinux_pidfd_signal(handle.number, SIGKILL)
            var status: Int32 = 0
            while waitpid(process, &status, 0) < 0 && errno == EINTR {}
        }
        let folder = "/proc/\(process)"
        try SmallFile.write("0 \(user.id) 1", to: folder + "/uid_map")
        try SmallFile.write("0 \(user.id) 1", to: folder + "/gid_map")
        return try Descriptor.open(folder + "/ns/user", O_RDONLY)
    }
}
