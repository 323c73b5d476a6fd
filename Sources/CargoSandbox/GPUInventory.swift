import FoundationEssentials
import Glibc
import SystemPackage

/// The GPUs of this host and what a job needs to use some of them: by a CDI specification where there is one, else by the
/// device nodes of NVIDIA's and AMD's drivers.
public struct GPUInventory: Sendable {
    /// What a job gets of the GPUs that are assigned to it: nothing else of any GPU exists inside.
    public struct Assignment: Hashable, Sendable {
        /// Paths of device nodes on the host, which are the paths inside.
        public var devices: [String] = []
        public var shares: [SandboxSpec.Share] = []
        public var environment: [String: String] = [:]
    }

    enum Vendor: String, Sendable { case nvidia = "nvidia.com/gpu", amd = "amd.com/gpu" }

    let specifications: [CDISpecification]
    /// Numbers of `/dev/nvidiaN`, ascending.
    let nvidia: [Int]
    /// Numbers of `/dev/dri/renderDN` where `/dev/kfd` is, ascending.
    let amd: [Int]
    /// Nodes that every NVIDIA device needs and that are there.
    let nvidiaControl: [String]

    /// GPUs that can be assigned, numbered from 0.
    public var count: Int { nvidia.isEmpty ? amd.count : nvidia.count }

    /// Looks at the host; `root` stands before every path (a fake tree in tests).
    public init(root: String = "") {
        func names(_ folder: String) -> [String] {
            ((try? FileManager.default.contentsOfDirectory(atPath: root + folder)) ?? []).sorted()
        }
        func numbers(_ folder: String, _ prefix: String) -> [Int] {
            names(folder).compactMap { $0.hasPrefix(prefix) ? Int($0.dropFirst(prefix.count)) : nil }.sorted()
        }
        nvidia = numbers("/dev", "nvidia")
        amd = names("/dev").contains("kfd") ? numbers("/dev/dri", "renderD") : []
        nvidiaControl = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"].filter(Set(names("/dev")).contains).map { "/dev/" + $0 }
        specifications = ["/etc/cdi", "/var/run/cdi"].flatMap { folder in
            names(folder).filter { $0.hasSuffix(".json") }.compactMap { name in
                SmallFile.text(root + folder + "/" + name).flatMap { text in
                    try? JSONDecoder().decode(CDISpecification.self, from: Data(text.utf8))
                }
            }
        }
    }

    /// What a job needs for these GPUs.
    /// - Parameter skipsHooks: the operator's word that hooks of a CDI specification, which never run here, are not needed.
    public func assignment(of gpus: [Int], skipsHooks: Bool = false) throws(SandboxError) -> Assignment {
        guard !gpus.isEmpty, Set(gpus).count == gpus.count, gpus.allSatisfy({ (0..<count).contains($0) }) else {
            throw SandboxError(.refused, mechanism: "gpu", "this host has \(count) GPUs; \(gpus) cannot be assigned")
        }
        let vendor = nvidia.isEmpty ? Vendor.amd : .nvidia
        for specification in specifications where specification.kind == vendor.rawValue {
            if let edits = specification.edits(of: gpus.map(String.init)) { return try assignment(edits, skipsHooks: skipsHooks) }
        }
        var assignment = Assignment()
        switch vendor {
        case .nvidia:
            assignment.devices = nvidiaControl + gpus.map { "/dev/nvidia\(nvidia[$0])" }
            assignment.environment["NVIDIA_VISIBLE_DEVICES"] = gpus.map { String(nvidia[$0]) }.joined(separator: ",")
        case .amd:
            assignment.devices = ["/dev/kfd"] + gpus.map { "/dev/dri/renderD\(amd[$0])" }
        }
        return assignment
    }

    private func assignment(_ edits: CDISpecification.Edits, skipsHooks: Bool) throws(SandboxError) -> Assignment {
        func refusal(_ what: String) -> SandboxError {
            SandboxError(.refused, mechanism: "gpu", "the CDI specification of this host's GPU \(what)")
        }
        for hook in edits.hooks ?? [] where !hook.isDoneByTheHost && !skipsHooks {
            throw refusal("wants to run \(hook.path) on the host; allow it to be left out with --allow-missing cdi-hooks")
        }
        var assignment = Assignment()
        for node in edits.deviceNodes ?? [] {
            guard node.path.hasPrefix("/dev/"), !node.path.contains("/../"), node.hostPath ?? node.path == node.path else {
                throw refusal("names the device \(node.path), which is not a device of the same name here")
            }
            if !assignment.devices.contains(node.path) { assignment.devices.append(node.path) }
        }
        for mount in edits.mounts ?? [] {
            // The host's /usr is inside already, at its own place.
            if mount.hostPath.hasPrefix("/usr/"), mount.hostPath == mount.containerPath { continue }
            let reserved = ["/usr", "/proc", "/sys", "/dev", "/cargo", "/job", "/bin", "/sbin", "/lib", "/tmp"]
            guard mount.containerPath.hasPrefix("/"), !mount.containerPath.contains(".."),
                !reserved.contains(where: { mount.containerPath == $0 || mount.containerPath.hasPrefix($0 + "/") })
            else { throw refusal("mounts \(mount.hostPath) at \(mount.containerPath), which a job does not get") }
            var status = stat()
            guard stat(mount.hostPath, &status) == 0 else { throw refusal("mounts \(mount.hostPath), which is not there") }
            assignment.shares.append(
                .init(
                    source: FilePath(mount.hostPath), target: mount.containerPath, isFolder: status.st_mode & S_IFMT == S_IFDIR))
        }
        for line in edits.env ?? [] {
            guard let equals = line.firstIndex(of: "="), equals != line.startIndex else { continue }
            assignment.environment[String(line[..<equals])] = String(line[line.index(after: equals)...])
        }
        return assignment
    }
}
