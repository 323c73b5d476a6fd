import CargoSandbox
import Glibc
import SystemPackage

/// Runs commands in the sandbox and keeps what they said.
struct Bench {
    /// What one run came to.
    struct Result {
        var standardOutput: String
        var standardError: String
        var ending: ProcessEnding
    }

    static let sandbox: Sandbox = {
        do { return try Sandbox() } catch { fatalError("\(error)") }
    }()

    /// A specification as runners make it: the fixed environment, a job's limits.
    static func spec(_ command: [String], _ change: (inout SandboxSpec) -> Void = { _ in }) -> SandboxSpec {
        var spec = SandboxSpec(command: command)
        spec.environment = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/tmp"), ("TMPDIR", "/tmp")]
        spec.limits = .init(memory: 512 << 20, processes: 128)
        change(&spec)
        return spec
    }

    static func run(
        _ command: [String], timeout: Double = 30, grace: Double = 1, as user: JobUser? = nil,
        _ change: (inout SandboxSpec) -> Void = { _ in }
    ) async throws -> Result {
        let process = try await sandbox.launch(spec(command, change), as: user ?? sandbox.reserveUser())
        async let ending = process.wait(timeout: timeout, grace: grace)
        var output: [UInt8] = []
        var errors: [UInt8] = []
        while let piece = try await process.nextOutput() {
            if piece.stream == .standardOutput { output += piece.bytes } else { errors += piece.bytes }
        }
        return try await Result(
            standardOutput: String(decoding: output, as: UTF8.self), standardError: String(decoding: errors, as: UTF8.self),
            ending: ending)
    }

    static func shell(
        _ script: String, timeout: Double = 30, grace: Double = 1, _ change: (inout SandboxSpec) -> Void = { _ in }
    ) async throws -> Result {
        try await run(["/bin/sh", "-c", script], timeout: timeout, grace: grace, change)
    }
}
