import CargoArchive
import CargoArtifact
import CargoFiles
import CargoSigning
import CargoStore
import SystemPackage
import Testing

@testable import CargoPacking

@Suite struct PackingTests {
    private func source(_ folder: Folder, _ name: String, _ files: [(String, String)]) throws -> FilePath {
        try folder.makeFolder(name, permissions: 0o755)
        let source = try folder.folder(name)
        for (path, text) in files {
            let parts = path.split(separator: "/").map(String.init)
            for depth in 1..<parts.count { try source.makeFolder(parts[..<depth].joined(separator: "/"), permissions: 0o755) }
            let permissions: UInt32 = path.hasSuffix(".sh") ? 0o755 : 0o644
            let file = try source.open(path, .writeOnly, options: [.create, .truncate], permissions: permissions)
            try file.write(Array(text.utf8))
        }
        return source.path
    }

    private let yaml = "name: acme/hello\nversion: 1.0.0\nkind: process\ncommand: [/bin/sh, main.sh]\n"

    private func names(_ packed: PackedCargo) throws -> [String] {
        let archive = try CargoArchive(path: packed.path)
        let store = try CargoStore(root: packed.path.removingLastComponent().appending("store"))
        let stored = try store.ingest(archive: packed.path, policy: .integrityOnly)
        #expect(stored.digest == archive.root.digest && stored.digest == packed.digest)
        guard case .tree(let tree) = stored.parts.first else { return [] }
        return try list(try Folder.open(tree), "")
    }

    private func list(_ folder: Folder, _ prefix: String) throws -> [String] {
        try folder.entries().flatMap { name -> [String] in
            let isFolder = try folder.status(name)?.kind == .folder
            return try [prefix + name] + (isFolder ? list(try folder.folder(name), prefix + name + "/") : [])
        }
    }

    @Test func packsTheSameBytesInAnotherFolderAtAnotherTime() throws {
        try withScratch { (folder: Folder) throws in
            let files = [("cargo.yaml", yaml), ("main.sh", "echo hi\n"), ("data/ä.txt", "ä"), ("data/b/c.txt", "c")]
            let one = try source(folder, "one", files)
            let two = try source(folder, "two", files.reversed())
            #expect(
                shell("find \(two) -exec touch -d 2001-02-03 {} + ; chmod 700 \(two)/data; chmod 600 \(two)/data/ä.txt").status
                    == 0)
            let key = SigningKey()
            var (first, second) = (CargoPacker(source: one), CargoPacker(source: two))
            first.keys = [key]
            second.keys = [key]
            let (a, b) = (folder.path.appending("a.cargo"), folder.path.appending("b.cargo"))
            let packed = try first.pack(to: a)
            _ = try second.pack(to: b)
            #expect(try File.contents(of: a, limit: 1 << 20) == File.contents(of: b, limit: 1 << 20))
            #expect(try names(packed) == ["data", "data/b", "data/b/c.txt", "data/ä.txt", "main.sh"])
            #expect(shell("chmod +x \(two)/data/ä.txt").status == 0)
            #expect(try second.pack(to: b).digest != packed.digest)
        }
    }

    @Test func takesWhatFilesAndTheIgnoreFileSay() throws {
        try withScratch { (folder: Folder) throws in
            let files = [
                ("cargo.yaml", yaml), ("main.sh", ""), ("a/x.txt", ""), ("a/y.log", ""), ("b/z.log", ""),
                ("__pycache__/m.pyc", ""),
            ]
            let path = try source(folder, "one", files + [(".cargoignore", "# logs\n**/*.log\n!b/z.log\n")])
            let output = folder.path.appending("a.cargo")
            #expect(try names(try CargoPacker(source: path).pack(to: output)) == ["a", "a/x.txt", "b", "b/z.log", "main.sh"])
            let chosen = try source(
                folder, "two", [("cargo.yaml", yaml + "files: [main.sh, a/, '*.md']\n")] + files.dropFirst() + [("r.md", "")])
            #expect(
                try names(try CargoPacker(source: chosen).pack(to: output)) == ["a", "a/x.txt", "a/y.log", "main.sh", "r.md"])
            let wrong = try source(folder, "three", [("cargo.yaml", yaml + "files: [nothing.txt]\n"), ("main.sh", "")])
            #expect(throws: SourceFailure.self) { try CargoPacker(source: wrong).pack(to: output) }
        }
    }

    @Test(arguments: [
        (".env", "A=1"), (".git/config", ""), ("x/id_ed25519", ""), ("server.key", ""),
        ("cert.txt", "-----BEGIN PRIVATE KEY-----\nMC4=\n"),
        (".aws/credentials", ""), (".env.production", ""),
    ]) func namesAndRefusesSecretsUnlessAsked(_ path: String, _ text: String) throws {
        try withScratch { (folder: Folder) throws in
            let source = try source(folder, "one", [("cargo.yaml", yaml), ("main.sh", ""), (path, text)])
            var packer = CargoPacker(source: source)
            let output = folder.path.appending("a.cargo")
            do {
                _ = try packer.pack(to: output)
                Issue.record("it was packed")
            } catch let failure as SourceFailure {
                #expect(failure.description.contains(String(path.split(separator: "/")[0])))
            }
            #expect(try folder.status("a.cargo") == nil)
            packer.allowed = [path, String(path.split(separator: "/")[0])]
            #expect(try names(try packer.pack(to: output)).contains(path))
        }
    }

    @Test func refusesLinksThatLeadOutAndKeepsOthers() throws {
        try withScratch { (folder: Folder) throws in
            let path = try source(folder, "one", [("cargo.yaml", yaml), ("main.sh", ""), ("d/x", "")])
            let output = folder.path.appending("a.cargo")
            #expect(shell("ln -s ../main.sh \(path)/d/way").status == 0)
            #expect(try names(try CargoPacker(source: path).pack(to: output)) == ["d", "d/way", "d/x", "main.sh"])
            #expect(shell("ln -s ../../outside \(path)/d/out").status == 0)
            #expect(throws: SourceFailure.self) { try CargoPacker(source: path).pack(to: output) }
        }
    }

    @Test func laysLargeLayersAtMultiplesOf4096AndSumsTheirChunks() throws {
        try withScratch { (folder: Folder) throws in
            let path = try source(folder, "one", [("cargo.yaml", "name: a/w\nversion: 1.0.0\nkind: wasm\ncommand: [m.wasm]\n")])
            let size = Int(ChunkTable.chunkSize) + 5
            try Folder.open(path).open("m.wasm", .writeOnly, options: .create, permissions: 0o644)
                .write([UInt8](repeating: 1, count: size))
            let packed = try CargoPacker(source: path).pack(to: folder.path.appending("a.cargo"))
            let archive = try CargoArchive(path: packed.path)
            try archive.checkCanonical()
            let layers = archive.manifest.layers
            #expect(layers.map(\.mediaType) == [MediaType.chunks, MediaType.wasm])
            #expect(try #require(archive.range(of: layers[1].digest)).offset % 4096 == 0)
            let table = try ChunkTable(json: try archive.document(layers[0]))
            let whole = [UInt8](repeating: 1, count: size)
            #expect(table[layers[1].digest] == [Digest(of: whole.dropLast(5)), Digest(of: whole.suffix(5))])
        }
    }

    @Test func travelsThroughSkopeoAndAReaderOfItsOwnWithTheSameDigest() throws {
        try #require(has("skopeo"), "skopeo is missing; scripts/setup installs it")
        let python = shell("test -x .build/venv/bin/python3").status == 0 ? ".build/venv/bin/python3" : "python3"
        try #require(
            shell("\(python) -c 'import cryptography'").status == 0,
            "Python's 'cryptography' is missing; scripts/setup installs it into .build/venv")
        for type in KeyType.allCases {
            try withScratch { (folder: Folder) throws in
                let key = SigningKey(type: type)
                try KeyFile.write(key, name: "k", folder: folder.path)
                let path = try source(folder, "one", [("cargo.yaml", yaml), ("main.sh", "")])
                var packer = CargoPacker(source: path)
                packer.keys = [key, SigningKey()]
                let packed = try packer.pack(to: folder.path.appending("a.cargo"))
                let copied = shell(
                    "skopeo copy -q oci-archive:\(packed.path):1.0.0 dir:\(folder.path)/out && sha256sum < \(folder.path)/out/manifest.json"
                )
                #expect(copied.output.hasPrefix(packed.digest.hex), "\(copied.output)")
                let script = #filePath.replacing("CargoPackingTests/PackingTests.swift", with: "Interop/verify_cargo.py")
                let verified = shell("\(python) \(script) \(packed.path) \(folder.path)/k.pub")
                #expect(verified.status == 0 && verified.output == "\(packed.digest) acme/hello 1.0.0\n", "\(verified.output)")
                let other = shell("\(python) \(script) \(packed.path) /dev/null")
                #expect(other.status != 0)
            }
        }
    }
}
