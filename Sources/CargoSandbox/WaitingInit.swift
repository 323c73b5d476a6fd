import CLinux
import Glibc

/// A `cargo-init` in namespaces of its own that waits for its plan: it has seen nothing of any job, and knows nothing of its
/// supervisor but the descriptors that it holds.
final class WaitingInit: Sendable {
    /// As this host sees it.
    let process: Int32
    let handle: Descriptor
    /// The ends that the supervisor keeps.
    let standardOutput: Descriptor
    let standardError: Descriptor
    /// Closes at the command's exec; what stands in it before says why there was none.
    let failure: Descriptor
    let status: Descriptor
    let control: Descriptor
    private let plan: Descriptor

    /// Starts one. On a thread that lives as long as the program: its end would be this process's.
    /// - Parameters:
    ///   - birthplace: the cgroup v2 folder that it is born in.
    ///   - input: standard input; nil is `/dev/null`.
    ///   - trees: what it inherits beside its own descriptors.
    init(
        program: Descriptor, namespaces: UInt, birthplace: Descriptor? = nil, input: Descriptor? = nil,
        trees: [Descriptor] = []
    ) throws {
        let plan = Descriptor(try check("make the launch plan's file") { clinux_open_file("plan", 0) })
        let input = try input ?? Descriptor.open("/dev/null", O_RDONLY)
        let output = try Descriptor.pipe()
        let errors = try Descriptor.pipe()
        let failure = try Descriptor.pipe()
        let status = try Descriptor.pipe()
        let control = try Descriptor.socketPair()

        var inherited = [input, output.write, errors.write, plan, failure.write, status.write, control.1] + trees
        for index in inherited.indices where inherited[index].number < inherited.count {
            inherited[index] = try inherited[index].raised()
        }
        let numbers = inherited.map(\.number)
        var pidfd: Int32 = -1
        let process = numbers.withUnsafeBufferPointer { numbers in
            var start = clinux_start_arguments(
                program: program.number, descriptors: numbers.baseAddress, descriptor_count: Int32(numbers.count),
                namespaces: UInt64(namespaces), cgroup: birthplace?.number ?? -1)
            return clinux_start(&start, &pidfd)
        }
        guard process > 0 else { throw WaitingInit.refused(errno) }
        for end in [output.write, errors.write, failure.write, status.write, control.1] { end.closeNow() }
        for (index, descriptor) in inherited.enumerated() where index != 3 { descriptor.closeNow() }
        self.process = process
        self.handle = Descriptor(pidfd)
        self.standardOutput = output.read
        self.standardError = errors.read
        self.failure = failure.read
        self.status = status.read
        self.control = control.0
        self.plan = plan
    }

    /// Hands the plan over, whole and unchangeable.
    func give(_ steps: LaunchPlan) throws {
        let bytes = steps.bytes
        _ = try check("write the launch plan") {
            bytes.withUnsafeBytes { clinux_fill_and_seal(plan.number, $0.baseAddress, $0.count) }
        }
        plan.closeNow()
        try control.send(UInt8(ascii: "P"))
    }

    /// Kills and reaps it; its cgroup is the caller's to remove.
    func end() {
        _ = clinux_pidfd_signal(handle.number, SIGKILL)
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0 && errno == EINTR {}
    }

    /// Why there are no namespaces.
    static func refused(_ code: Int32) -> SandboxError {
        let text = SystemError.text(code)
        switch code {
        case EPERM, ENOSPC, EUSERS:
            return SandboxError(
                .refused, mechanism: "namespaces",
                "this host does not let this user make namespaces (\(text)); allow unprivileged user namespaces (user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns) or run as root"
            )
        default: return SandboxError(.failed, "cargo-init could not be started: \(text)")
        }
    }
}
