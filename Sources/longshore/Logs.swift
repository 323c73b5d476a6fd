import ArgumentParser
import CargoClient
import CargoWire

/// Prints a job's log.
struct Logs: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print a job's log; with -f until it ends.",
        discussion: """
            The job's standard output goes to standard output, its standard error to standard error: raw, but with control \
            characters made visible on a terminal. It is the log of the newest attempt unless --attempt says otherwise. \
            With -f a lost connection is taken up again where it was, nothing is lost or printed twice.
            """)

    @Flag(name: .shortAndLong, help: "Go on until the job ends.")
    var follow = false

    @Option(help: "The log of this attempt.")
    var attempt: Int?

    @Argument(help: "The job's id.")
    var id: String

    @OptionGroup var coordinator: CoordinatorOptions

    func run() async throws {
        let client = try coordinator.client()
        let job = try await client.job(id)
        if follow, attempt == nil {
            _ = try await JobFollower(client: client, job: id, fromAttempt: job.attempt).follow()
            return
        }
        let wanted = attempt ?? job.attempt
        var printer = LogPrinter()
        for try await element in client.events(of: id, follow: false) where element.cursor.attempt == wanted {
            switch element.event {
            case .log(let chunk): printer.print(chunk.stream, chunk.bytes)
            case .output(let output): printer.print(.event, Array(output.line.utf8) + [10])
            case .status, .progress: break
            }
        }
    }
}
