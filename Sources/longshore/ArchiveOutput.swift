import ArgumentParser
import CargoArtifact
import SystemPackage

/// Where `pack` and `pull` leave their archive, and how they say so.
struct ArchiveOutput: ParsableArguments {
    @Option(name: .shortAndLong, help: ArgumentHelp("Default: NAME-VERSION.cargo in this folder.", valueName: "file"))
    var output: String?

    @Flag(help: "Print JSON.")
    var json = false

    private struct Answer: Encodable {
        var path: String
        var digest: Digest
        var size: Int64
    }

    /// The path on standard output and `note` on standard error, or everything as JSON.
    func tell(_ path: FilePath, digest: Digest, size: Int64, note: String) throws {
        if json { return try Streams.json(Answer(path: path.string, digest: digest, size: size)) }
        Streams.result(path.string)
        Streams.note(note)
    }
}
