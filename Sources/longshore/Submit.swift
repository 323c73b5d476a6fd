import ArgumentParser
import CargoArtifact
import CargoClient
import CargoCommands
import CargoFiles
import CargoWire
import FoundationEssentials
import Glibc
import SystemPackage

/// Hands a job to the coordinator, and follows it if asked.
struct Submit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Submit a job.",
        discussion: """
            The id is printed as soon as the job is on the coordinator's disk. --follow passes the job's standard output \
            and error on as they come; --wait exits as the job did: its own code, 128+n when killed by signal n, \
            124 out of time, 125 it could not be run, 126 refused, 127 its command does not exist, 130 cancelled.
            """)

    @Argument(help: "publisher/name:version or publisher/name@sha256:…")
    var reference: String?

    @Option(help: ArgumentHelp("A model by name, instead of a cargo.", valueName: "model"))
    var model: String?

    @Option(help: ArgumentHelp("A container image, instead of a cargo.", valueName: "image"))
    var image: String?

    @Option(
        name: .customLong("file"),
        help: ArgumentHelp("A file that appears as /job/input/NAME.", valueName: "path[=name]"))
    var files: [String] = []

    @Option(name: .customLong("param"), help: ArgumentHelp("A parameter; JSON where it parses, else text.", valueName: "k=v"))
    var parameters: [ParameterPair] = []

    @Option(name: .customLong("env"), help: ArgumentHelp("A variable that the cargo allows (job-env).", valueName: "k=v"))
    var environment: [TextPair] = []

    @Option(help: "0 to 100, higher first; 50 by default.")
    var priority: Int?

    @Option(help: ArgumentHelp("Most run time, e.g. 30, 10s or 5m.", valueName: "time"))
    var timeout: Seconds?

    @Option(help: "Most memory, e.g. 1GiB.")
    var memory: ByteCount?

    @Option(help: "Most tries of the job itself; 1 by default.")
    var attempts: Int?

    @Option(help: ArgumentHelp("The job's id, a UUIDv7: the same id again gives the same job.", valueName: "id"))
    var id: String?

    @Option(help: ArgumentHelp("Called with the result when the job ended.", valueName: "url"))
    var callback: String?

    @Option(help: ArgumentHelp("How long results are kept, e.g. 7d.", valueName: "time"))
    var retention: Seconds?

    @Flag(name: .shortAndLong, help: "Print the job's log while it runs.")
    var follow = false

    @Flag(name: .shortAndLong, help: "Exit as the job does.")
    var wait = false

    @Option(help: ArgumentHelp("Wait, and put the job's output files there.", valueName: "dir"))
    var output: String?

    @Flag(help: "Print JSON: the job, one line; with --follow one event a line before it.")
    var json = false

    @OptionGroup var coordinator: CoordinatorOptions

    @Argument(parsing: .postTerminator, help: "Appended to the cargo's command.")
    var arguments: [String] = []

    func validate() throws {
        guard [reference, model, image].compactMap({ $0 }).count == 1 else {
            throw ValidationError("Name exactly one of REF, --model and --image.")
        }
        if let reference, CargoReference(reference) == nil {
            throw ValidationError("'\(reference)' is neither publisher/name:version nor publisher/name@sha256:….")
        }
        if let priority, !(0...100).contains(priority) { throw ValidationError("--priority is a number from 0 to 100.") }
        if let attempts, attempts < 1 { throw ValidationError("--attempts is at least 1.") }
        if let id, !UUIDv7.isValid(id) { throw ValidationError("--id is a lower-case UUID of version 7.") }
    }

    func run() async throws {
        let client = try coordinator.client()
        let job = try await client.submit(try await request(client))
        let stays = follow || wait || output != nil
        if !stays {
            if json { try Streams.json(job) } else { Streams.result(job.id) }
            if let notice = job.notice { Streams.note("note: \(printable(notice))") }
            return
        }
        Streams.note(job.id)
        if let notice = job.notice { Streams.note("note: \(printable(notice))") }
        let ended = try await JobFollower(client: client, job: job.id, json: json && follow, quiet: !follow).follow()
        if let output, !ended.outputs.isEmpty {
            try await OutputFetcher(client: client, job: job.id).fetch(ended.outputs, to: output)
        }
        if json { try Streams.json(ended) } else { Streams.note(JobText.ending(of: ended)) }
        if wait || output != nil { throw ExitCode(ProgramExit.code(of: ended)) }
    }

    private func request(_ client: CoordinatorClient) async throws -> JobRequest {
        var request = JobRequest(cargo: reference, model: model, image: image)
        request.id = id ?? UUIDv7.make()
        if image != nil {
            request.command = arguments.isEmpty ? nil : arguments
        } else if !arguments.isEmpty {
            request.args = arguments
        }
        if !parameters.isEmpty {
            request.params = Dictionary(parameters.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
        }
        if !environment.isEmpty {
            request.env = Dictionary(environment.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
        }
        request.priority = priority
        request.timeout = timeout
        request.attempts = attempts
        request.callbackURL = callback
        request.retention = retention
        if let memory { request.resources = Resources(memory: memory) }
        if !files.isEmpty { request.files = try await JobFiles.send(files, client) }
        return request
    }
}
