import ArgumentParser
import CargoArtifact
import CargoFiles
import CargoSigning
import CargoStore
import SystemPackage

/// Checks an archive: signatures, digests, and every byte around them.
struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check that an archive is signed by whom you trust and that not a byte of it was changed.")

    @Argument(help: "A .cargo file; - reads one from the standard input in one pass.")
    var file: String

    @Option(help: "Default: trust.json in the configuration folder.")
    var trust: String?

    @Flag(help: "Print JSON.")
    var json = false

    private struct Answer: Encodable {
        struct Reason: Encodable {
            var rule: String
            var message: String
        }

        var path: String
        var verified: Bool
        var digest: Digest?
        var name: String?
        var version: String?
        var counter: Int64?
        var expires: String?
        var signers: [Digest]?
        var error: Reason?
    }

    func run() throws {
        do {
            let release = try check()
            if json {
                try Streams.json(
                    Answer(
                        path: file, verified: true, digest: release.root, name: release.claims.name,
                        version: release.claims.version, counter: release.claims.counter,
                        expires: release.claims.expires.map(Timestamp.text), signers: release.signers.map(\.fingerprint)))
            } else {
                Streams.result("\(release.claims.name) \(release.claims.version) \(release.root)")
                Streams.note("signed by \(release.signers.map(\.fingerprint.description).joined(separator: ", "))")
            }
        } catch let refusal as Refusal {
            if json {
                try Streams.json(
                    Answer(path: file, verified: false, error: .init(rule: refusal.rule, message: refusal.message)))
            }
            Streams.note("\(file): \(refusal)")
            throw ExitCode(1)
        }
    }

    private func check() throws -> VerifiedRelease {
        let policy = try ConfigFolder.trust(trust)
        return try ArchiveVerification.verify(try File.openOrStandardInput(FilePath(file)), policy: policy)
    }
}
