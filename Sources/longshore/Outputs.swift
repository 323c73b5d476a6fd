import ArgumentParser
import CargoClient
import CargoWire
import SystemPackage

/// Lists or downloads what a job left in `/job/output`.
struct Outputs: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List a job's output files, or download them.",
        discussion: "Each file is checked against its size and SHA-256; no name leads out of the folder.")

    @Argument(help: "The job's id.")
    var id: String

    @Option(name: .shortAndLong, help: ArgumentHelp("Download them there.", valueName: "dir"))
    var output: String?

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var coordinator: CoordinatorOptions

    func run() async throws {
        let client = try coordinator.client()
        let outputs = try await client.outputs(id)
        if let output { try await OutputFetcher(client: client, job: id).fetch(outputs, to: output) }
        if json {
            try Streams.json(OutputList(outputs: outputs))
        } else if output == nil {
            Streams.result(
                JobText.table(["PATH", "SIZE", "SHA256"], outputs.map { [$0.path, "\($0.size)", $0.sha256] }))
        }
    }
}

/// Brings outputs into a folder.
struct OutputFetcher {
    let client: CoordinatorClient
    let job: String

    func fetch(_ outputs: [OutputFile], to folder: String) async throws {
        let target = try OutputFolder(FilePath(folder))
        for output in outputs {
            try await client.download(output, of: job, into: target)
            Streams.note("\(printable(output.path))  \(output.size) bytes  sha256:\(output.sha256)")
        }
    }
}
