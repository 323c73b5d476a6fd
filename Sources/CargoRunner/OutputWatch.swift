internal import CargoArtifact
internal import CargoFiles
internal import CargoSandbox
internal import SystemPackage

/// Watches how much a running job has written to its output folder, where no quota of the file system does.
///
/// One file cannot outgrow the limit (RLIMIT_FSIZE); many could together, so their sum is taken now and then, and a
/// job that is over its limit is killed.
enum OutputWatch {
    /// Seconds between two looks.
    private static let shortest = 0.05
    private static let longest = 0.5
    /// Bytes a second that a job may be able to write: the fuller its output, the closer the looks.
    private static let speed = 2.0 * 1_073_741_824

    /// What is waited until the next look, of which looking takes a twentieth at most.
    static func pause(left: Int64, looked: Double) -> Double {
        min(longest, max(shortest, Double(max(0, left)) / speed, looked * 20))
    }

    /// Looks until it is cancelled or has killed the job, having said why first.
    static func guarding(
        _ output: FilePath, bytes: Int64, files: Int, entries: Int, _ process: ConfinedProcess, _ verdict: Verdict
    ) async {
        var next = pause(left: bytes, looked: 0)
        while (try? await Task.sleep(for: .seconds(next))) != nil {
            let begin = ContinuousClock.now
            guard let use = try? await blocking({ try measure(try Folder.open(output), depth: 0, entries: entries) }) else {
                continue
            }
            next = pause(left: bytes - use.bytes, looked: (ContinuousClock.now - begin) / .seconds(1))
            if use.bytes > bytes {
                verdict.set(Refusal("output_limit", "the job wrote more than its \(bytes) bytes of output"))
            } else if use.entries > entries {
                verdict.set(Refusal("output_limit", "the job made more than its \(files) output files"))
            } else {
                continue
            }
            process.kill()
            return
        }
    }

    /// Bytes on disk and entries below a folder; stops counting past `entries`.
    static func measure(_ folder: Folder, depth: Int, entries: Int) throws -> (bytes: Int64, entries: Int) {
        var use = (bytes: Int64(0), entries: 0)
        guard let (names, unreadable) = try? folder.names(limit: entries) else { return (0, entries + 1) }
        use.entries += unreadable
        for name in names where use.entries <= entries {
            use.entries += 1
            guard let status = try? folder.status(name) else { continue }
            use.bytes += status.allocated
            guard status.kind == .folder, depth < OutputCollector.depth, let inner = try? folder.folder(name) else { continue }
            let below = try measure(inner, depth: depth + 1, entries: entries - use.entries)
            use.bytes += below.bytes
            use.entries += below.entries
        }
        return use
    }
}
