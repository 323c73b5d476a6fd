import CargoFiles
import Glibc
import SystemPackage

/// The limits that a host may or may not have beside what every job needs.
extension Doctor {
    static func filters(_ home: FilePath) -> Finding {
        let name = "filter-cache"
        let place = home.appending("filters")
        let cache = FilterCache(folder: place)
        let key = FilterCache.Key(profile: Array("doctor".utf8), tracing: false)
        let trial = [UInt8](repeating: 6, count: 8)
        cache.keep(trial, for: key)
        defer { _ = try? Folder.open(place).remove(key.fileName) }
        return cache.filter(for: key) == trial
            ? Finding(name: name, state: .works, found: "kept a filter in \(place) and took it back", advice: nil)
            : Finding(
                name: name, state: .optional, found: "\(place) keeps no filter that can be trusted; each start compiles one",
                advice: "let the folder belong to this user alone (mode 0700)")
    }

    static func cpuTime(_ sandbox: Sandbox) -> Finding {
        let name = "cpu-time"
        var spec = SandboxSpec(command: [])
        spec.limits = .init(cpu: 1)
        let cgroup = try? sandbox.cgroup(for: spec)
        defer { cgroup?.remove() }
        return cgroup?.cpuSeconds() != nil
            ? Finding(name: name, state: .works, found: "read the processor time of a new cgroup", advice: nil)
            : Finding(
                name: name, state: .optional, found: "no cgroup counts processor time; RLIMIT_CPU bounds each process by itself",
                advice: "mount the cpuacct controller, or cgroup v2")
    }

    static func diskRate(_ sandbox: Sandbox, _ home: FilePath) -> Finding {
        let name = "disk-rate"
        var spec = SandboxSpec(command: [])
        spec.limits.diskRate = .init(bytes: 1 << 20, under: home)
        do throws(SandboxError) {
            try sandbox.cgroup(for: spec).remove()
            let v1 =
                if case .legacy = sandbox.layout { " (v1: reads, and writes that do not go through the page cache)" } else { "" }
            return Finding(
                name: name, state: .works, found: "limited the rate of the disk under \(home) for a new cgroup\(v1)", advice: nil)
        } catch {
            return Finding(name: name, state: .optional, found: error.message, advice: nil)
        }
    }

    static func quota(_ sandbox: Sandbox, _ home: FilePath) -> Finding {
        let name = "quota"
        func missing(_ why: String) -> Finding {
            Finding(
                name: name, state: .optional, found: "\(why); outputs are bounded by looking at them",
                advice: "put $LONGSHORE_HOME on ext4 or XFS mounted with prjquota and run as root, for tenants who hurry")
        }
        guard let user = try? sandbox.reserveUser(), user.isSeparate else { return missing("an ordinary user sets no quotas") }
        let trial = "quota-trial-\(getpid())"
        guard let home = try? Folder.open(home, create: 0o700), (try? home.makeFolder(trial)) == true,
            let folder = try? home.folder(trial)
        else { return missing("no folder can be made in \(home)") }
        defer { try? home.removeTree(trial) }
        guard OutputQuota.limit(folder, user: user, bytes: 1 << 20, entries: 16) else {
            return missing("the file system of \(home.path) enforces no project quotas")
        }
        OutputQuota.lift(folder, user: user)
        return Finding(name: name, state: .works, found: "set and lifted a project quota in \(home.path)", advice: nil)
    }
}
