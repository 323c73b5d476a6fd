import Glibc

/// A job's cgroup on the v2 hierarchy.
final class CgroupV2: Cgroup {
    private let folder: String
    let birthplace: Descriptor?
    var joins: [String] { [] }

    /// Turns the controllers on below `parent` and makes the job's folder.
    init(parent: String, name: String) throws(SandboxError) {
        folder = parent + "/" + name
        do throws(SystemError) {
            try CgroupV2.prepare(parent)
            guard mkdir(folder, 0o755) == 0 else { throw SystemError("make the cgroup \(folder)") }
            birthplace = try Descriptor.open(folder, O_RDONLY | O_DIRECTORY)
        } catch {
            rmdir(folder)
            throw CgroupV2.refused(error)
        }
    }

    private static func refused(_ error: SystemError) -> SandboxError {
        SandboxError(
            .refused, mechanism: "cgroup",
            "the job's limits cannot be set (\(error)); run as root or with a delegated cgroup (systemd: Delegate=yes), or allow it to be missing with --allow-missing cgroup"
        )
    }

    func limited(by limits: SandboxSpec.Limits) throws(SandboxError) -> any Cgroup {
        do throws(SystemError) {
            if let bytes = limits.memory {
                try SmallFile.write(String(bytes), to: folder + "/memory.max")
                try? SmallFile.write("0", to: folder + "/memory.swap.max")
                try? SmallFile.write("1", to: folder + "/memory.oom.group")
            }
            if let count = limits.processes { try SmallFile.write(String(count + 1), to: folder + "/pids.max") }
            // The controller may not be there; then all weigh the same.
            try? SmallFile.write(String(CgroupLayout.shares(cores: limits.cpu).unified), to: folder + "/cpu.weight")
            if let cores = limits.cpu {
                try SmallFile.write("\(max(1000, Int(cores * 100_000))) 100000", to: folder + "/cpu.max")
            }
        } catch {
            throw CgroupV2.refused(error)
        }
        guard let rate = limits.diskRate else { return self }
        do throws(SystemError) {
            let disk = try CgroupLayout.disk(rate)
            try SmallFile.write("\(disk.device) rbps=\(disk.bytes) wbps=\(disk.bytes)", to: folder + "/io.max")
        } catch {
            throw CgroupLayout.noDiskRate(error)
        }
        return self
    }

    /// Makes the parent and enables the controllers on the way to it. A cgroup with processes of its own cannot hand
    /// controllers down, so the supervisor first moves into a leaf beside its jobs.
    private static func prepare(_ parent: String) throws(SystemError) {
        if parent.hasSuffix("/longshore") {
            let top = String(parent.dropLast("/longshore".count))
            try enable(top)
            mkdir(parent, 0o755)
        } else if !isEnabled(parent) {
            let leaf = parent + "/supervisor"
            mkdir(leaf, 0o755)
            try SmallFile.write("0", to: leaf + "/cgroup.procs")
        }
        try enable(parent)
    }

    private static func isEnabled(_ folder: String) -> Bool {
        let words = (SmallFile.text(folder + "/cgroup.subtree_control") ?? "").split { $0 == " " || $0 == "\n" }
        return words.contains("memory") && words.contains("pids")
    }

    private static func enable(_ folder: String) throws(SystemError) {
        if !isEnabled(folder) { try SmallFile.write("+memory +pids", to: folder + "/cgroup.subtree_control") }
        for controller in ["cpu", "io"] { try? SmallFile.write("+" + controller, to: folder + "/cgroup.subtree_control") }
    }

    func outOfMemoryKills() -> Int { SmallFile.number("oom_kill", in: folder + "/memory.events") ?? 0 }

    func cpuSeconds() -> Double? {
        SmallFile.number("usage_usec", in: folder + "/cpu.stat").map { Double($0) / 1e6 }
    }

    func removeEmpty() -> Bool { rmdir(folder) == 0 || errno == ENOENT }
    func memoryBytes() -> Int64? { CgroupFolder.memory(["anon", "shmem", "file_mapped"], in: folder + "/memory.stat") }

    func contains(_ process: Int32) -> Bool { CgroupFolder.contains(process, in: folder) }

    func remove() {
        try? SmallFile.write("1", to: folder + "/cgroup.kill")
        CgroupFolder.remove(folder)
    }
}
