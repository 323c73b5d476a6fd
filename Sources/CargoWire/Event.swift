public import CargoArtifact

/// One position in a job's event stream: everything up to it was delivered.
///
/// The SSE `id` is `attempt.offset.sequence`: the log of that attempt up to `offset`, and the transitions up to
/// `sequence`. The host numbers the first two, the coordinator the third, so a reader that shows any id it has
/// ever received goes on from there with nothing lost and nothing twice.
public struct EventCursor: Hashable, Sendable, CustomStringConvertible {
    public var attempt: Int
    public var offset: Int64
    public var sequence: Int64

    public static let start = EventCursor(attempt: 0, offset: 0, sequence: 0)

    public init(attempt: Int, offset: Int64, sequence: Int64) {
        self.attempt = attempt
        self.offset = offset
        self.sequence = sequence
    }

    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let attempt = Int(parts[0]), let offset = Int64(parts[1]), let sequence = Int64(parts[2]),
            attempt >= 0, offset >= 0, sequence >= 0
        else { return nil }
        self.init(attempt: attempt, offset: offset, sequence: sequence)
    }

    public var description: String { "\(attempt).\(offset).\(sequence)" }
}

/// The `data` of the SSE event `status`: one transition of the job.
public struct StatusEvent: Hashable, Sendable, Codable {
    public var status: JobStatus
    public var attempt: Int
    /// RFC 3339, UTC.
    public var at: String
    public var host: String?
    public var exitCode: Int?
    public var error: JobError?
    /// The `traceparent` that the job was submitted with; on the first event alone.
    public var trace: String?

    public init(status: JobStatus, attempt: Int, at: String, host: String? = nil, exitCode: Int? = nil, error: JobError? = nil) {
        self.status = status
        self.attempt = attempt
        self.at = at
        self.host = host
        self.exitCode = exitCode
        self.error = error
    }

    enum CodingKeys: String, CodingKey {
        case status, attempt, at, host, trace
        case exitCode = "exit_code"
        case error
    }
}

/// What a cargo with `interface: stdio-jsonl` said: the `data` of the SSE event `output`.
public struct OutputEvent: Hashable, Sendable {
    /// Where its line begins in the attempt's combined log.
    public var offset: Int64
    /// One JSON object whose `type` is `status`, `token`, `progress`, `image`, `done`, `error` or `malformed`.
    public var line: String

    public init(offset: Int64, line: String) {
        self.offset = offset
        self.line = line
    }
}

/// One event of `GET /jobs/{id}/events`: SSE `event:` `status`, `log` (data: `LogChunk`), `output` or `progress`.
/// The stream ends after the final status.
public enum JobEvent: Hashable, Sendable {
    case status(StatusEvent)
    case log(LogChunk)
    case output(OutputEvent)
    case progress(JSONValue)
}
