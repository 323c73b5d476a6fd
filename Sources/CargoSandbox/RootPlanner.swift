import SystemPackage

/// The part of a plan that builds the new root: a small tmpfs that holds folders, links and small files, with
/// everything else bound into it read-only.
struct RootPlanner {
    /// The nodes of `/dev`, each checked to be the device that its name says.
    static let devices: [(name: String, minor: Int)] = [
        ("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9),
    ]
    /// Files of `/proc` that tell about the host or act on it.
    static let masked = [
        "acpi", "asound", "interrupts", "kcore", "keys", "key-users", "kallsyms", "kmsg", "kpagecgroup", "kpagecount",
        "kpageflags",
        "latency_stats", "sched_debug", "scsi", "sysrq-trigger", "timer_list", "vmallocinfo",
    ]
    static let readOnly = ["bus", "fs", "irq", "sys"]

    let spec: SandboxSpec
    let host: HostFacts
    /// What `cargo-init` opens before it changes its user id.
    private(set) var sources: [LaunchStep] = []
    /// Folders that a job may write, for Landlock.
    private(set) var writable = ["/tmp", "/dev/shm"]

    private var made: Set<String> = []
    private var slotCount = 0
    private var checks: [LaunchStep] = []

    init(spec: SandboxSpec, host: HostFacts) {
        self.spec = spec
        self.host = host
        writable += spec.temporaryFolders
    }

    /// From the base tmpfs to the last bind; the current folder is then the new root.
    mutating func steps() -> [LaunchStep] {
        // Small files, folders and links alone live in the base: 4 MiB and 4096 entries hold the largest parameters.
        var steps: [LaunchStep] = [
            .mount(
                source: "tmpfs", target: LaunchPlanner.base, type: "tmpfs", flags: MountFlags.noSetuid | MountFlags.noDevices,
                data: "mode=0755,size=4m,nr_inodes=4096"),
            .enter(path: LaunchPlanner.base),
        ]
        let null = open("/dev/null")
        checks.append(.expectDevice(slot: null, major: 1, minor: 3))
        var skeleton: [LaunchStep] = []
        var binds: [LaunchStep] = []
        switch spec.root {
        case .host: hostRoot(&skeleton, &binds)
        case .layers:
            folder("/etc", &skeleton)
            skeleton.append(.file(path: "etc/hosts", mode: 0o444, bytes: hosts))
        }
        devices(null: null, &skeleton, &binds)
        cargo(&skeleton, &binds)
        for share in spec.shares where !isUnderCargo(share.target) || spec.cargo.isEmpty { self.share(share, &skeleton, &binds) }
        for path in spec.files.keys.sorted() {
            folders(above: path, &skeleton)
            skeleton.append(.file(path: relative(path), mode: 0o444, bytes: spec.files[path] ?? []))
        }
        for folder in ["/proc", "/tmp", "/dev/shm"] + spec.folders + spec.temporaryFolders { self.folder(folder, &skeleton) }
        steps += skeleton
        if case .layers(let layers) = spec.root {
            let slots = layers.reversed().map { open($0.string) }
            steps += [
                .overlay(target: LaunchPlanner.base, above: LaunchPlanner.base, slots: slots), .enter(path: LaunchPlanner.base),
            ]
        }
        steps += binds
        steps += proc(null: null) + temporary()
        sources += checks
        return steps
    }

    private mutating func hostRoot(_ skeleton: inout [LaunchStep], _ binds: inout [LaunchStep]) {
        let sealed: MountAttributes = [.readOnly, .noSetuid, .noDevices]
        folder("/usr", &skeleton)
        binds.append(.bind(slot: open("/usr"), target: "usr", attributes: sealed))
        for entry in host.rootEntries {
            if let link = entry.link {
                skeleton.append(.symlink(target: link, path: entry.name))
            } else {
                folder("/" + entry.name, &skeleton)
                binds.append(.bind(slot: open("/" + entry.name), target: entry.name, attributes: sealed))
            }
        }
        for entry in host.configuration {
            point(at: entry.path, isFolder: entry.isFolder, &skeleton)
            binds.append(.bind(slot: open(entry.path), target: relative(entry.path), attributes: sealed.union(.noExecution)))
        }
        folder("/etc", &skeleton)
        let user = LaunchPlanner.user
        let texts = [
            (
                "etc/passwd",
                "root:x:0:0:root:/:/sbin/nologin\ncargo:x:\(user):\(user):cargo:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"
            ),
            ("etc/group", "root:x:0:\ncargo:x:\(user):\nnogroup:x:65534:\n"),
            ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
        ]
        for (path, text) in texts { skeleton.append(.file(path: path, mode: 0o444, bytes: Array(text.utf8))) }
        skeleton.append(.file(path: "etc/hosts", mode: 0o444, bytes: hosts))
    }

    private var hosts: [UInt8] { Array("127.0.0.1 localhost \(spec.hostname)\n::1 localhost\n".utf8) }

    private mutating func devices(null: Int, _ skeleton: inout [LaunchStep], _ binds: inout [LaunchStep]) {
        folder("/dev", &skeleton)
        for device in RootPlanner.devices {
            let slot = device.name == "null" ? null : open("/dev/" + device.name)
            if slot != null { checks.append(.expectDevice(slot: slot, major: 1, minor: device.minor)) }
            skeleton.append(.file(path: "dev/" + device.name, mode: 0o444, bytes: []))
            binds.append(.bind(slot: slot, target: "dev/" + device.name, attributes: [.noSetuid, .noExecution]))
        }
        for path in spec.devices.sorted() where path.hasPrefix("/dev/") {
            point(at: path, isFolder: false, &skeleton)
            binds.append(.bind(slot: open(path), target: relative(path), attributes: [.noSetuid, .noExecution]))
        }
        let links = [
            ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"),
        ]
        for (name, target) in links { skeleton.append(.symlink(target: target, path: "dev/" + name)) }
    }

    /// `/cargo`: one folder is bound as it is; several, or one with single files inside, become a read-only overlay,
    /// whose uppermost layer has the points where the files are then bound.
    private mutating func cargo(_ skeleton: inout [LaunchStep], _ binds: inout [LaunchStep]) {
        folder("/cargo", &skeleton)
        guard !spec.cargo.isEmpty else { return }
        let sealed: MountAttributes = [.readOnly, .noSetuid, .noDevices]
        let files = spec.shares.filter { isUnderCargo($0.target) }
        let slots = spec.cargo.reversed().map { open($0.string) }
        if slots.count == 1, files.isEmpty {
            binds.append(.bind(slot: slots[0], target: "cargo", attributes: sealed))
            return
        }
        for file in files { point(at: file.target, isFolder: file.isFolder, &skeleton) }
        binds.append(.overlay(target: "cargo", above: "cargo", slots: slots))
        for file in files {
            binds.append(.bind(slot: open(file.source.string), target: relative(file.target), attributes: sealed))
        }
    }

    private mutating func share(_ share: SandboxSpec.Share, _ skeleton: inout [LaunchStep], _ binds: inout [LaunchStep]) {
        point(at: share.target, isFolder: share.isFolder, &skeleton)
        if let mount = share.mount, let index = spec.mounts.firstIndex(of: mount) {
            let slot = slotCount
            slotCount += 1
            sources.append(.inherit(slot: slot, index: index))
            binds.append(.bind(slot: slot, target: relative(share.target), attributes: [], detached: true))
            return
        }
        var attributes: MountAttributes = [.noSetuid, .noDevices]
        if share.isWritable { writable.append(share.target) } else { attributes.insert(.readOnly) }
        binds.append(.bind(slot: open(share.source.string), target: relative(share.target), attributes: attributes))
    }

    private func proc(null: Int) -> [LaunchStep] {
        let flags = MountFlags.noSetuid | MountFlags.noDevices | MountFlags.noExecution
        let mount = LaunchStep.mount(source: "proc", target: "proc", type: "proc", flags: flags, data: "")
        return [mount] + RootPlanner.masked.map { .mask(path: "proc/" + $0, null: null) }
            + RootPlanner.readOnly.map { .readOnly(path: "proc/" + $0, ownMount: false) }
    }

    private func temporary() -> [LaunchStep] {
        // Entries are bounded with the bytes: an empty file costs the kernel about a kilobyte.
        let data = "mode=1777,size=\(spec.temporaryBytes),nr_inodes=\(max(1024, min(1 << 20, spec.temporaryBytes / 4096)))"
        let flags = MountFlags.noSetuid | MountFlags.noDevices
        return [
            .mount(source: "tmpfs", target: "tmp", type: "tmpfs", flags: flags, data: data),
            .mount(source: "tmpfs", target: "dev/shm", type: "tmpfs", flags: flags | MountFlags.noExecution, data: data),
        ]
            + spec.temporaryFolders.map {
                .mount(source: "tmpfs", target: relative($0), type: "tmpfs", flags: flags, data: data)
            }
    }

    private func isUnderCargo(_ path: String) -> Bool { path.hasPrefix("/cargo/") }

    private func relative(_ path: String) -> String { String(path.drop { $0 == "/" }) }

    private mutating func open(_ path: String) -> Int {
        let slot = slotCount
        slotCount += 1
        sources.append(.open(slot: slot, path: path))
        return slot
    }

    private mutating func folder(_ path: String, _ skeleton: inout [LaunchStep]) {
        folders(above: path + "/x", &skeleton)
    }

    private mutating func folders(above path: String, _ skeleton: inout [LaunchStep]) {
        var folder = ""
        for part in path.split(separator: "/").dropLast() {
            folder += folder.isEmpty ? String(part) : "/" + part
            if made.insert(folder).inserted { skeleton.append(.directory(path: folder, mode: 0o755)) }
        }
    }

    /// An empty folder or file to mount over.
    private mutating func point(at path: String, isFolder: Bool, _ skeleton: inout [LaunchStep]) {
        if isFolder {
            folder(path, &skeleton)
        } else {
            folders(above: path, &skeleton)
            if made.insert(relative(path)).inserted { skeleton.append(.file(path: relative(path), mode: 0o444, bytes: [])) }
        }
    }
}
