internal import CLinux
internal import CargoFiles
internal import CargoSandbox
internal import CargoStore
internal import Glibc
internal import Synchronization
internal import SystemPackage

/// The folder on this host behind one job: what it writes, and copies of what it could not read otherwise.
///
/// Lies in the store's `work` folder, which no one else may enter. Locked while the job lives, so that what a killed
/// supervisor left behind is told apart and removed.
final class JobFolder: Sendable {
    /// Inputs beyond this number are copied into one folder: each bind costs the launch a few system calls.
    private static let boundInputs = 64

    let user: JobUser
    let output: FilePath
    let socketFolder: FilePath
    /// The folder with the socket by which the job asks models of the host; nil where it asks none.
    let modelFolder: FilePath?
    /// Who listens on it, until somebody takes it.
    let modelSocket: Mutex<CInt?>
    let inputShares: [SandboxSpec.Share]
    /// Whether the file system itself bounds the output.
    let hasQuota: Bool
    private let work: Folder
    private let folder: Folder
    private let name: String

    init(store: CargoStore, job: JobPlan, sandbox: Sandbox) throws {
        do {
            user = try sandbox.reserveUser()
        } catch {
            throw SharedSandbox.explain(error)
        }
        work = try Folder.open(store.root.appending("work"), create: 0o700)
        let gate = try Folder.open(store.root.appending("locks"), create: 0o700).open("work", .readWrite, options: .create)
        JobFolder.removeAbandoned(in: work, gate)
        try gate.lock(.shared)
        var generator = SystemRandomNumberGenerator()
        name = "job-" + String(generator.next(), radix: 36)
        try work.makeFolder(name, permissions: 0o700)
        folder = try work.folder(name)
        guard try folder.tryLock(.exclusive) else { throw RunFailure(.runtime, "the job's folder \(folder.path) is in use") }
        try gate.unlock()
        output = folder.path.appending("output")
        socketFolder = folder.path.appending("run")
        var isBounded = false
        for name in ["output", "run"] {
            try folder.makeFolder(name, permissions: 0o700)
            let made = try folder.folder(name)
            if name == "output" {
                isBounded = OutputQuota.limit(made, user: user, bytes: job.outputBytes, entries: job.outputEntries)
            }
            if user.isSeparate, fchown(made.descriptor.rawValue, user.id, user.id) != 0 {
                throw FileFailure("give away", made.path.string, Errno(rawValue: errno))
            }
        }
        hasQuota = isBounded
        let door = job.request.asksModels ? try JobFolder.modelSocket(in: folder, user: user) : nil
        modelFolder = door?.folder
        modelSocket = Mutex(door?.socket)
        inputShares = try JobFolder.inputs(
            job.request.inputs, in: folder, user: user, job.request.runsInContainer ? nil : sandbox)
    }

    deinit {
        if let socket = modelSocket.withLock({ $0 }) { close(socket) }
    }

    /// Connections that may wait for being taken.
    private static let modelBacklog: CInt = 16

    /// The job's user alone may connect, and can change nothing in the folder.
    private static func modelSocket(in folder: Folder, user: JobUser) throws -> (folder: FilePath, socket: CInt) {
        try folder.makeFolder("models", permissions: 0o755)
        let place = try folder.folder("models")
        let owner = user.isSeparate ? user.id : geteuid()
        let line = clinux_listen_beside(
            place.descriptor.rawValue, EngineUse.modelSocketName, owner, JobFolder.modelBacklog)
        guard line >= 0 else {
            throw FileFailure("listen", place.path.appending(EngineUse.modelSocketName).string, Errno(rawValue: errno))
        }
        return (place.path, line)
    }

    /// Removes everything of the job from this host. Errors are left to `removeAbandoned` of a later job.
    func remove() {
        try? work.removeTree(name)
        if hasQuota { OutputQuota.lift(work, user: user) }
    }

    /// Binds each input where the job's user may read it, or where it can be mounted as the user's own; copies it else.
    private static func inputs(
        _ inputs: [RunRequest.Input], in folder: Folder, user: JobUser, _ sandbox: Sandbox?
    ) throws -> [SandboxSpec.Share] {
        let copiesAll = inputs.count > boundInputs
        var shares: [SandboxSpec.Share] = []
        lazy var mapping = sandbox?.ownerMapping(for: user)
        try folder.makeFolder("input", permissions: 0o755)
        let copies = try folder.folder("input")
        for (index, input) in inputs.enumerated() {
            let source = try File.open(input.path)
            let status = try source.status()
            guard status.kind == .regular else {
                throw RunFailure(.runtime, "the input \(input.path) is no plain file; name the files in it one by one")
            }
            if !copiesAll, !user.isSeparate || status.permissions & 0o004 != 0 {
                shares.append(.init(source: input.path, target: "/job/input/" + input.name, isFolder: false))
                continue
            }
            if !copiesAll, status.owner == 0, let mount = mapping?.mount(source.descriptor) {
                var share = SandboxSpec.Share(source: input.path, target: "/job/input/" + input.name, isFolder: false)
                share.mount = mount
                shares.append(share)
                continue
            }
            var place = copies
            var name = "\(index)"
            if copiesAll {
                let parts = input.name.split(separator: "/").map(String.init)
                for part in parts.dropLast() {
                    try place.makeFolder(part, permissions: 0o755)
                    place = try place.folder(part)
                }
                name = parts.last ?? name
            }
            let copy = try place.open(name, .readWrite, options: [.create, .exclusiveCreate], permissions: 0o444)
            try copy.copy(from: source, at: 0, count: status.size, to: 0)
            try copy.truncate(to: status.size)
            if !copiesAll {
                shares.append(.init(source: copy.path, target: "/job/input/" + input.name, isFolder: false))
            }
        }
        if copiesAll { shares.append(.init(source: copies.path, target: "/job/input", isFolder: true)) }
        return shares
    }

    /// Folders whose supervisor is gone hold no lock any more. Skipped while someone is between making a folder and
    /// locking it, which the gate tells.
    private static func removeAbandoned(in work: Folder, _ gate: File) {
        guard (try? gate.tryLock(.exclusive)) == true else { return }
        defer { try? gate.unlock() }
        for name in (try? work.entries(limit: 10_000)) ?? [] where name.hasPrefix("job-") {
            guard let folder = try? work.folder(name), (try? folder.tryLock(.exclusive)) == true else { continue }
            try? work.removeTree(name)
        }
    }
}
