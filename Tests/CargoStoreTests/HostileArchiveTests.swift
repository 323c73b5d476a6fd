import CargoArchive
import CargoArtifact
import CargoFiles
import CargoSigning
import SystemPackage
import Testing

@testable import CargoStore

/// What strangers do to the archive around a cargo, and to its signatures.
@Suite struct HostileArchiveTests {
    let key = SigningKey()
    let other = SigningKey()
    let now: Int64 = 1_900_000_000

    private func layer(_ folder: Folder) throws -> [UInt8] {
        var tar = HostileTar()
        tar.add("main.sh", content: Array("echo hello\n".utf8), mode: 0o755)
        return try tar.gzipped(in: folder)
    }

    private var policy: TrustPolicy { TrustPolicy(rules: [.init(names: ["acme/*"], keys: [key.publicKey])]) }

    private func ingest(_ path: FilePath, in folder: Folder, policy: VerificationPolicy = .integrityOnly) -> String {
        do {
            _ = try CargoStore(root: folder.path.appending("store")).ingest(archive: path, policy: policy)
            return "accepted"
        } catch let refusal as Refusal { return refusal.rule } catch { return "\(error)" }
    }

    /// Every file below a folder's store that is no complete blob.
    private func leftovers(_ folder: Folder) throws -> [String] {
        let store = try CargoStore(root: folder.path.appending("store"))
        let partial = try store.blobs.digests().filter { digest in
            Digest(of: try store.blobs.open(digest).contents(limit: 1 << 30)) != digest
        }
        return try partial.map(\.description) + store.trees.entries() + store.cargos.entries() + store.blobs.temporary.entries()
    }

    /// The entries of an archive, to be written again with changes.
    private func entries(_ path: FilePath) throws -> [(name: String, content: [UInt8])] {
        let file = try File.open(path)
        return try TarEntries.read(try file.contents(limit: 1 << 24))
    }

    private func rewrite(_ entries: [(name: String, content: [UInt8])], to path: FilePath) throws {
        var tar = HostileTar()
        for entry in entries { tar.add(entry.name, content: entry.content) }
        try File.open(path, .writeOnly, options: [.create, .truncate]).write(tar.ended())
    }

    @Test func refusesABlobThatIsShorterLongerOrOtherThanItsDescriptor() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let path = folder.path.appending("a.cargo")
            try HostileCargo().write(layer: try layer(folder), to: path)
            let good = try entries(path)
            let changes: [([UInt8]) -> [UInt8]] = [
                { Array($0.dropLast()) }, { $0 + [0] }, { Array($0.dropLast()) + [$0[$0.count - 1] ^ 1] }, { _ in [] },
            ]
            for position in good.indices.dropFirst(2) {
                for (number, change) in changes.enumerated() {
                    var bad = good
                    bad[position].content = change(bad[position].content)
                    try rewrite(bad, to: path)
                    let rule = ingest(path, in: folder)
                    #expect(["size-mismatch", "digest-mismatch"].contains(rule), "\(position) \(number): \(rule)")
                    #expect(try Peer.believe(path, in: folder)?.wrong == 1)
                    #expect(try leftovers(folder).isEmpty)
                }
            }
            try rewrite(good, to: path)
            #expect(ingest(path, in: folder) == "accepted")
        }
    }

    @Test func refusesAChangedIndexAndASecondManifest() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let path = folder.path.appending("a.cargo")
            try HostileCargo().write(layer: try layer(folder), to: path, keys: [key])
            let good = try entries(path)
            let index = String(decoding: good[1].content, as: UTF8.self)
            let root = try CargoArchive(path: path).root.digest.description
            func tried(_ text: String) throws -> String {
                var bad = good
                bad[1].content = Array(text.utf8)
                try rewrite(bad, to: path)
                // Whoever believes the index starts this cargo.
                #expect(try Peer.believe(path, in: folder)?.root == root)
                return ingest(path, in: folder, policy: .trusted(policy))
            }
            #expect(try tried(index) == "accepted")
            #expect(try tried(index + " ") == "index")
            #expect(try tried(index.replacing("1.0.0", with: "1.0.1")) == "index")
            #expect(try tried(index.replacing("cosignproject", with: "Cosignproject")) == "index")
            #expect(try tried(index.replacing(#""schemaVersion":2"#, with: #""schemaVersion":2,"x":1"#)) == "index")
            #expect(try tried(index.replacing(#""schemaVersion":2"#, with: #""schemaVersion":2,"schemaVersion":2"#)) == "format")
            // The cargo's own manifest named a second time, where a signature must stand.
            let value = try StrictJSON.parse(good[1].content, limit: 1 << 20)
            guard case .object(var members) = value, case .array(let manifests) = members["manifests"] else { return }
            members["manifests"] = .array(manifests + [manifests[0]])
            #expect(try tried(String(decoding: CanonicalJSON.encode(.object(members)), as: UTF8.self)) == "index")
            // The signature left out of the index, its blobs still there.
            members["manifests"] = .array([manifests[0]])
            #expect(try tried(String(decoding: CanonicalJSON.encode(.object(members)), as: UTF8.self)) == "extra-blob")
        }
    }

    @Test func refusesAnExtraFileAMissingOneAndOneThatIsThereTwice() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let path = folder.path.appending("a.cargo")
            try HostileCargo().write(layer: try layer(folder), to: path)
            let good = try entries(path)
            func tried(_ entries: [(name: String, content: [UInt8])]) throws -> String {
                try rewrite(entries, to: path)
                return ingest(path, in: folder)
            }
            #expect(try tried(good + [("blobs/sha256/" + Digest(of: [1]).hex, [1])]) == "extra-blob")
            #expect(try tried(good + [good[3]]) == "archive")
            #expect(try tried(good + [good[1]]) == "archive")
            #expect(try tried(good + [("../escaped", [1])]) == "archive")
            #expect(try tried(good + [("/etc/passwd", [1])]) == "archive")
            #expect(try tried(Array(good.dropLast())) == "missing-blob")
            #expect(try tried(Array(good.dropFirst())) == "archive")
            #expect(try tried([good[1], good[0]] + good[2...].reversed()) == "accepted")
            #expect(try leftovers(folder).count == 2)
        }
    }

    @Test func refusesBrokenTarHeaders() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let path = folder.path.appending("a.cargo")
            let attempts: [(inout HostileTar) -> Void] = [
                { $0.add("index.json", type: "2", link: "/etc/passwd") }, { $0.add("index.json", type: "1", link: "oci-layout") },
                { $0.add("index.json", type: "3") }, { $0.add("index.json", size: 1 << 32) },
                { $0.add("index.json", rawSize: [UInt8](repeating: 0xFF, count: 12)) }, { $0.pax("size", "-5") },
                { $0.pax("size", "99999999999999999999") }, { $0.add("x", type: "x", content: Array("999 path=a\n".utf8)) },
                { $0.add("x", type: "x", content: [], size: 1 << 30) }, { $0.add("x", type: "L", content: [65]) }, { _ in },
            ]
            for (number, attempt) in attempts.enumerated() {
                var tar = HostileTar()
                attempt(&tar)
                tar.add("oci-layout", content: CargoLayout.ociLayout)
                try File.open(path, .writeOnly, options: [.create, .truncate]).write(tar.ended())
                #expect(ingest(path, in: folder) == "archive", "attempt \(number)")
            }
            try File.open(path, .writeOnly, options: [.create, .truncate]).write([1, 2, 3])
            #expect(ingest(path, in: folder) == "archive")
        }
    }

    @Test func refusesWhatNoTrustedKeySignedForThisContentAndName() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let path = folder.path.appending("a.cargo")
            func tried(
                _ keys: [SigningKey], _ policy: TrustPolicy, name: String = "acme/hostile", claims: ReleaseClaims? = nil
            ) throws -> String {
                var cargo = HostileCargo()
                cargo.name = name
                try cargo.write(layer: try layer(folder), to: path, keys: keys, claims: claims)
                // Without the question who signed it, it runs.
                try folder.makeFolder("careless")
                defer { try? folder.removeTree("careless") }
                #expect(ingest(path, in: try folder.folder("careless")) == "accepted")
                return ingest(path, in: folder, policy: .trusted(policy))
            }
            #expect(try tried([], policy) == "unsigned")
            #expect(try tried([other], policy) == "unknown-key")
            #expect(try tried([key], policy, name: "evil/hostile") == "no-rule")
            let borrowed = ReleaseClaims(name: "acme/good", version: "1.0.0", counter: 1)
            #expect(try tried([key], policy, claims: borrowed) == "signature-name")
            let elder = ReleaseClaims(name: "acme/hostile", version: "0.9.0", counter: 1)
            #expect(try tried([key], policy, claims: elder) == "signature-name")
            let expired = ReleaseClaims(name: "acme/hostile", version: "1.0.0", counter: 1, expires: 1)
            #expect(try tried([key], policy, claims: expired) == "expired-signature")
            var revoked = policy
            revoked.revokedKeys = [key.publicKey.fingerprint]
            #expect(try tried([key], revoked) == "revoked-key")
            #expect(try leftovers(folder).isEmpty)
            #expect(try tried([key], policy) == "accepted")
            revoked = policy
            revoked.revokedDigests = [try CargoArchive(path: path).root.digest]
            #expect(try tried([key], revoked) == "revoked-digest")
        }
    }

    @Test func refusesASignatureThatWasTakenFromAnotherCargo() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let path = folder.path.appending("a.cargo")
            try HostileCargo().write(layer: try layer(folder), to: path, keys: [key])
            let bundle = try #require(try CargoArchive(path: path).signatures.first).bundle
            var tar = HostileTar()
            tar.add("main.sh", content: Array("echo evil\n".utf8))
            try HostileCargo().write(layer: try tar.gzipped(in: folder), to: path)
            let evil = try CargoArchive(path: path)
            try evil.rewritten(signatures: [try SignatureArtifact(bundle: bundle, root: evil.root)]).write(to: path)
            #expect(ingest(path, in: folder, policy: .trusted(policy)) == "signature-digest")
            #expect(try leftovers(folder).isEmpty)
            #expect(ingest(path, in: folder) == "accepted", "this attack shows nothing")
        }
    }

    @Test func guardsAgainstRollbackWhereItIsAsked() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let store = try CargoStore(root: folder.path.appending("store"))
            let (old, new) = (folder.path.appending("old.cargo"), folder.path.appending("new.cargo"))
            var cargo = HostileCargo()
            try cargo.write(
                layer: try layer(folder), to: old, keys: [key],
                claims: ReleaseClaims(name: cargo.name, version: "1.0.0", counter: 1))
            cargo.version = "2.0.0"
            try cargo.write(
                layer: try layer(folder), to: new, keys: [key],
                claims: ReleaseClaims(name: cargo.name, version: "2.0.0", counter: 2))
            _ = try store.ingest(archive: new, policy: .trusted(policy), guardingRollback: true)
            #expect(store.releaseCounter(of: cargo.name) == 2)
            #expect(throws: Refusal.self) {
                try store.ingest(archive: old, policy: .trusted(policy), guardingRollback: true)
            }
            _ = try store.ingest(archive: old, policy: .trusted(policy))
            #expect(store.releaseCounter(of: cargo.name) == 2)
        }
    }

    @Test func runsTheVerifiedBytesWhenTheArchiveIsSwappedAfterwards() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let path = folder.path.appending("a.cargo")
            try HostileCargo().write(layer: try layer(folder), to: path)
            let store = try CargoStore(root: folder.path.appending("store"))
            let stored = try store.ingest(archive: path, policy: .integrityOnly)
            // Overwritten in place: the same file, other bytes.
            let file = try File.open(path, .readWrite)
            try file.write([UInt8](repeating: 0x41, count: Int(try file.status().size)))
            guard case .tree(let tree) = try #require(stored.parts.first) else { return }
            // Whoever opens the verified path again reads the other bytes.
            #expect(try File.open(path).bytes(at: 0, count: 8) == [UInt8](repeating: 0x41, count: 8))
            #expect(try File.contents(of: tree.appending("main.sh"), limit: 100) == Array("echo hello\n".utf8))
            #expect(ingest(path, in: folder) == "archive")
        }
    }

    @Test func refusesAnArchiveThatWasChangedEvenThoughItsPartsAreStored() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let path = folder.path.appending("a.cargo")
            try HostileCargo().write(layer: try layer(folder), to: path)
            #expect(ingest(path, in: folder) == "accepted")
            let archive = try CargoArchive(path: path)
            let range = try #require(archive.range(of: archive.manifest.layers[0].digest))
            let byte = try archive.file.bytes(at: range.offset + 20, count: 1)
            try File.open(path, .readWrite).write([byte[0] ^ 1], at: range.offset + 20)
            #expect(ingest(path, in: folder) == "digest-mismatch")
            try File.open(path, .readWrite).write(byte, at: range.offset + 20)
            #expect(ingest(path, in: folder) == "accepted")
        }
    }

    @Test func noticesABlobThatWasReplacedInTheStore() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let path = folder.path.appending("a.cargo")
            var cargo = HostileCargo()
            cargo.mediaType = MediaType.rawFile
            cargo.annotations = ["org.opencontainers.image.title": "data.bin"]
            let content = [UInt8](repeating: 7, count: 3000)
            try cargo.write(layer: content, to: path)
            let store = try CargoStore(root: folder.path.appending("store"))
            let stored = try store.ingest(archive: path, policy: .integrityOnly)
            guard case .file("data.bin", let blob) = try #require(stored.parts.first) else { return }
            try store.blobs.blobs.writeAtomically(Digest(of: content).hex, [UInt8](repeating: 8, count: 3000))
            _ = try store.ingest(archive: path, policy: .integrityOnly)
            #expect(try File.contents(of: blob, limit: 4000) == content)
        }
    }

    @Test func refusesALayerPathThatLeadsOut() throws {
        for title in ["../x", "/etc/passwd", "a/../../x", ""] {
            try withTemporaryFolder { (folder: Folder) throws in
                let path = folder.path.appending("a.cargo")
                var cargo = HostileCargo()
                cargo.mediaType = MediaType.weight
                cargo.annotations = ["org.cncf.model.filepath": title]
                try cargo.write(layer: [1], to: path)
                #expect(ingest(path, in: folder) == "path-traversal")
                #expect(try leftovers(folder).isEmpty)
            }
        }
    }

    @Test func refusesAChangeOfAnyByteOfAnyFile() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let path = folder.path.appending("a.cargo")
            try HostileCargo().write(layer: try layer(folder), to: path, keys: [key])
            let policy = self.policy
            _ = try ArchiveVerification.verify(try CargoArchive(path: path), policy: policy)
            let bytes = try File.contents(of: path, limit: 1 << 20)
            let root = folder.path
            try inParallel(8, threads: 2) { part in
                let own = root.appending("copy\(part)")
                let file = try File.open(own, .readWrite, options: [.create, .truncate])
                try file.write(bytes)
                // Every byte of headers and contents, and every eleventh of the zeros between them.
                for offset in stride(from: part, to: bytes.count, by: 8) where bytes[offset] != 0 || offset % 11 == 0 {
                    try file.write([bytes[offset] ^ 0x01], at: Int64(offset))
                    #expect(throws: Refusal.self, "byte \(offset)") {
                        _ = try ArchiveVerification.verify(
                            try ArchiveVerification.asRefusals { try CargoArchive(path: own) }, policy: policy, threads: 1)
                    }
                    try file.write([bytes[offset]], at: Int64(offset))
                }
                _ = try ArchiveVerification.verify(try CargoArchive(path: own), policy: policy, threads: 1)
            }
        }
    }
}

/// The plain files of a tar, pax headers read over.
enum TarEntries {
    static func read(_ tar: [UInt8]) throws -> [(name: String, content: [UInt8])] {
        var entries: [(String, [UInt8])] = []
        var offset = 0
        while offset + 512 <= tar.count, tar[offset] != 0 {
            let name = String(decoding: tar[offset..<offset + 100].prefix { $0 != 0 }, as: UTF8.self)
            let size = Int(String(decoding: tar[(offset + 124)..<(offset + 135)], as: UTF8.self), radix: 8) ?? 0
            if tar[offset + 156] == UInt8(ascii: "0") {
                entries.append((name, Array(tar[(offset + 512)..<(offset + 512 + size)])))
            }
            offset += 512 + (size + 511) / 512 * 512
        }
        return entries
    }
}
