import ArgumentParser
import CargoArtifact
import CargoFiles
import CargoSigning
import SystemPackage

/// Lists the keys of this machine.
struct KeyList: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List the keys in the configuration folder.")

    @Flag(help: "Print one JSON object a line.")
    var json = false

    private struct Answer: Encodable {
        var name: String
        var type: String
        var fingerprint: Digest
    }

    func run() throws {
        let folder: Folder
        do { folder = try Folder.open(ConfigFolder.keys) } catch let failure as FileFailure
            where failure.errno == .noSuchFileOrDirectory
        { return }
        for file in try folder.entries(limit: 100_000) where file.hasSuffix(".pub") {
            let key = try KeyFile.readPublic(folder.path.appending(file))
            let name = String(file.dropLast(4))
            if json {
                try Streams.json(Answer(name: name, type: key.type.rawValue, fingerprint: key.fingerprint))
            } else {
                Streams.result("\(name)  \(key.type.rawValue)  \(key.fingerprint)")
            }
        }
    }
}

/// Prints a public key, for handing it on.
struct KeyShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Print a public key as PEM, for whoever is to trust it.", aliases: ["export"])

    @Argument(help: "A name in keys/, or the path of a .pub file.")
    var name: String

    @Flag(help: "Print JSON.")
    var json = false

    private struct Answer: Encodable {
        var type: String
        var fingerprint: Digest
        var hint: String
        var pem: String
    }

    func run() throws {
        let path = name.contains("/") || name.hasSuffix(".pub") ? FilePath(name) : ConfigFolder.keys.appending(name + ".pub")
        let key = try KeyFile.readPublic(path)
        if json {
            try Streams.json(Answer(type: key.type.rawValue, fingerprint: key.fingerprint, hint: key.hint, pem: key.pem))
        } else {
            Streams.write(Array(key.pem.utf8), to: .standardOutput)
            Streams.note("\(key.type.rawValue) \(key.fingerprint)")
        }
    }
}

/// Takes trust away from keys and cargos.
struct KeyRevoke: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "Trust a key, or one cargo, no more: adds to the trust file's revoked list.")

    @Argument(help: "Public key files, or with --digest root digests of cargos. A key's fingerprint works too.")
    var targets: [String]

    @Flag(help: "The arguments are digests of cargos, not keys.")
    var digest = false

    @Option(help: "Default: trust.json in the configuration folder.")
    var trust: String?

    func validate() throws {
        guard !targets.isEmpty else { throw ValidationError("name at least one key or digest.") }
        if digest, let wrong = targets.first(where: { Digest($0) == nil }) {
            throw ValidationError("'\(wrong)' is not sha256: and 64 hexadecimal digits.")
        }
    }

    func run() throws {
        let digests = try targets.map { target in
            if let digest = Digest(target) { return digest }
            return try KeyFile.readPublic(FilePath(target)).fingerprint
        }
        let path = trust.map { FilePath($0) } ?? ConfigFolder.trustFile
        try TrustPolicy.change(path) { policy in
            if digest { policy.revokedDigests.formUnion(digests) } else { policy.revokedKeys.formUnion(digests) }
        }
        Streams.result(path.string)
    }
}
