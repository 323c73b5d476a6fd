import FoundationEssentials

/// A Container Device Interface specification (CDI 0.3–0.8) in JSON: what makes a vendor's device usable inside.
struct CDISpecification: Decodable, Hashable, Sendable {
    struct DeviceNode: Decodable, Hashable, Sendable {
        var path: String
        var hostPath: String?
    }

    struct Mount: Decodable, Hashable, Sendable {
        var hostPath: String
        var containerPath: String
    }

    struct Hook: Decodable, Hashable, Sendable {
        var hookName: String
        var path: String
        var args: [String]?

        /// NVIDIA's own hooks make links, a linker cache and permissions that the host's `/usr` already has.
        var isDoneByTheHost: Bool {
            let program = path.split(separator: "/").last.map(String.init) ?? ""
            guard program == "nvidia-cdi-hook" || program == "nvidia-ctk" else { return false }
            return (args ?? []).contains { ["create-symlinks", "update-ldcache", "chmod"].contains($0) }
        }
    }

    struct Edits: Decodable, Hashable, Sendable {
        var env: [String]?
        var deviceNodes: [DeviceNode]?
        var mounts: [Mount]?
        var hooks: [Hook]?

        func adding(_ other: Edits) -> Edits {
            func join<Value>(_ left: [Value]?, _ right: [Value]?) -> [Value]? { (left ?? []) + (right ?? []) }
            return Edits(
                env: join(env, other.env), deviceNodes: join(deviceNodes, other.deviceNodes), mounts: join(mounts, other.mounts),
                hooks: join(hooks, other.hooks))
        }
    }

    struct Device: Decodable, Hashable, Sendable {
        var name: String
        var containerEdits: Edits
    }

    /// `vendor.com/class`.
    var kind: String
    var devices: [Device]
    var containerEdits: Edits?

    /// The edits of these devices and those that every device of the kind needs; nil when one is not named here.
    func edits(of names: [String]) -> Edits? {
        var all = containerEdits ?? Edits()
        for name in names {
            guard let device = devices.first(where: { $0.name == name }) else { return nil }
            all = all.adding(device.containerEdits)
        }
        return all
    }
}
