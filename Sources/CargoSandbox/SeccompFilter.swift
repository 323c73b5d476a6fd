import CLinux
import CSeccomp
import Glibc

/// Compiles a profile to the kernel's filter program (seccomp(2)), as bytes that `cargo-init` loads.
enum SeccompFilter {
    /// The last system call that the oldest supported libseccomp (2.5.4) knows. What is newer and not allowed is told
    /// to be absent (ENOSYS), so that programs take their older way, as container runtimes do.
    static let newestKnownCall: Int32 = 450

    #if arch(x86_64)
        static let architecture = "amd64"
        private static let auditArchitecture: UInt32 = 0xc000_003e
    #else
        static let architecture = "arm64"
        private static let auditArchitecture: UInt32 = 0xc000_00b7
    #endif

    /// A compiled filter and what could not be expressed.
    struct Compiled: Sendable {
        var program: [UInt8]
        /// Names that the profile allows but the installed libseccomp does not know: they stay denied.
        var unknownToLibrary: [String]
    }

    static func compile(_ profile: SeccompProfile, tracing: Bool = false) throws(SandboxError) -> Compiled {
        func failure(_ what: String, _ code: Int32) -> SandboxError {
            SandboxError(.failed, mechanism: "seccomp", "libseccomp could not \(what): \(SystemError.text(-code))")
        }
        let plain = action(profile.defaultAction, errno: profile.defaultErrnoRet) ?? 0x0005_0001
        let otherwise = tracing ? notify : plain
        guard let context = seccomp_init(otherwise) else { throw failure("start a filter", -ENOMEM) }
        defer { seccomp_release(context) }
        // A binary tree over call numbers: a dozen comparisons a call instead of hundreds.
        seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2)
        seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, killProcess)
        seccomp_attr_set(context, SCMP_FLTATR_CTL_NNP, 0)
        var unknown: [String] = []
        var newest = newestKnownCall
        for rule in profile.syscalls {
            if let includes = rule.includes, !includes.holds(architecture: architecture) { continue }
            if let excludes = rule.excludes, excludes.excludes(architecture: architecture) { continue }
            let action = action(rule.action, errno: rule.errnoRet) ?? plain
            let arguments = (rule.args ?? []).map { argument in
                scmp_arg_cmp(
                    arg: argument.index, op: comparison(argument.op) ?? SCMP_CMP_EQ, datum_a: argument.value,
                    datum_b: argument.valueTwo ?? 0)
            }
            for name in rule.names {
                let number = seccomp_syscall_resolve_name(name)
                // Negative: of another architecture (a pseudo number), or unknown to the library.
                guard number >= 0 else {
                    if number == -1, action == allow { unknown.append(name) }
                    continue
                }
                newest = max(newest, number)
                if action == otherwise { continue }
                let result = seccomp_rule_add_array(context, action, number, UInt32(arguments.count), arguments)
                guard result == 0 || result == -EEXIST else { throw failure("add a rule for \(name)", result) }
            }
        }
        return Compiled(
            program: newerCalls(than: newest, tracing: tracing) + (try export(context, failure)), unknownToLibrary: unknown)
    }

    /// Filter instructions before the library's: of this architecture, a call number that the library cannot know.
    private static func newerCalls(than newest: Int32, tracing: Bool) -> [UInt8] {
        guard !tracing else { return [] }
        // struct sock_filter {u16 code; u8 jt; u8 jf; u32 k} over struct seccomp_data {int nr; u32 arch; …}.
        let x32: UInt32 = 0x4000_0000
        let instructions: [(code: UInt16, yes: UInt8, no: UInt8, value: UInt32)] = [
            (0x20, 0, 0, 4),  // load the architecture
            (0x15, 0, 4, auditArchitecture),  // another one: the library's filter decides
            (0x20, 0, 0, 0),  // load the number
            (0x35, 2, 0, x32),  // x32: the library's filter decides
            (0x25, 0, 1, UInt32(newest)),
            (0x06, 0, 0, 0x0005_0000 | UInt32(ENOSYS)),
        ]
        var bytes: [UInt8] = []
        for instruction in instructions {
            bytes += [UInt8(truncatingIfNeeded: instruction.code), UInt8(instruction.code >> 8), instruction.yes, instruction.no]
            for shift in [0, 8, 16, 24] as [UInt32] { bytes.append(UInt8(truncatingIfNeeded: instruction.value >> shift)) }
        }
        return bytes
    }

    private static func export(
        _ context: scmp_filter_ctx, _ failure: (String, Int32) -> SandboxError
    ) throws(SandboxError) -> [UInt8] {
        let file = clinux_memory_file("seccomp")
        guard file >= 0 else { throw failure("make a memory file", -errno) }
        let memory = Descriptor(file)
        let result = seccomp_export_bpf(context, memory.number)
        guard result == 0 else { throw failure("write the filter", result) }
        lseek(memory.number, 0, SEEK_SET)
        // The kernel takes at most 4096 instructions of 8 bytes.
        guard let bytes = try? memory.read(upTo: 1 << 16), !bytes.isEmpty, bytes.count <= (4096 - 8) * 8 else {
            throw failure("keep the filter under 4096 instructions", -E2BIG)
        }
        return bytes
    }

    static let allow: UInt32 = 0x7fff_0000
    static let notify: UInt32 = 0x7fc0_0000
    private static let killProcess: UInt32 = 0x8000_0000

    /// `SCMP_ACT_*`; nil for an unknown word.
    static func action(_ word: String, errno: UInt32?) -> UInt32? {
        switch word {
        case "SCMP_ACT_ALLOW": allow
        case "SCMP_ACT_ERRNO": 0x0005_0000 | ((errno ?? 1) & 0xffff)
        case "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD": 0
        case "SCMP_ACT_KILL_PROCESS": killProcess
        case "SCMP_ACT_TRAP": 0x0003_0000
        case "SCMP_ACT_LOG": 0x7ffc_0000
        default: nil
        }
    }

    /// `SCMP_CMP_*`; nil for an unknown word.
    static func comparison(_ word: String) -> scmp_compare? {
        switch word {
        case "SCMP_CMP_NE": SCMP_CMP_NE
        case "SCMP_CMP_LT": SCMP_CMP_LT
        case "SCMP_CMP_LE": SCMP_CMP_LE
        case "SCMP_CMP_EQ": SCMP_CMP_EQ
        case "SCMP_CMP_GE": SCMP_CMP_GE
        case "SCMP_CMP_GT": SCMP_CMP_GT
        case "SCMP_CMP_MASKED_EQ": SCMP_CMP_MASKED_EQ
        default: nil
        }
    }
}
