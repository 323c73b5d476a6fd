import ArgumentParser
import CargoArchive
import CargoArtifact
import CargoClient
import CargoFiles
import CargoSigning
import FoundationEssentials
import SystemPackage

/// Shows what a cargo says about itself.
struct Inspect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what is in an archive, or in a cargo at the coordinator's registry.",
        discussion: "Nothing that it prints is verified; 'verify' does that. Of a cargo at a registry no layer is fetched.")

    @Argument(help: "A .cargo file, or publisher/name:version, or publisher/name@sha256:….")
    var cargo: String

    @OptionGroup var coordinator: CoordinatorOptions

    @Flag(help: "Print JSON.")
    var json = false

    func run() async throws {
        let answer = try await answer()
        if json { return try Streams.json(answer) }
        var text = TerminalText(isTerminal: true)
        for line in answer.lines { Streams.write(text.shown(Array((line + "\n").utf8)), to: .standardOutput) }
    }

    private func answer() async throws -> Inspection {
        if !FileManager.default.fileExists(atPath: cargo), let reference = CargoReference(cargo) {
            let registry = RegistryClient(try coordinator.client(), name: reference.name)
            let cargo = try await RemoteCargo(reference, registry)
            let blobs = CargoLayout.order(root: cargo.root, content: cargo.content, signatures: cargo.signatures)
            return Inspection(
                place: reference.description, root: cargo.root, size: blobs.map(\.size).reduce(0, +), config: cargo.config,
                layers: cargo.manifest.layers, signatures: cargo.signatures)
        }
        let archive = try CargoArchive(path: FilePath(cargo))
        return Inspection(
            place: cargo, root: archive.root, size: try archive.file.status().size, config: try archive.config(),
            layers: archive.manifest.layers, signatures: archive.signatures)
    }
}
