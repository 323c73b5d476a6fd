internal import CargoSandbox

/// Ends a job whose processes took more processor time together than it has.
///
/// `RLIMIT_CPU` bounds each process alone, in the kernel; their sum is in the job's cgroup and is looked at. A host
/// without cgroups has the first alone.
enum CPUWatch {
    /// Seconds between two looks.
    private static let shortest = 0.05
    private static let longest = 0.5

    /// Looks until it is cancelled or has stopped the job, having said why first.
    static func guarding(_ process: ConfinedProcess, seconds: Double?, _ verdict: Verdict) async {
        guard let seconds, process.cpuSeconds() != nil else { return }
        while let used = process.cpuSeconds(), used < seconds {
            // Half of what one core may still take: closer looks towards the end.
            let pause = min(longest, max(shortest, (seconds - used) / 2))
            guard (try? await Task.sleep(for: .seconds(pause))) != nil else { return }
        }
        guard !process.isOver else { return }
        verdict.set(JobPlan.cpuLimit(seconds))
        process.stop()
    }
}
