import CargoArchive
import CargoArtifact
import CargoFiles
import CargoSigning
import SystemPackage
import Testing

@testable import CargoStore

/// What a registry may answer, and what is made of it.
@Suite struct OriginTests {
    let key = SigningKey()

    private var policy: VerificationPolicy {
        .trusted(TrustPolicy(rules: [.init(names: ["acme/*"], keys: [key.publicKey])]))
    }

    private func archive(_ name: String, _ version: String, counter: Int64, in folder: Folder) throws -> CargoArchive {
        let path = folder.path.appending("\(counter).cargo")
        var tar = HostileTar()
        tar.add("main.sh", content: Array("echo \(version)\n".utf8))
        var cargo = HostileCargo()
        (cargo.name, cargo.version) = (name, version)
        try cargo.write(
            layer: try tar.gzipped(in: folder), to: path, keys: [key],
            claims: ReleaseClaims(name: name, version: version, counter: counter))
        return try CargoArchive(path: path)
    }

    /// The rule that refuses what a registry answers to `asked`, or "accepted".
    private func rule(
        _ archive: CargoArchive, asked: String, in folder: Folder, guardingRollback: Bool = false
    ) async throws -> String {
        let reference = try #require(CargoReference(asked))
        do {
            _ = try await CargoStore(root: folder.path.appending("store")).ingest(
                from: ArchivedOrigin(archive: archive), digest: archive.root.digest, as: reference, policy: policy,
                guardingRollback: guardingRollback)
            return "accepted"
        } catch let refusal as Refusal { return refusal.rule }
    }

    @Test func `a trusted publisher's other cargo is refused under this one's name, and another version under this tag`()
        async throws
    {
        let folder = try scratch()
        defer { remove(folder) }
        let other = try archive("acme/other", "1.0.0", counter: 1, in: folder)
        let old = try archive("acme/tool", "1.0.0", counter: 2, in: folder)
        #expect(try await rule(other, asked: "acme/tool:1.0.0", in: folder) == "other-name")
        #expect(try await rule(other, asked: "acme/tool@\(other.root.digest)", in: folder) == "other-name")
        #expect(try await rule(old, asked: "acme/tool:1.1.0", in: folder) == "other-version")
        let store = try CargoStore(root: folder.path.appending("store"))
        #expect(try store.blobs.digests().isEmpty && store.cargos.entries().isEmpty)
        #expect(try await rule(old, asked: "acme/tool:1.0.0", in: folder) == "accepted")
        #expect(try await rule(old, asked: "acme/tool@\(old.root.digest)", in: folder) == "accepted")
    }

    @Test func `a tag does not lead back behind a release that was seen, a digest does`() async throws {
        let folder = try scratch()
        defer { remove(folder) }
        let old = try archive("acme/tool", "1.0.0", counter: 1, in: folder)
        let new = try archive("acme/tool", "1.1.0", counter: 2, in: folder)
        #expect(try await rule(new, asked: "acme/tool:1.1.0", in: folder, guardingRollback: true) == "accepted")
        #expect(try await rule(old, asked: "acme/tool:1.0.0", in: folder, guardingRollback: true) == "rollback")
        #expect(try await rule(old, asked: "acme/tool@\(old.root.digest)", in: folder) == "accepted")
    }

    private func scratch() throws -> Folder {
        var generator = SystemRandomNumberGenerator()
        let parent = try Folder.open("/tmp")
        let name = "longshore-test-" + String(generator.next(), radix: 36)
        try parent.makeFolder(name)
        return try parent.folder(name)
    }

    private func remove(_ folder: Folder) {
        guard let name = folder.path.lastComponent?.string else { return }
        try? Folder.open("/tmp").removeTree(name)
    }
}

/// An archive as a registry hands it out.
private struct ArchivedOrigin: CargoOrigin {
    let archive: CargoArchive

    func manifest() async throws -> [UInt8] { archive.documents.rootBytes }

    func signatureManifests(of root: Digest) async throws -> [[UInt8]] { archive.signatures.map(\.manifest) }

    func blob(_ descriptor: Descriptor, into sink: (UnsafeRawBufferPointer) throws -> Void) async throws {
        try archive.read(descriptor.digest, into: sink)
    }
}
