import CLinux
import Glibc
public import SystemPackage

/// What this host can and cannot enforce, each tried at this moment.
public struct Doctor: Sendable {
    /// One mechanism and how it was tried.
    public struct Finding: Hashable, Sendable, Codable {
        public enum State: String, Hashable, Sendable, Codable {
            case works, missing
            /// Not needed; something is slower or not offered without it.
            case optional
        }

        /// The word that `--allow-missing` takes, where it does.
        public var name: String
        public var state: State
        /// How it was tried, and what was found.
        public var found: String
        /// What to do; nil when nothing is to be done.
        public var advice: String?

        public init(name: String, state: State, found: String, advice: String?) {
            self.name = name
            self.state = state
            self.found = found
            self.advice = advice
        }
    }

    public var findings: [Finding]

    /// Whether an agent on this host would run jobs without `--allow-missing`.
    public var isReady: Bool { !findings.contains { $0.state == .missing } }

    /// Tries everything; a confined process is started for it.
    /// - Parameter home: the folder of the store, on whose disk jobs write.
    public static func examine(home: FilePath) async -> Doctor {
        let sandbox: Sandbox
        do throws(SandboxError) {
            sandbox = try Sandbox(cache: home.appending("filters"))
        } catch {
            return Doctor(findings: [
                Finding(name: error.mechanism ?? "sandbox", state: .missing, found: error.message, advice: nil)
            ])
        }
        var findings = kernel(sandbox)
        findings += [seccomp(), filters(home), cgroup(sandbox), cpuTime(sandbox), users(sandbox)]
        findings += [diskRate(sandbox, home), quota(sandbox, home)]
        findings.append(await launch(sandbox, missing: Set(findings.filter { $0.state == .missing }.map(\.name))))
        findings += devices() + programs()
        return Doctor(findings: findings)
    }

    private static func kernel(_ sandbox: Sandbox) -> [Finding] {
        let handle = clinux_pidfd_open(getpid(), 0)
        if handle >= 0 { close(handle) }
        let tree = clinux_probe_open_tree("/")
        let abi = sandbox.host.landlockABI
        return [
            Finding(
                name: "memfd", state: .works, found: "cargo-init was put into a sealed, executable memory file", advice: nil),
            Finding(
                name: "pidfd", state: handle >= 0 ? .works : .missing, found: "pidfd_open of this process",
                advice: handle >= 0 ? nil : "use Linux 5.4 or newer"),
            Finding(
                name: "mount-api", state: tree == ENOSYS ? .optional : .works,
                found: tree == ENOSYS ? "open_tree is not there; mount(2) is used" : "open_tree is there",
                advice: tree == ENOSYS ? "use Linux 5.12 or newer for faster starts" : nil),
            Finding(
                name: "landlock", state: abi > 0 ? .works : .missing,
                found: abi > 0 ? "the kernel enforces ABI \(abi)" : "the kernel does not enforce Landlock",
                advice: abi > 0
                    ? nil : "add landlock to the kernel's lsm= list (Linux 5.13 or newer), or --allow-missing landlock"),
        ]
    }

    private static func seccomp() -> Finding {
        do throws(SandboxError) {
            var unknown: Set<String> = []
            for name in Sandbox.profileNames {
                guard let json = SandboxProfiles.json(named: name) else { continue }
                unknown.formUnion(try SeccompFilter.compile(SeccompProfile(json: json, name: name)).unknownToLibrary)
            }
            let profiles = "compiled \(Sandbox.profileNames.joined(separator: ", "))"
            let rest =
                unknown.isEmpty
                ? "" : "; the installed libseccomp does not know \(unknown.sorted().joined(separator: ", ")), which stay denied"
            return Finding(name: "seccomp", state: .works, found: profiles + rest, advice: nil)
        } catch {
            return Finding(
                name: "seccomp", state: .missing, found: error.message, advice: "build the kernel with CONFIG_SECCOMP_FILTER")
        }
    }

    private static func cgroup(_ sandbox: Sandbox) -> Finding {
        var spec = SandboxSpec(command: [])
        spec.limits = .init(memory: 64 << 20, processes: 16, cpu: 1)
        do throws(SandboxError) {
            try sandbox.cgroup(for: spec).remove()
            let place =
                switch sandbox.layout {
                case .unified(let parent): "v2 at \(parent)"
                case .legacy(let parents):
                    "v1 with \(parents.keys.sorted().joined(separator: ", ")) at \(parents["memory"] ?? "")"
                case .absent(let why): why
                }
            return Finding(name: "cgroup", state: .works, found: "made, limited and removed a cgroup (\(place))", advice: nil)
        } catch {
            return Finding(
                name: "cgroup", state: .missing, found: error.message,
                advice: "run as root, or on cgroup v2 as a systemd service with Delegate=yes; else --allow-missing cgroup")
        }
    }

    private static func users(_ sandbox: Sandbox) -> Finding {
        guard let user = try? sandbox.reserveUser() else {
            return Finding(name: "user", state: .missing, found: "no user id is free for a job", advice: "end other jobs")
        }
        return user.isSeparate
            ? Finding(name: "user", state: .works, found: "jobs run as user ids from \(JobUser.first), one each", advice: nil)
            : Finding(
                name: "user", state: .optional, found: "jobs run as user \(user.id), who is also the store's owner",
                advice: "run the agent as root, so that each job gets a user id of its own")
    }

    /// The whole of it: everything on, one process, from start to removal.
    private static func launch(_ sandbox: Sandbox, missing: Set<String>) async -> Finding {
        var spec = SandboxSpec(command: ["/bin/true"])
        spec.limits = .init(memory: 64 << 20, processes: 16)
        spec.allowMissing = missing
        do {
            let started = Clock.nanoseconds()
            let process = try await sandbox.launch(spec, as: try sandbox.reserveUser())
            async let ending = process.wait(timeout: 10, grace: 0)
            while try await process.nextOutput() != nil {}
            let end = try await ending
            let milliseconds = Double(Clock.nanoseconds() - started) / 1e6
            guard end.exitCode == 0 else {
                return Finding(name: "launch", state: .missing, found: "a confined /bin/true ended with \(end)", advice: nil)
            }
            return Finding(
                name: "launch", state: .works,
                found: "a confined /bin/true ran from start to removal in \((milliseconds * 10).rounded() / 10) ms", advice: nil)
        } catch {
            return Finding(
                name: "launch", state: .missing, found: "a confined /bin/true did not start: \(error)",
                advice:
                    "allow unprivileged user namespaces (user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns) or run as root"
            )
        }
    }

    private static func devices() -> [Finding] {
        let known = (nodes: ["/dev/nvidia0", "/dev/kfd", "/dev/dri/renderD128"], specs: ["/etc/cdi", "/var/run/cdi"])
        let nodes = known.nodes.filter { access($0, F_OK) == 0 }
        let specs = known.specs.filter { access($0, F_OK) == 0 }
        return [
            Finding(
                name: "gpu", state: nodes.isEmpty ? .optional : .works,
                found: nodes.isEmpty
                    ? "no GPU device node"
                    : "found \(nodes.joined(separator: ", "))"
                        + (specs.isEmpty ? "" : "; CDI specifications in \(specs.joined(separator: ", "))"), advice: nil)
        ]
    }

    /// Programs of this host that some kinds of cargo need.
    private static func programs() -> [Finding] {
        let wanted = [
            ("llama-server", "kind gguf"), ("wasmkit", "kind wasm"), ("wasmtime", "kind wasm, instead of WasmKit"),
        ]
        let folders = (getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin").split(separator: ":")
        return wanted.map { program, use in
            let path = folders.map { String($0) + "/" + program }.first { access($0, X_OK) == 0 }
            return Finding(
                name: program, state: path == nil ? .optional : .works, found: path ?? "not in PATH",
                advice: path == nil ? "install it for \(use)" : nil)
        }
    }
}
