import Glibc

/// A job's cgroups on v1 hierarchies: one folder per controller.
final class CgroupV1: Cgroup {
    private let parents: [String: String]
    private let name: String
    private let folders: [String: String]

    var birthplace: Descriptor? { nil }
    var joins: [String] { Set(folders.values).sorted().map { $0 + "/tasks" } }

    /// Makes the folders. `name` is unique on this host.
    convenience init(parents: [String: String], name: String) throws(SandboxError) {
        // Each hierarchy costs a launch a folder and a move: disks are joined only where they are limited.
        let folders = try CgroupV1.make(parents.filter { $0.key != "blkio" }, name)
        self.init(parents: parents, name: name, folders: folders)
    }

    private init(parents: [String: String], name: String, folders: [String: String]) {
        self.parents = parents
        self.name = name
        self.folders = folders
    }

    private static func make(_ parents: [String: String], _ name: String) throws(SandboxError) -> [String: String] {
        var folders: [String: String] = [:]
        for (controller, parent) in parents {
            mkdir(parent, 0o755)
            let folder = parent + "/" + name
            // Several controllers may share one hierarchy (cpu,cpuacct).
            guard folders.values.contains(folder) || mkdir(folder, 0o755) == 0 else {
                let error = SystemError("make the cgroup \(folder)")
                for folder in Set(folders.values) { rmdir(folder) }
                throw refused(error)
            }
            folders[controller] = folder
        }
        return folders
    }

    private static func refused(_ error: SystemError) -> SandboxError {
        SandboxError(
            .refused, mechanism: "cgroup",
            "the job's limits cannot be set (\(error)); run as a user that may write cgroups, or allow it to be missing with --allow-missing cgroup"
        )
    }

    func limited(by limits: SandboxSpec.Limits) throws(SandboxError) -> any Cgroup {
        do throws(SystemError) {
            if let folder = folders["memory"], let bytes = limits.memory {
                try SmallFile.write(String(bytes), to: folder + "/memory.limit_in_bytes")
                // With swap; absent where the kernel does not account for it.
                try? SmallFile.write(String(bytes), to: folder + "/memory.memsw.limit_in_bytes")
            }
            if let folder = folders["pids"], let count = limits.processes {
                // One more for cargo-init.
                try SmallFile.write(String(count + 1), to: folder + "/pids.max")
            }
            if let folder = folders["cpu"] {
                try SmallFile.write(String(CgroupLayout.shares(cores: limits.cpu).legacy), to: folder + "/cpu.shares")
            }
            if let folder = folders["cpu"], let cores = limits.cpu {
                try SmallFile.write("100000", to: folder + "/cpu.cfs_period_us")
                try SmallFile.write(String(max(1000, Int(cores * 100_000))), to: folder + "/cpu.cfs_quota_us")
            }
        } catch {
            throw CgroupV1.refused(error)
        }
        guard let rate = limits.diskRate else { return self }
        guard let parent = parents["blkio"] else {
            throw CgroupLayout.noDiskRate(SystemError("find the cgroup controller blkio", ENOENT))
        }
        let folder = parent + "/" + name
        mkdir(parent, 0o755)
        // It may be there: blkio can share another controller's hierarchy.
        mkdir(folder, 0o755)
        do throws(SystemError) {
            let disk = try CgroupLayout.disk(rate)
            for way in ["read", "write"] {
                try SmallFile.write("\(disk.device) \(disk.bytes)", to: folder + "/blkio.throttle.\(way)_bps_device")
            }
        } catch {
            if !folders.values.contains(folder) { rmdir(folder) }
            throw CgroupLayout.noDiskRate(error)
        }
        return CgroupV1(parents: parents, name: name, folders: folders.merging(["blkio": folder]) { $1 })
    }

    func outOfMemoryKills() -> Int {
        guard let folder = folders["memory"] else { return 0 }
        return SmallFile.number("oom_kill", in: folder + "/memory.oom_control") ?? 0
    }

    func cpuSeconds() -> Double? {
        guard let folder = folders["cpuacct"], let text = SmallFile.text(folder + "/cpuacct.usage"),
            let nanoseconds = Double(text.filter { $0 != "\n" })
        else { return nil }
        return nanoseconds / 1e9
    }

    func removeEmpty() -> Bool { Set(folders.values).allSatisfy { rmdir($0) == 0 || errno == ENOENT } }
    func memoryBytes() -> Int64? {
        guard let folder = folders["memory"] else { return nil }
        return CgroupFolder.memory(["total_rss", "total_mapped_file"], in: folder + "/memory.stat")
    }

    func contains(_ process: Int32) -> Bool {
        guard let folder = folders["pids"] ?? folders["memory"] else { return false }
        return CgroupFolder.contains(process, in: folder)
    }

    func remove() {
        for folder in Set(folders.values) { CgroupFolder.remove(folder) }
    }
}

/// Removing a cgroup's folder.
enum CgroupFolder {
    /// Removes the empty cgroups of supervisors that are gone: nothing else of a killed supervisor outlives it.
    static func sweep(_ layout: CgroupLayout) {
        let parents: [String] =
            switch layout {
            case .unified(let parent): [parent]
            case .legacy(let parents): Set(parents.values).sorted()
            case .absent: []
            }
        for parent in parents {
            guard let folder = opendir(parent) else { continue }
            defer { closedir(folder) }
            while let entry = readdir(folder) {
                let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
                let parts = name.split(separator: "-")
                guard parts.count == 3, parts[0] == "job", let owner = Int32(parts[1]), kill(owner, 0) != 0, errno == ESRCH
                else { continue }
                rmdir(parent + "/" + name)
            }
        }
    }

    static func contains(_ process: Int32, in folder: String) -> Bool {
        guard process > 0, let list = SmallFile.text(folder + "/cgroup.procs") else { return false }
        return list.split(separator: "\n").contains(String(process)[...])
    }

    /// The sum of some numbers of a `memory.stat`.
    static func memory(_ words: Set<String>, in path: String) -> Int64? {
        guard let text = SmallFile.text(path) else { return nil }
        var sum: Int64 = 0
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: " ")
            if parts.count == 2, words.contains(String(parts[0])) { sum += Int64(parts[1]) ?? 0 }
        }
        return sum
    }

    /// The kernel needs a moment until the last process has left: at most a second is waited for it.
    static func remove(_ folder: String) {
        for attempt in 0..<200 {
            if rmdir(folder) == 0 || errno == ENOENT { return }
            if attempt > 2 { usleep(5000) }
        }
    }
}

extension SmallFile {
    /// The number behind a word in a file of `word number` lines.
    static func number(_ word: String, in path: String) -> Int? {
        for line in (text(path) ?? "").split(separator: "\n") {
            let parts = line.split(separator: " ")
            if parts.count == 2, parts[0] == word { return Int(parts[1]) }
        }
        return nil
    }
}
