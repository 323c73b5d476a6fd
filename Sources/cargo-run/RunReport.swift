import CargoArtifact
import CargoClient
import CargoRunner
import CargoWire
import FoundationEssentials

/// The lines of `cargo-run --json`, one object each, and their like for people.
enum RunReport {
    private struct Started: Encodable { var event = "started" }

    private struct Provisioning: Encodable {
        var event = "provisioning"
        var phase: String
        /// Bytes here, of those announced so far.
        var current: Int64
        var total: Int64
    }

    private struct Log: Encodable {
        var event = "log"
        var stream: LogChunk.Stream
        var offset: Int64
        var data: String?
        var dataBase64: String?

        enum CodingKeys: String, CodingKey {
            case event, stream, offset, data
            case dataBase64 = "data_base64"
        }
    }

    private struct Output: Encodable {
        var event = "output"
        var offset: Int64
        var output: JSONValue
    }

    private struct Outcome: Encodable {
        struct Limit: Encodable {
            var code: String
            var message: String
        }

        var exit: ExitReport
        var outputs: [OutputFile]
        var logBytes: Int64
        var logSHA256: String
        var logTruncated: Bool
        var logLinesSplit: Int
        var logPausedSeconds: Double
        var malformedLines: Int
        var limit: Limit?
        var missing: [String]
        var skipped: [String]
        var output: String?

        enum CodingKeys: String, CodingKey {
            case event, outputs, limit, missing, skipped, output
            case logBytes = "log_bytes"
            case logSHA256 = "log_sha256"
            case logTruncated = "log_truncated"
            case logLinesSplit = "log_lines_split"
            case logPausedSeconds = "log_paused_seconds"
            case malformedLines = "malformed_lines"
        }

        func encode(to encoder: any Encoder) throws {
            try exit.encode(to: encoder)
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode("outcome", forKey: .event)
            try container.encode(outputs, forKey: .outputs)
            try container.encode(logBytes, forKey: .logBytes)
            try container.encode(logSHA256, forKey: .logSHA256)
            try container.encode(logTruncated, forKey: .logTruncated)
            if logLinesSplit > 0 { try container.encode(logLinesSplit, forKey: .logLinesSplit) }
            if logPausedSeconds > 0 { try container.encode(logPausedSeconds, forKey: .logPausedSeconds) }
            if malformedLines > 0 { try container.encode(malformedLines, forKey: .malformedLines) }
            try container.encodeIfPresent(limit, forKey: .limit)
            if !missing.isEmpty { try container.encode(missing, forKey: .missing) }
            if !skipped.isEmpty { try container.encode(skipped, forKey: .skipped) }
            try container.encodeIfPresent(output, forKey: .output)
        }
    }

    static func line(for event: RunEvent) throws -> [UInt8] {
        switch event {
        case .provisioning(let progress):
            return try line(Provisioning(phase: progress.phase, current: progress.current, total: progress.total))
        case .started:
            return try line(Started())
        case .log(.event, let offset, let bytes):
            return try line(Output(offset: offset, output: try JSONDecoder().decode(JSONValue.self, from: Data(bytes))))
        case .log(let stream, let offset, let bytes):
            let chunk = LogChunk(stream: stream == .stdout ? .stdout : .stderr, offset: offset, bytes: bytes)
            return try line(Log(stream: chunk.stream, offset: offset, data: chunk.data, dataBase64: chunk.dataBase64))
        }
    }

    /// `folder`: where the outputs are, when they are kept.
    static func line(for outcome: RunOutcome, folder: String?) throws -> [UInt8] {
        try line(
            Outcome(
                exit: exit(of: outcome),
                outputs: outcome.outputs.map { OutputFile(path: $0.path, size: $0.size, sha256: $0.digest.hex) },
                logBytes: outcome.logBytes, logSHA256: outcome.logDigest.hex, logTruncated: outcome.logTruncated,
                logLinesSplit: outcome.logLinesSplit, logPausedSeconds: outcome.logPausedSeconds,
                malformedLines: outcome.malformedLines,
                limit: outcome.limit.map { Outcome.Limit(code: $0.rule, message: $0.message) }, missing: outcome.missing,
                skipped: outcome.skipped,
                output: folder))
    }

    static func exit(of outcome: RunOutcome) -> ExitReport {
        ExitReport(
            exitCode: outcome.exitCode, signal: outcome.signal, timedOut: outcome.timedOut, oomKilled: outcome.oomKilled,
            wallSeconds: outcome.wallSeconds, cpuSeconds: outcome.cpuSeconds, maxRSSBytes: outcome.maxRSSBytes)
    }

    /// A few lines for a person.
    static func text(for outcome: RunOutcome, folder: String?) -> String {
        var lines: [String] = []
        let seconds = "\(Double(Int(outcome.wallSeconds * 1000)) / 1000) s"
        if outcome.timedOut {
            lines.append("cargo-run: out of time after \(seconds)")
        } else if outcome.oomKilled {
            lines.append("cargo-run: killed for its memory after \(seconds); --memory and cargo.yaml set the limit")
        } else if let signal = outcome.signal {
            lines.append("cargo-run: killed by signal \(signal) after \(seconds)")
        } else {
            lines.append("cargo-run: exit code \(outcome.exitCode ?? -1) after \(seconds)")
        }
        if let limit = outcome.limit { lines.append("  \(limit.rule): \(limit.message)") }
        if outcome.logTruncated { lines.append("  the log was longer than its bound and is cut off") }
        if outcome.logLinesSplit > 0 { lines.append("  lines of the log were split \(outcome.logLinesSplit) times") }
        if outcome.logPausedSeconds >= 0.1 {
            lines.append("  it waited \(Double(Int(outcome.logPausedSeconds * 10)) / 10) s for logging faster than it may")
        }
        if outcome.malformedLines > 0 {
            lines.append("  \(outcome.malformedLines) lines of its output were no events and are log")
        }
        if !outcome.missing.isEmpty { lines.append("  ran without: \(outcome.missing.joined(separator: ", "))") }
        if !outcome.skipped.isEmpty {
            lines.append("  left out, being no plain files: \(outcome.skipped.prefix(5).map(printable).joined(separator: ", "))")
        }
        if let folder, !outcome.outputs.isEmpty { lines.append("  outputs in \(printable(folder)):") }
        for output in outcome.outputs {
            lines.append("  \(printable(output.path))  \(output.size) bytes  \(output.digest)")
        }
        return lines.joined(separator: "\n")
    }

    private static func line(_ value: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(value)) + [10]
    }
}
