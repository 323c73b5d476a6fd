internal import CargoArtifact

/// The environment inside a job: nothing of the host's, the cargo's own, what the job may add, and the fixed names.
enum JobEnvironment {
    /// Where a serving cargo listens. Servers that also take addresses know a path by this ending.
    static let socket = "/job/run/" + socketName
    static let socketName = "cargo.sock"

    /// Names that decide how programs are loaded, found and confined: a job may never set them (docs/rules.md 4).
    static func isReserved(_ name: String) -> Bool {
        name == "PATH" || ["LD_", "CARGO_", "NVIDIA_", "LLAMA_ARG_"].contains { name.hasPrefix($0) }
    }

    /// Refuses what a job may not set.
    static func check(_ environment: [String: String], allowed: [String]) throws {
        for (name, value) in environment.sorted(by: { $0.key < $1.key }) {
            guard isName(name), !value.utf8.contains(0) else {
                throw Refusal("job-env", "'\(name.prefix(80))' is no environment name; use letters, digits and _")
            }
            guard !isReserved(name) else {
                throw Refusal(
                    "job-env", "a job may not set \(name): PATH, LD_*, CARGO_*, NVIDIA_* and LLAMA_ARG_* are never a job's")
            }
            guard allowed.contains(name) else {
                throw Refusal(
                    "job-env",
                    "this cargo does not let a job set \(name)"
                        + (allowed.isEmpty
                            ? "; its manifest has no job-env" : "; its job-env lists \(allowed.joined(separator: ", "))"))
            }
        }
    }

    /// The whole environment, sorted by name. Later words are stronger: defaults, cargo, job, fixed.
    static func make(
        cargo: [String: String], job: [String: String], name: String, version: String, jobID: String
    ) -> [(name: String, value: String)] {
        var all = ["PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp"]
        all.merge(cargo.filter { isName($0.key) && !$0.value.utf8.contains(0) }) { $1 }
        all.merge(job) { $1 }
        all.merge([
            "CARGO_NAME": name, "CARGO_VERSION": version, "CARGO_JOB_ID": jobID, "CARGO_INPUT": "/job/input",
            "CARGO_OUTPUT": "/job/output", "CARGO_PARAMS": "/job/params.json", "CARGO_SOCKET": socket,
        ]) { $1 }
        return all.sorted { $0.key < $1.key }.map { (name: $0.key, value: $0.value) }
    }

    private static func isName(_ name: String) -> Bool {
        guard let first = name.utf8.first, !(48...57).contains(first), name.utf8.count <= 256 else { return false }
        return name.utf8.allSatisfy {
            (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 95
        }
    }
}
