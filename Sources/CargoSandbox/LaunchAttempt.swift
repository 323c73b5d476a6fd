import CLinux
import Glibc

/// One launch on a `cargo-init` that waits: the plan handed over, user id map, the command's exec. On the launching thread.
struct LaunchAttempt {
    /// Longest time from clone to exec, in milliseconds: a source on a dead network file system must not hang the rest.
    private static let patience: Int32 = 30_000

    let waiting: WaitingInit
    let plan: LaunchPlan
    let spec: SandboxSpec
    let user: JobUser
    let cgroup: (any Cgroup)?
    /// Nanoseconds of `Clock`.
    let started: UInt64

    /// When it throws, nothing runs and `waiting` is to be ended.
    func run() throws -> ConfinedProcess {
        let beside: (proxy: EgressProxy?, tracer: CallTracer?)
        try waiting.give(plan)
        do {
            beside = try supervise(waiting.process, waiting.control)
        } catch {
            // A cargo-init that has ended said why.
            try awaitExecution(waiting.failure)
            throw error
        }
        try awaitExecution(waiting.failure)
        return try ConfinedProcess(
            processID: waiting.process, handle: waiting.handle, standardOutput: waiting.standardOutput,
            standardError: waiting.standardError, status: waiting.status, control: waiting.control, cgroup: cgroup, user: user,
            proxy: beside.proxy, tracer: beside.tracer, started: started)
    }

    /// Gives the process its user id, for which it waits.
    private func supervise(_ process: Int32, _ control: Descriptor) throws -> (EgressProxy?, CallTracer?) {
        let inside = LaunchPlanner.user
        let folder = "/proc/\(process)"
        if !user.isSeparate { try SmallFile.write("deny", to: folder + "/setgroups") }
        let group = user.isSeparate ? user.id : getegid()
        try SmallFile.write("\(inside) \(user.id) 1", to: folder + "/uid_map")
        try SmallFile.write("\(inside) \(group) 1", to: folder + "/gid_map")
        try control.send(UInt8(ascii: "G"))
        guard case .egress(let targets, let privateAddresses) = spec.network else { return (nil, try tracer(control)) }
        let listener = Descriptor(try check("take over the proxy's socket") { clinux_receive_descriptor(control.number) })
        let proxy = try EgressProxy(listener: listener, targets: targets, privateAddresses: privateAddresses)
        return (proxy, try tracer(control))
    }

    private func tracer(_ control: Descriptor) throws -> CallTracer? {
        guard spec.tracesCalls else { return nil }
        let listener = try check("take over the filter's reports") { clinux_receive_descriptor(control.number) }
        return CallTracer(listener: Descriptor(listener))
    }

    /// The failure pipe closes at exec; what stands in it before that is the step that failed and errno.
    private func awaitExecution(_ read: Descriptor) throws {
        var watched = pollfd(fd: read.number, events: Int16(POLLIN), revents: 0)
        var ready: Int32
        repeat { ready = poll(&watched, 1, LaunchAttempt.patience) } while ready < 0 && errno == EINTR
        guard ready > 0 else {
            throw SandboxError(.failed, "the sandbox was not ready after \(LaunchAttempt.patience / 1000) s; nothing was run")
        }
        let record = try read.read(upTo: 8) ?? []
        guard record.count == 8 else { return }
        let words = stride(from: 0, to: 8, by: 4).map { start in
            record[start..<start + 4].enumerated().reduce(0 as UInt32) { $0 | UInt32($1.element) << (8 * UInt32($1.offset)) }
        }
        throw explain(step: Int(words[0]), code: Int32(bitPattern: words[1]))
    }

    private func explain(step: Int, code: Int32) -> SandboxError {
        guard plan.steps.indices.contains(step) else {
            return SandboxError(.failed, "cargo-init could not read its plan: \(SystemError.text(code))")
        }
        let step = plan.steps[step]
        if case .exec = step {
            let name = spec.command.first ?? ""
            switch code {
            case ENOENT, ENOTDIR:
                return SandboxError(
                    .commandNotFound,
                    "the command '\(name)' is not there inside; name a file of the cargo (such as ./\(name)) or a program of the host's /usr"
                )
            case EACCES, ENOEXEC:
                return SandboxError(
                    .commandNotExecutable,
                    "the command '\(name)' cannot be executed (\(SystemError.text(code))); make it executable and give it a #! line"
                )
            default: break
            }
        }
        if case .enterNetwork = step, [EPERM, ENOSPC, EUSERS].contains(code) { return WaitingInit.refused(code) }
        if case .enter = step, code == ENOENT || code == ENOTDIR {
            return SandboxError(.failed, "the working folder \(spec.workingFolder) is not there inside")
        }
        if case .overlay = step, [EPERM, ENODEV, EINVAL].contains(code) {
            return SandboxError(
                .refused, mechanism: "overlay",
                "this kernel lays no folders over each other for a job's own user (\(SystemError.text(code))); that needs Linux 5.11 with overlayfs, and LONGSHORE_HOME on a file system that overlayfs can stand on, such as ext4 or XFS"
            )
        }
        return SandboxError(.failed, "the sandbox could not \(step.purpose): \(SystemError.text(code))")
    }
}
