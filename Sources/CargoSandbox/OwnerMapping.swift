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

    /// `cargo-init` in a user namespace waits for its plan, which never comes: the namespace is taken, and it is ended.
    private static func namespace(_ program: Descriptor, _ user: JobUser) throws -> Descriptor {
        let waiting = try WaitingInit(program: program, namespaces: Namespaces.user)
        defer { waiting.end() }
        let folder = "/proc/\(waiting.process)"
        try SmallFile.write("0 \(user.id) 1", to: folder + "/uid_map")
        try SmallFile.write("0 \(user.id) 1", to: folder + "/gid_map")
        return try Descriptor.open(folder + "/ns/user", O_RDONLY)
    }
}
