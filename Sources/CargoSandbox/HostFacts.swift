import CLinux
import Glibc

/// What a plan must know of this host, gathered once a process.
struct HostFacts: Sendable {
    /// One of `/bin`, `/lib` … beside `/usr`.
    struct RootEntry: Hashable, Sendable {
        var name: String
        /// Where the link points; nil for a folder.
        var link: String?
    }

    /// Whether the supervisor may give jobs a user id other than its own.
    var isRoot: Bool
    var rootEntries: [RootEntry]
    /// Files and folders of `/etc` that programs of `/usr` need.
    var configuration: [(path: String, isFolder: Bool)]
    /// The Landlock ABI, or 0.
    var landlockABI: Int
    /// The hard limit per resource number: limits are clamped to it, never raised.
    var hardLimits: [Int: UInt64]

    static func gather() -> HostFacts {
        let names = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"]
        let entries = names.compactMap { name -> RootEntry? in
            if let link = readLink("/" + name) { return RootEntry(name: name, link: link) }
            return kind(of: "/" + name) == S_IFDIR ? RootEntry(name: name, link: nil) : nil
        }
        let wanted = ["/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl/certs", "/etc/localtime"]
        let configuration = wanted.compactMap { path -> (path: String, isFolder: Bool)? in
            guard let kind = kind(of: path) else { return nil }
            return (path, kind == S_IFDIR)
        }
        var limits: [Int: UInt64] = [:]
        for resource in 0..<16 {
            var limit = rlimit()
            if getrlimit(__rlimit_resource_t(UInt32(resource)), &limit) == 0 { limits[resource] = UInt64(limit.rlim_max) }
        }
        return HostFacts(
            isRoot: geteuid() == 0, rootEntries: entries, configuration: configuration,
            landlockABI: max(0, Int(clinux_landlock_abi())), hardLimits: limits)
    }

    /// The type bits of what a path leads to, links followed; nil when there is nothing.
    private static func kind(of path: String) -> mode_t? {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_mode & S_IFMT : nil
    }

    private static func readLink(_ path: String) -> String? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 4096) { buffer in
            guard let start = buffer.baseAddress else { return nil }
            let count = readlink(path, start, 4095)
            guard count > 0 else { return nil }
            return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }
}
