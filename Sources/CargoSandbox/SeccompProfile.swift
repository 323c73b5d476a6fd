import FoundationEssentials

/// A seccomp profile in the OCI/Docker JSON form (runtime-spec config-linux.md, "Seccomp"; Docker's `names`, `includes`
/// and `excludes`), so that the same file serves `docker run --security-opt seccomp=…`.
struct SeccompProfile: Sendable, Codable, Hashable {
    struct Rule: Sendable, Codable, Hashable {
        struct Argument: Sendable, Codable, Hashable {
            var index: UInt32
            var value: UInt64
            var valueTwo: UInt64?
            var op: String
        }

        /// When a rule counts: Docker's conditions on architecture and capabilities.
        struct Condition: Sendable, Codable, Hashable {
            var arches: [String]?
            var caps: [String]?
            var minKernel: String?
        }

        var names: [String]
        var action: String
        var errnoRet: UInt32?
        var args: [Argument]?
        var includes: Condition?
        var excludes: Condition?
    }

    var defaultAction: String
    var defaultErrnoRet: UInt32?
    var syscalls: [Rule]

    /// Reads and checks a profile: an unknown call name, action or comparison is refused by name.
    init(json: [UInt8], name: String) throws(SandboxError) {
        do {
            self = try JSONDecoder().decode(SeccompProfile.self, from: Data(json))
        } catch {
            throw SandboxError(.refused, mechanism: "seccomp", "the sandbox profile \(name) is not seccomp JSON: \(error)")
        }
        for rule in syscalls {
            for call in rule.names where !SystemCallNames.contains(call) {
                throw SandboxError(
                    .refused, mechanism: "seccomp",
                    "the sandbox profile \(name) names the system call '\(call)', which does not exist; correct its spelling")
            }
            for argument in rule.args ?? [] where SeccompFilter.comparison(argument.op) == nil || argument.index > 5 {
                throw SandboxError(
                    .refused, mechanism: "seccomp",
                    "the sandbox profile \(name) compares argument \(argument.index) of \(rule.names.first ?? "a call") by '\(argument.op)', which is unknown"
                )
            }
        }
        for action in [defaultAction] + syscalls.map(\.action) where SeccompFilter.action(action, errno: nil) == nil {
            throw SandboxError(.refused, mechanism: "seccomp", "the sandbox profile \(name) has the unknown action '\(action)'")
        }
        guard defaultAction != "SCMP_ACT_ALLOW", defaultAction != "SCMP_ACT_LOG" else {
            throw SandboxError(
                .refused, mechanism: "seccomp", "the sandbox profile \(name) allows by default; a profile must deny by default")
        }
    }
}

extension SeccompProfile.Rule.Condition {
    /// Jobs hold no capability, so a condition on one is never met.
    func holds(architecture: String) -> Bool {
        if let arches, !arches.isEmpty, !arches.contains(architecture) { return false }
        if let caps, !caps.isEmpty { return false }
        return true
    }

    /// Docker's `excludes`: any of its words that holds takes the rule away.
    func excludes(architecture: String) -> Bool { arches?.contains(architecture) ?? false }
}
