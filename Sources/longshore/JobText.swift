import CargoArtifact
import CargoClient
import CargoWire

/// Jobs in words and columns.
enum JobText {
    /// One sentence about how it ended.
    static func ending(of job: Job) -> String {
        var text = "\(job.id): \(job.status.rawValue)"
        if let code = job.exitCode { text += ", exit code \(code)" }
        if let signal = job.exit?.signal { text += ", signal \(signal)" }
        if let error = job.error { text += ", \(printable(error.code)): \(printable(error.message))" }
        if !job.outputs.isEmpty { text += ", \(job.outputs.count) output\(job.outputs.count == 1 ? "" : "s")" }
        return text
    }

    /// Aligned columns under their heads; the last one is not padded.
    static func table(_ heads: [String], _ rows: [[String]]) -> String {
        let all = [heads] + rows.map { $0.map(printable) }
        let widths = heads.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        return all.map { row in
            row.enumerated().map { column, cell in
                column == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[column] - cell.count)
            }.joined(separator: "  ")
        }.joined(separator: "\n")
    }

    static func row(_ job: Job) -> [String] {
        let end = job.exitCode.map { "\($0)" } ?? job.exit?.signal.map { "signal \($0)" } ?? job.error?.code ?? "-"
        return [
            job.id, job.status.rawValue, end, "\(job.attempt)", shortTime(job.createdAt), work(of: job),
        ]
    }

    /// What a job runs: a cargo, an image, or the model that it asks.
    private static func work(of job: Job) -> String { job.cargo ?? job.image ?? job.model ?? job.digest ?? "-" }

    static let heads = ["ID", "STATUS", "EXIT", "ATTEMPT", "CREATED", "WORK"]

    static func description(of job: Job) -> String {
        var fields: [(String, String)] = [
            ("id", job.id), ("status", job.status.rawValue), ("work", work(of: job)), ("digest", job.digest ?? "-"),
            ("host", job.host ?? "-"), ("attempt", "\(job.attempt)"), ("priority", "\(job.priority)"), ("tier", "\(job.tier)"),
            ("created", job.createdAt), ("started", job.startedAt ?? "-"), ("finished", job.finishedAt ?? "-"),
        ]
        if let code = job.exitCode { fields.append(("exit code", "\(code)")) }
        if let exit = job.exit {
            if let signal = exit.signal { fields.append(("signal", "\(signal)")) }
            fields.append(("wall time", "\(exit.wallSeconds) s"))
            fields.append(("cpu time", "\(exit.cpuSeconds) s"))
            fields.append(("peak memory", "\(exit.maxRSSBytes) bytes"))
        }
        if let error = job.error { fields.append(("error", "\(error.code): \(error.message)")) }
        if let notice = job.notice { fields.append(("notice", notice)) }
        for output in job.outputs { fields.append(("output", "\(output.path)  \(output.size) bytes  sha256:\(output.sha256)")) }
        return fields.map { name, value in
            name + String(repeating: " ", count: 13 - name.count) + printable(value)
        }.joined(separator: "\n")
    }

    /// What a host has signed, and which engine it says that it ran.
    static func lines(of attested: JobAudit.Attested) -> [String] {
        let outcome = attested.outcome
        let end = outcome.exit.exitCode.map { "exit code \($0)" } ?? outcome.exit.signal.map { "signal \($0)" } ?? "no exit code"
        var lines = [
            "attempt \(outcome.attempt): \(end), \(outcome.outputs.count) outputs, signed by host \(outcome.host) with key "
                + attested.fingerprint
        ]
        if let engine = outcome.engine {
            lines.append("  engine \(engine.name) \(engine.version) \(engine.digest), which ran \(engine.model)")
            lines += engine.programs.map { program in
                "  \(program.name): " + [program.build, program.digest].compactMap { $0 }.joined(separator: ", ")
            }
        }
        return lines.map(printable)
    }

    /// `2026-11-20T23:59:01.5Z` without its fraction and zone.
    private static func shortTime(_ text: String) -> String {
        String(text.prefix(19)).replacing("T", with: " ")
    }
}
