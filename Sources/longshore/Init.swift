public import ArgumentParser
public import CargoArtifact
import CargoPacking
import SystemPackage

/// Writes a working example of a cargo into a folder.
struct Init: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Start a cargo: write a working example into a folder.")

    @Argument(help: "The folder; made if missing, and never overwritten in.")
    var folder: String

    @Option(help: "process, container, gguf, onnx, wasm or engine.")
    var kind: CargoKind

    @Flag(help: "Print JSON.")
    var json = false

    private struct Answer: Encodable {
        var path: String
        var files: [String]
    }

    func run() throws {
        let files = try CargoTemplate(kind: kind).write(to: FilePath(folder))
        if json {
            try Streams.json(Answer(path: folder, files: files))
        } else {
            for file in files { Streams.result("\(folder)/\(file)") }
            Streams.note("next: longshore pack \(folder)")
        }
    }
}

extension CargoKind: ExpressibleByArgument {}
