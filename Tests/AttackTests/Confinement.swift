import Foundation
import TestStage
import Testing

/// Who calls `cargo-run`.
enum Caller: String, Sendable, CaseIterable, CustomTestStringConvertible {
    case root
    /// A user without a name, a home, delegated cgroups or subordinate ids: the least that a host can give.
    case ordinaryUser

    static let userID: UInt32 = 60123

    var testDescription: String { self == .root ? "called by root" : "called by an ordinary user" }
}

/// A place from which one caller runs cargos.
struct Confinement: Sendable {
    let stage: Stage
    let caller: Caller

    init(_ caller: Caller) throws {
        stage = try Stage()
        self.caller = caller
        guard caller == .ordinaryUser else { return }
        // The build folder may lie where that user cannot go.
        try FileManager.default.copyItem(
            at: Stage.programs.appending(path: "cargo-run"), to: stage.folder.appending(path: "cargo-run"))
        if chown(stage.folder.path, Caller.userID, Caller.userID) != 0 { throw StageFailure("chown of \(stage.folder.path)") }
    }

    /// The start of every command of this caller.
    var identity: [String] {
        switch caller {
        case .root: []
        case .ordinaryUser: ["/usr/bin/setpriv", "--reuid=\(Caller.userID)", "--regid=\(Caller.userID)", "--clear-groups"]
        }
    }

    private var program: String {
        caller == .root ? Stage.programs.appending(path: "cargo-run").path : stage.path("cargo-run")
    }

    /// What an ordinary user has to say on a host that delegates no cgroup to it.
    private var allowances: [String] { caller == .root ? [] : ["--allow-missing", "cgroup"] }

    func command(_ archive: String, options: [String] = [], words: [String] = []) -> [String] {
        identity + [program, archive, "--unsigned"] + allowances + options + ["--"] + words
    }

    func start(_ archive: String, options: [String] = [], words: [String] = []) throws -> RunningProgram {
        let line = command(archive, options: options, words: words)
        return try stage.start(line)
    }

    /// What finished runs left in the store's folder of work.
    var leftovers: [String] { (try? FileManager.default.contentsOfDirectory(atPath: stage.path("home/work"))) ?? [] }

    /// Runs to the end, with the outcome as JSON.
    func run(_ archive: String, options: [String] = [], words: [String] = []) async throws -> Run {
        let finished = try await start(archive, options: ["--json"] + options, words: words).finish()
        return Run(finished)
    }
}

/// What one run of `cargo-run --json` told.
struct Run {
    let finished: Finished
    let outcome: JSON?
    /// Standard output of the job.
    let text: String

    init(_ finished: Finished) {
        self.finished = finished
        let lines = JSON.lines(finished.stdout)
        outcome = lines.last { $0["event"]?.string == "outcome" }
        text = lines.filter { $0["stream"]?.string == "stdout" }.map { $0["data"]?.string ?? "" }.joined()
    }

    var code: Int32 { finished.code }
    /// The outcome and the diagnostics as text.
    var everythingTold: String { (outcome?.description ?? "") + finished.stderr }
    /// For messages of tests.
    var story: String {
        "code \(code), outcome \(outcome?.description ?? "none"), stdout \(text.prefix(300)), stderr \(finished.stderr.prefix(600))"
    }
}

/// What a test needs of its machine.
enum Machine {
    /// Throwaway namespaces that are loose in everything else need the real root.
    static let isRoot = geteuid() == 0

    /// Host processes whose command line holds the mark.
    static func processes(marked mark: String) -> [Int32] {
        let entries = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return entries.compactMap(Int32.init).filter { process in
            let line = FileManager.default.contents(atPath: "/proc/\(process)/cmdline") ?? Data()
            return String(decoding: line, as: UTF8.self).contains(mark)
        }
    }
}

extension Machine {
    /// The largest resident size that a process has reached, in bytes; 0 when it is gone.
    static func peakMemory(of process: Int32) -> Int {
        let status = FileManager.default.contents(atPath: "/proc/\(process)/status") ?? Data()
        let line = String(decoding: status, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return (line?.split(separator: " ").compactMap { Int($0) }.first ?? 0) * 1024
    }

    /// Folders of cgroups on this machine that a job's supervisor made and that are still there.
    static func jobCgroups() -> Set<String> {
        var found: Set<String> = []
        // An enumerator of Foundation stays on one file system, and every hierarchy is one of its own.
        func walk(_ folder: String, _ depth: Int) {
            guard depth < 8, let names = try? FileManager.default.contentsOfDirectory(atPath: folder) else { return }
            for name in names where !name.contains(".") {
                let path = folder + "/" + name
                if name.hasPrefix("job-"), path.contains("longshore") { found.insert(path) } else { walk(path, depth + 1) }
            }
        }
        walk("/sys/fs/cgroup", 0)
        return found
    }
}
