import ArgumentParser
import CargoArchive
import CargoArtifact
import CargoClient
import CargoFiles
import CargoSigning
import FoundationEssentials
import SystemPackage

/// Shows what an archive says about itself.
struct Inspect: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what is in an archive. Nothing that it prints is verified; 'verify' does that.")

    @Argument(help: "A .cargo file.")
    var file: String

    @Flag(help: "Print JSON.")
    var json = false

    private struct Answer: Encodable {
        struct Layer: Encodable {
            var mediaType: String
            var digest: Digest
            var size: Int64
            var path: String?
        }

        struct Signature: Encodable {
            var hint: String?
            var type: String
        }

        var path: String
        var digest: Digest
        var size: Int64
        var config: CargoConfig
        var layers: [Layer]
        var signatures: [Signature]
    }

    func run() throws {
        let archive = try CargoArchive(path: FilePath(file))
        let config = try archive.config()
        let layers = archive.manifest.layers.map {
            Answer.Layer(
                mediaType: $0.mediaType, digest: $0.digest, size: $0.size,
                path: $0.annotations?["org.opencontainers.image.title"])
        }
        let signatures = archive.signatures.map { signature in
            let bundle = try? SigstoreBundle(json: signature.bundle)
            return Answer.Signature(
                hint: bundle?.verificationMaterial.publicKey?.hint, type: bundle?.dsseEnvelope.payloadType ?? "unknown")
        }
        let answer = Answer(
            path: file, digest: archive.root.digest, size: try archive.file.status().size, config: config, layers: layers,
            signatures: signatures)
        if json { return try Streams.json(answer) }
        var text = TerminalText(isTerminal: true)
        for line in lines(answer) { Streams.write(text.shown(Array((line + "\n").utf8)), to: .standardOutput) }
    }

    private func lines(_ answer: Answer) -> [String] {
        let config = answer.config
        var lines = ["name        \(config.name)", "version     \(config.version)", "kind        \(config.kind.rawValue)"]
        if let description = config.description { lines.append("description \(description)") }
        if let licenses = config.licenses { lines.append("licenses    \(licenses.joined(separator: ", "))") }
        if let command = config.command { lines.append("command     \(command.joined(separator: " "))") }
        lines += ["digest      \(answer.digest)", "size        \(answer.size)"]
        if let memory = config.resources.memory { lines.append("memory      \(memory.bytes)") }
        for layer in answer.layers {
            lines.append("layer       \(layer.digest) \(layer.size) \(layer.mediaType)" + (layer.path.map { " " + $0 } ?? ""))
        }
        for signature in answer.signatures { lines.append("signature   key \(signature.hint ?? "unknown")") }
        if answer.signatures.isEmpty { lines.append("signature   none") }
        return lines
    }
}
