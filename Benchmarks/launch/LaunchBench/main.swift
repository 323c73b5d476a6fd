import CargoSandbox
import FoundationEssentials
import Glibc

// launch-bench times COUNT [--resident MIB]                  median and 90th percentile of confined /bin/true, µs
// launch-bench filter FILE                                   writes the compiled filter of the default profile
// launch-bench leaks COUNT                                   what COUNT launches leave behind
// launch-bench crowd COUNT                                   COUNT confined jobs at once

/// Where the numbers of this host's process are read.
func status(_ field: String) -> Int {
    let text = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    let line = text.split(separator: "\n").first { $0.hasPrefix(field + ":") }
    return line?.split(whereSeparator: { " \t".contains($0) }).compactMap { Int($0) }.first ?? 0
}

func entries(_ path: String) -> Int { ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).count }

func lines(_ path: String) -> Int {
    (try? String(contentsOfFile: path, encoding: .utf8))?.split(separator: "\n").count ?? 0
}

func children() -> Int {
    // Each thread has its own.
    let threads = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task")) ?? []
    return threads.map { thread in
        let text = (try? String(contentsOfFile: "/proc/self/task/\(thread)/children", encoding: .utf8)) ?? ""
        return text.split(separator: " ").count
    }.reduce(0, +)
}

/// cgroups below the folders that a sandbox makes.
func jobCgroups() -> Int {
    var count = 0
    func walk(_ path: String, _ depth: Int) {
        guard depth < 8 else { return }
        for name in (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [] {
            if name.hasPrefix("job-\(getpid())-") { count += 1 }
            var information = stat()
            let inner = path + "/" + name
            if lstat(inner, &information) == 0, information.st_mode & S_IFMT == S_IFDIR { walk(inner, depth + 1) }
        }
    }
    walk("/sys/fs/cgroup", 0)
    return count
}

func specification(_ command: [String]) -> SandboxSpec {
    var spec = SandboxSpec(command: command)
    spec.workingFolder = "/"
    spec.environment = [("PATH", "/usr/local/bin:/usr/bin:/bin")]
    spec.limits = SandboxSpec.Limits(memory: 64 << 20, processes: 32, cpu: 1)
    return spec
}

/// From before the launch until everything inside is reaped and its cgroup removed.
func runOnce(_ sandbox: Sandbox, _ spec: SandboxSpec) async throws -> ProcessEnding {
    let process = try await sandbox.launch(spec, as: sandbox.reserveUser())
    while try await process.nextOutput() != nil {}
    return try await process.wait(timeout: 60, grace: 1)
}

// As in an agent, nothing here runs on the main thread.
@concurrent func times(_ count: Int) async throws {
    let sandbox = try Sandbox()
    let spec = specification(["/bin/true"])
    var taken: [Duration] = []
    for round in 0..<count + 3 {
        let begin = ContinuousClock.now
        let ending = try await runOnce(sandbox, spec)
        precondition(ending.exitCode == 0, "\(ending)")
        if round >= 3 { taken.append(ContinuousClock.now - begin) }
    }
    taken.sort()
    func microseconds(_ time: Duration) -> Int { Int(time / .microseconds(1)) }
    print(microseconds(taken[count / 2]), microseconds(taken[count * 9 / 10]))
}

@concurrent func leaks(_ count: Int) async throws {
    let sandbox = try Sandbox()
    let spec = specification(["/bin/true"])
    for _ in 0..<20 { _ = try await runOnce(sandbox, spec) }
    let before = (entries("/proc/self/fd"), lines("/proc/self/mountinfo"), jobCgroups(), children(), status("VmRSS"))
    for _ in 0..<count {
        let ending = try await runOnce(sandbox, spec)
        precondition(ending.exitCode == 0, "\(ending)")
    }
    // The last process's descriptors close when the task that waited for it lets go, which may be on another thread.
    for _ in 0..<100 where entries("/proc/self/fd") > before.0 { try await Task.sleep(for: .milliseconds(10)) }
    let after = (entries("/proc/self/fd"), lines("/proc/self/mountinfo"), jobCgroups(), children(), status("VmRSS"))
    print("descriptors \(after.0 - before.0)")
    print("mounts \(after.1 - before.1)")
    print("cgroups \(after.2 - before.2)")
    print("processes \(after.3 - before.3)")
    print("resident_kib \(after.4 - before.4)")
}

@concurrent func crowd(_ count: Int) async throws {
    let sandbox = try Sandbox()
    _ = try await runOnce(sandbox, specification(["/bin/true"]))
    let before = status("VmRSS")
    let begin = ContinuousClock.now
    let (right, most) = try await withThrowingTaskGroup(of: Bool.self) { group in
        for number in 0..<count {
            group.addTask {
                // All are alive together: each waits longer than the launches of all take.
                let spec = specification(["/bin/sh", "-c", "sleep 8; exit \(number % 100)"])
                let ending = try await runOnce(sandbox, spec)
                return ending.exitCode == number % 100
            }
        }
        var most = 0
        var together = 0
        while ContinuousClock.now - begin < .seconds(7) {
            together = max(together, children())
            most = max(most, status("VmRSS"))
            try await Task.sleep(for: .milliseconds(50))
        }
        var right = 0
        for try await good in group where good { right += 1 }
        print("together \(together)")
        return (right, most)
    }
    print("right \(right)")
    print("kib_per_job \((most - before + count - 1) / count)")
    print("seconds \(Int((ContinuousClock.now - begin) / .seconds(1)))")
}

signal(SIGPIPE, SIG_IGN)
var words = Array(CommandLine.arguments.dropFirst())
/// Memory that a long-lived program may hold; touched, so that it is resident.
var ballast: [UInt8] = []
if let at = words.firstIndex(of: "--resident"), at + 1 < words.count, let mebibytes = Int(words[at + 1]) {
    ballast = [UInt8](repeating: 1, count: mebibytes << 20)
    words.removeSubrange(at...at + 1)
}
switch words.first {
case "times": try await times(words.count > 1 ? Int(words[1]) ?? 100 : 100)
case "leaks": try await leaks(words.count > 1 ? Int(words[1]) ?? 1000 : 1000)
case "crowd": try await crowd(words.count > 1 ? Int(words[1]) ?? 200 : 200)
case "filter" where words.count == 2:
    let filter = try Sandbox().compiledFilter(SandboxSpec(command: []).profile)
    try Data(filter).write(to: URL(filePath: words[1]))
default:
    print("usage: launch-bench times|leaks|crowd COUNT [--resident MIB] | filter FILE")
    exit(2)
}
exit(ballast.count < 0 ? 1 : 0)
