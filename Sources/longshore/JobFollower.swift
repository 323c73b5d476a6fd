import CargoArtifact
import CargoClient
import CargoWire
import FoundationEssentials

/// Watches one job to its end, printing what it is asked to print.
struct JobFollower {
    let client: CoordinatorClient
    let job: String
    /// One event a line on standard output instead of the log itself.
    var json = false
    /// Prints nothing.
    var quiet = false
    /// Attempts before this one are passed over.
    var fromAttempt = 0

    private struct Line: Encodable {
        var event: String
        var id: String
        var status: StatusEvent?
        var log: LogChunk?
        var progress: JSONValue?
        var output: JSONValue?
    }

    /// Returns the job as it ended.
    func follow() async throws -> Job {
        var printer = LogPrinter()
        var attempt = fromAttempt
        let events = client.events(of: job) { error in
            Streams.note("lost the coordinator, trying again: \(error)")
        }
        for try await element in events {
            if element.cursor.attempt < fromAttempt { continue }
            if json {
                try print(element)
            } else if !quiet {
                if case .output(let output) = element.event {
                    printer.print(.event, Array(output.line.utf8) + [10])
                } else if case .log(let chunk) = element.event {
                    if attempt != 0, element.cursor.attempt > attempt {
                        Streams.note("--- attempt \(element.cursor.attempt) ---")
                    }
                    attempt = element.cursor.attempt
                    printer.print(chunk.stream, chunk.bytes)
                }
            }
        }
        let ended = try await client.job(job)
        SeenHeads(url: client.url).keep(ended)
        return ended
    }

    private func print(_ element: EventStream.Element) throws {
        var line = Line(event: "", id: element.cursor.description)
        switch element.event {
        case .status(let status):
            line.event = "status"
            line.status = status
        case .log(let chunk):
            line.event = "log"
            line.log = chunk
        case .output(let output):
            line.event = "output"
            line.output = try? StrictJSON.parse(Array(output.line.utf8), limit: 1 << 17)
        case .progress(let value):
            line.event = "progress"
            line.progress = value
        }
        try Streams.json(line)
    }
}
