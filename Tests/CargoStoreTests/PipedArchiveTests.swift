import CargoArchive
import CargoArtifact
import CargoFiles
import CargoSigning
import SystemPackage
import Testing

@testable import CargoStore

/// Archives that come through a pipe, which nobody can read twice.
@Suite struct PipedArchiveTests {
    let key = SigningKey()

    private var policy: TrustPolicy { TrustPolicy(rules: [.init(names: ["acme/*"], keys: [key.publicKey])]) }

    /// A pipe that holds all of `bytes`, which fit into it; ended unless told otherwise.
    private func withPipe<Value>(_ bytes: [UInt8], isEnded: Bool = true, _ body: (File) throws -> Value) throws -> Value {
        try #require(bytes.count <= 60 << 10)
        let (read, write) = try FileDescriptor.pipe()
        let file = File(descriptor: read, path: "a pipe")
        let isWritten = Result { try write.writeAll(bytes) }
        if isEnded { try write.close() }
        defer { if !isEnded { try? write.close() } }
        _ = try isWritten.get()
        return try body(file)
    }

    private func ingest(_ bytes: [UInt8], isEnded: Bool = true, in folder: Folder, policy: VerificationPolicy) throws -> String {
        try withPipe(bytes, isEnded: isEnded) { file in
            do {
                _ = try CargoStore(root: folder.path.appending("store")).ingest(archive: file, policy: policy)
                return "accepted"
            } catch let refusal as Refusal { return refusal.rule }
        }
    }

    /// Digests of blobs, and everything else that the store holds.
    private func contents(_ folder: Folder) throws -> [String] {
        let store = try CargoStore(root: folder.path.appending("store"))
        return try store.blobs.digests().map(\.description) + store.trees.entries() + store.cargos.entries()
            + store.blobs.temporary.entries()
    }

    /// The bytes of a signed archive with a layer of files, and where its first layer begins.
    private func archive(in folder: Folder) throws -> (bytes: [UInt8], firstLayer: Int) {
        let path = folder.path.appending("a.cargo")
        var tar = HostileTar()
        tar.add("main.sh", content: Array("echo hello\n".utf8), mode: 0o755)
        try HostileCargo().write(layer: try tar.gzipped(in: folder), to: path, keys: [key])
        let archive = try CargoArchive(path: path)
        let layer = try #require(archive.range(of: archive.manifest.layers[0].digest))
        return (try archive.file.contents(limit: 1 << 20), Int(layer.offset))
    }

    @Test func `a pipe gives the same cargo as a file`() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let bytes = try archive(in: folder).bytes
            #expect(try ingest(bytes, in: folder, policy: .trusted(policy)) == "accepted")
            let piped = try contents(folder)
            // The second finds all of it here, and reads it nevertheless.
            #expect(try ingest(bytes, in: folder, policy: .trusted(policy)) == "accepted")
            try folder.removeTree("store")
            _ = try CargoStore(root: folder.path.appending("store")).ingest(
                archive: folder.path.appending("a.cargo"), policy: .trusted(policy))
            #expect(try contents(folder) == piped)
        }
    }

    @Test func `a pipe is refused for its signature before a layer was read`() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let (bytes, firstLayer) = try archive(in: folder)
            let stranger = TrustPolicy(rules: [.init(names: ["acme/*"], keys: [SigningKey().publicKey])])
            // Whoever asked for one byte of the layer would wait here for ever: the pipe holds none and is not ended.
            let documents = Array(bytes[..<firstLayer])
            #expect(try ingest(documents, isEnded: false, in: folder, policy: .trusted(stranger)) == "unknown-key")
            #expect(try contents(folder).isEmpty)
        }
    }

    @Test func `a pipe in another order, cut off or longer is refused and leaves no partial blob`() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let (bytes, firstLayer) = try archive(in: folder)
            func tried(_ bytes: [UInt8]) throws -> String { try ingest(bytes, in: folder, policy: .trusted(policy)) }
            let entries = try TarEntries.read(bytes)
            for (from, to) in [(0, 1), (2, 3), (entries.count - 2, entries.count - 1)] {
                var tar = HostileTar()
                var other = entries
                other.swapAt(from, to)
                for entry in other { tar.add(entry.name, content: entry.content) }
                #expect(try tried(tar.ended()) == "order", "\(from) and \(to)")
                let path = folder.path.appending("other.cargo")
                try File.open(path, .writeOnly, options: [.create, .truncate]).write(tar.ended())
                _ = try CargoStore(root: folder.path.appending("file")).ingest(archive: path, policy: .trusted(policy))
            }
            #expect(try tried(Array(bytes.dropLast())) == "archive")
            #expect(try tried(Array(bytes[..<(firstLayer + 20)])) == "archive")
            #expect(try tried(Array(bytes[..<(firstLayer - 512)])) == "archive")
            #expect(try tried(bytes + [0]) == "layout")
            var changed = bytes
            changed[firstLayer + 20] ^= 1
            #expect(try tried(changed) == "digest-mismatch")
            let store = try CargoStore(root: folder.path.appending("store"))
            for digest in try store.blobs.digests() {
                #expect(Digest(of: try store.blobs.open(digest).contents(limit: 1 << 20)) == digest)
            }
            #expect(try store.trees.entries() + store.cargos.entries() + store.blobs.temporary.entries() == [])
            #expect(try tried(bytes) == "accepted")
        }
    }

    @Test func `a change of any byte in a pipe is refused`() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var bytes = try archive(in: folder).bytes
            func verify() throws { _ = try withPipe(bytes) { try ArchiveVerification.verify($0, policy: policy) } }
            try verify()
            for offset in bytes.indices where bytes[offset] != 0 || offset % 11 == 0 {
                bytes[offset] ^= 1
                #expect(throws: Refusal.self, "byte \(offset)") { try verify() }
                bytes[offset] ^= 1
            }
        }
    }
}
