import CargoArtifact
import CargoFiles
import Glibc
import SystemPackage
import Testing

@testable import CargoStore

/// What strangers put into a files' layer. Each attempt is made through a whole archive; beside each stands what an
/// extractor without care does with the same bytes.
@Suite struct HostileLayerTests {
    /// Everything below a folder but the store, to see that nothing was written outside.
    private static func listing(_ folder: Folder, prefix: String = "") throws -> [String] {
        try folder.entries().flatMap { name -> [String] in
            guard let status = try folder.status(name) else { return [] }
            let line = "\(prefix)\(name) \(status.kind) \(status.size) \(status.permissions) \(status.links)"
            guard status.kind == .folder else { return [line] }
            return [line] + (try listing(try folder.folder(name), prefix: prefix + name + "/"))
        }
    }

    /// What `find` says of everything beside the store.
    private static func find(_ folder: Folder) throws -> [UInt8] {
        let list = folder.path.string + ".found"
        defer { unlink(list) }
        let script = "cd '\(folder.path)' && find . -path ./store -prune -o -printf '%p %y %s %m %n %T@\\n' | sort > '\(list)'"
        guard system(script) == 0 else { throw Errno.ioError }
        return try File.contents(of: FilePath(list), limit: 64 << 20)
    }

    /// Ingests a layer; the rule that refused it, or "accepted". Checks that a refusal leaves nothing behind.
    private func outcome(_ layer: [UInt8], in folder: Folder, cargo: HostileCargo = HostileCargo()) throws -> String {
        let archive = folder.path.appending("hostile.cargo")
        try cargo.write(layer: layer, to: archive)
        let store = try CargoStore(root: folder.path.appending("store"))
        let before = try Self.find(folder)
        defer { #expect((try? Self.find(folder)) == before, "something was written outside of the store") }
        do {
            _ = try store.ingest(archive: archive, policy: .integrityOnly)
            return "accepted"
        } catch let refusal as Refusal {
            #expect(
                try store.trees.entries().isEmpty && store.cargos.entries().isEmpty && store.blobs.temporary.entries().isEmpty)
            for digest in try store.blobs.digests() {
                let file = try store.blobs.open(digest)
                #expect(Digest(of: try file.contents(limit: 1 << 30)) == digest)
            }
            return refusal.rule
        }
    }

    /// A folder with a victim outside the store; the attack must leave it as it was, and the naive extractor must not.
    private func attack(
        _ expected: String, control: Bool = true, _ build: (inout HostileTar, _ outside: String) -> Void
    ) throws {
        try withTemporaryFolder { (folder: Folder) throws in
            try folder.makeFolder("outside")
            let outside = try folder.folder("outside")
            try outside.writeAtomically("victim", Array("precious".utf8))
            var tar = HostileTar()
            build(&tar, outside.path.string)
            let before = try Self.listing(outside)
            #expect(try outcome(try tar.gzipped(in: folder), in: folder) == expected)
            #expect(try Self.listing(outside) == before)
            #expect(try outside.open("victim").contents(limit: 100) == Array("precious".utf8))
            guard control else { return }
            try folder.makeFolder("outside/naive")
            NaiveExtractor.unpack(tar.ended(), into: outside.path.appending("naive"))
            try outside.removeTree("naive")
            let after = try Self.listing(outside)
            let changed = try after != before || outside.open("victim").contents(limit: 100) != Array("precious".utf8)
            #expect(changed, "the naive extractor withstood it, so this attack shows nothing")
        }
    }

    @Test func refusesAPathThatLeadsOut() throws {
        try attack("path-traversal") { tar, _ in tar.add("../escaped", content: [1]) }
        try attack("path-traversal") { tar, _ in
            tar.add("a", type: "5")
            tar.add("a/../../escaped", content: [1])
        }
    }

    @Test func refusesAnAbsolutePath() throws {
        try attack("path-traversal") { tar, outside in tar.add(outside + "/escaped", content: [1]) }
    }

    @Test func refusesASymbolicLinkThatLeadsOutAndAFileThroughIt() throws {
        try attack("link-outside") { tar, outside in
            tar.add("way", type: "2", link: outside)
            tar.add("way/victim", content: [1])
        }
        try attack("link-outside") { tar, _ in
            tar.add("way", type: "2", link: "../../outside")
            tar.add("way/victim", content: [1])
        }
    }

    @Test func writesNothingThroughASymbolicLinkThatStaysInside() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            tar.add("real", type: "5")
            tar.add("way", type: "2", link: "real")
            tar.add("way/file", content: [1])
            let layer = try tar.gzipped(in: folder)
            #expect(try outcome(layer, in: folder) == "through-link")
            #expect(try Peer.unpack(layer, in: folder).tree.status("real/file")?.kind == .regular)
        }
    }

    @Test func refusesAHardLinkToAFileOfTheHost() throws {
        try attack("path-traversal") { tar, outside in
            tar.add("stolen", type: "1", link: outside + "/victim")
            tar.add("stolen", content: [1])
        }
        try attack("path-traversal", control: false) { tar, _ in tar.add("stolen", type: "1", link: "../outside/victim") }
    }

    @Test func refusesAHardLinkThroughASymbolicLink() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            tar.add("file", content: [1])
            tar.add("way", type: "2", link: "file")
            tar.add("stolen", type: "1", link: "way")
            tar.add("stolen", content: [9])
            let layer = try tar.gzipped(in: folder)
            #expect(try outcome(layer, in: folder) == "link-outside")
            // Written to one name, read under another.
            #expect(try Peer.unpack(layer, in: folder).tree.open("file").contents(limit: 10) == [9])
        }
    }

    @Test(arguments: ["3", "4", "6"] as [Character]) func refusesDevicesAndPipes(_ type: Character) throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            tar.add("special", type: type)
            let layer = try tar.gzipped(in: folder)
            #expect(try outcome(layer, in: folder) == "special-file")
            // Devices can be made by root alone.
            if type == "6" || geteuid() == 0 {
                #expect(try Peer.unpack(layer, in: folder).tree.status("special")?.kind == .other)
            }
        }
    }

    @Test func dropsSetIDAndStickyBits() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            tar.add("program", content: [1], mode: 0o7777)
            tar.add("folder", type: "5", mode: 0o7777)
            let layer = try tar.gzipped(in: folder)
            #expect(try outcome(layer, in: folder) == "accepted")
            #expect(try Peer.unpack(layer, in: folder).tree.status("program")?.permissions == 0o7777)
            let trees = try folder.folder("store/trees")
            let tree = try trees.folder(try #require(try trees.entries().first))
            #expect(try tree.status("program")?.permissions == 0o755)
            #expect(try tree.status("folder")?.permissions == 0o755)
        }
    }

    @Test func stopsAGzipBombAtTheDeclaredSize() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            tar.add("bomb", size: 256 << 20)
            let zeros = [UInt8](repeating: 0, count: 1 << 20)
            let temporary = try folder.makeTemporary()
            try temporary.file.write(try HostileTar.gzip(tar.bytes, in: folder))
            let head = try temporary.file.contents(limit: 1 << 20)
            // A second gzip member continues the first: 256 MiB of zeros in 256 KiB.
            let bomb = try head + HostileTar.gzip(zeros, repeated: 64, in: folder)
            #expect(bomb.count < 1 << 20)
            #expect(try outcome(bomb, in: folder) == "unpacked-size")
            // Sixteen times what the layer declares, and only the limit of the shell stops it.
            let peer = try Peer.unpack(bomb, in: folder, largestFile: 16 << 20)
            #expect(try peer.tree.status("bomb")?.size == 16 << 20)
            var honest = HostileCargo()
            honest.annotations = ["dev.longshore.unpacked.bytes": "9000000000000000000", "dev.longshore.unpacked.entries": "1"]
            #expect(try outcome(bomb, in: folder, cargo: honest) == "unpacked-size")
        }
    }

    @Test func refusesAnotherCompressionThanGzip() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            tar.add("file", content: [1])
            let zstd: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x04, 0x00, 0x51, 0x00, 0x00]
            #expect(try outcome(zstd + tar.ended(), in: folder) == "layer-format")
            var bomb = HostileTar()
            bomb.add("bomb", size: 256 << 20)
            let small = ZstandardBomb.bytes(header: bomb.bytes, megabytes: 256)
            #expect(small.count < 16 << 10)
            #expect(try outcome(small, in: folder) == "layer-format")
            #expect(Peer.bytes(of: small, limit: 64 << 20) >= 64 << 20)
            #expect(try outcome(tar.ended(), in: folder) == "layer-format")
            let twice = try HostileTar.gzip(try tar.gzipped(in: folder), in: folder)
            #expect(try outcome(twice, in: folder) == "layer-format")
        }
    }

    @Test func refusesASparseFileOfEightTebibytes() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            let eightTebibytes: [UInt8] = [0x80, 0, 0, 0, 0, 0, 0x08, 0, 0, 0, 0, 0]
            tar.add("sparse", content: [1], rawSize: eightTebibytes)
            #expect(try outcome(try tar.gzipped(in: folder), in: folder) == "unpacked-size")
            var pax = HostileTar()
            pax.pax("GNU.sparse.map", "0,1,8796093022207,1")
            pax.pax("GNU.sparse.size", "8796093022208")
            pax.add("sparse", content: [1, 2])
            let layer = try pax.gzipped(in: folder)
            #expect(try ["sparse", "unpacked-size", "layer-format"].contains(outcome(layer, in: folder)))
            #expect(try Peer.unpack(layer, in: folder).tree.status("sparse")?.size == 8_796_093_022_208)
        }
    }

    @Test func stopsManyEmptyFilesAtTheDeclaredNumber() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            for number in 0..<2000 { tar.add("file\(number)") }
            let layer = try tar.gzipped(in: folder)
            #expect(layer.count < 64 << 10)
            #expect(try outcome(layer, in: folder) == "unpacked-size")
            #expect(try Peer.unpack(layer, in: folder).tree.entries().count == 2000)
            var deep = HostileTar()
            for number in 0..<60 { deep.add("a\(number)/b/c/d/e/f/g") }
            #expect(try outcome(try deep.gzipped(in: folder), in: folder) == "unpacked-size")
        }
    }

    @Test func stopsTenMillionEntriesAtTheBoundOfEveryLayer() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            for _ in 0..<10_000 { tar.add("./", type: "5") }
            let member = try HostileTar.gzip(tar.bytes, in: folder)
            let layer = Array(repeatElement(member, count: 1000).joined())
            var cargo = HostileCargo()
            cargo.annotations = ["dev.longshore.unpacked.bytes": "0", "dev.longshore.unpacked.entries": "10000000"]
            #expect(try outcome(layer, in: folder, cargo: cargo) == "unpacked-size")
            cargo.annotations?["dev.longshore.unpacked.entries"] = "50000"
            #expect(try outcome(layer, in: folder, cargo: cargo) == "unpacked-size")
        }
    }

    @Test func namesThatOnlyLookAlikeAreNeverMerged() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            // One letter in two ways of writing: a person sees one name, a file system has two.
            var tar = HostileTar()
            for (name, content) in [("\u{E9}", 1), ("e\u{301}", 2)] as [(String, UInt8)] { tar.add(name, content: [content]) }
            let layer = try tar.gzipped(in: folder)
            #expect(try outcome(layer, in: folder) == "duplicate-entry")
            #expect(try Peer.unpack(layer, in: folder).tree.entries().count == 2)
            var cases = HostileTar()
            for name in ["Case", "case"] { cases.add(name, content: Array(name.utf8)) }
            #expect(try outcome(try cases.gzipped(in: folder), in: folder) == "accepted")
            let trees = try folder.folder("store/trees")
            let tree = try trees.folder(try #require(try trees.entries().first))
            #expect(try tree.open("case").contents(limit: 10) == Array("case".utf8))
            #expect(try tree.open("Case").contents(limit: 10) == Array("Case".utf8))
        }
    }

    @Test func refusesAnEntryThatIsThereTwice() throws {
        let attempts: [[(String, Character)]] = [
            [("a", "0"), ("a", "0")], [("a", "0"), ("./a", "0")], [("d", "5"), ("d", "5")], [("a", "0"), ("a", "2")],
            [("a", "2"), ("a", "0")],
        ]
        for attempt in attempts {
            try withTemporaryFolder { (folder: Folder) throws in
                var tar = HostileTar()
                for (name, type) in attempt { tar.add(name, type: type, link: type == "2" ? "x" : "") }
                #expect(try outcome(try tar.gzipped(in: folder), in: folder) == "duplicate-entry")
            }
        }
    }

    @Test func theSecondOfTwoEntriesNeverReplacesTheFirst() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            tar.add("main.sh", content: Array("checked".utf8))
            tar.add("main.sh", content: Array("swapped".utf8))
            let layer = try tar.gzipped(in: folder)
            #expect(try outcome(layer, in: folder) == "duplicate-entry")
            #expect(try Peer.unpack(layer, in: folder).tree.open("main.sh").contents(limit: 10) == Array("swapped".utf8))
        }
    }

    @Test func refusesAFileWhereAFolderIs() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            tar.add("a", content: [1])
            tar.add("a/b", content: [1])
            #expect(try outcome(try tar.gzipped(in: folder), in: folder) == "through-link")
        }
    }

    @Test func refusesANameOf64KiBAndAPathTenThousandDeep() throws {
        for name in [
            String(repeating: "n", count: 65536), String(repeating: "d/", count: 10000) + "f", String(repeating: "n", count: 300),
            String(repeating: "d/", count: 1500) + "f",
        ] {
            try withTemporaryFolder { (folder: Folder) throws in
                var tar = HostileTar()
                tar.add("before", content: [1])
                tar.pax("path", name)
                tar.add("short", content: [1])
                let layer = try tar.gzipped(in: folder)
                let rule = try outcome(layer, in: folder)
                #expect(["path-length", "path-traversal"].contains(rule), "\(rule)")
                // It stops half way and leaves what it had, or digs as deep as it is told.
                let (tree, status) = try Peer.unpack(layer, in: folder)
                let isPartial = try status != 0 && tree.status("before") != nil
                let isDeep = try status == 0 && tree.folder(String(repeating: "d/", count: 1400)).entries() == ["d"]
                #expect(isPartial || isDeep)
            }
        }
    }

    @Test func refusesNegativeAndOverflowingSizes() throws {
        let sizes: [[UInt8]] = [
            [UInt8](repeating: 0xFF, count: 12), [0x80] + [UInt8](repeating: 0xFF, count: 11),
            [0xC0] + [UInt8](repeating: 0, count: 11),
            Array("77777777777\0".utf8), Array("xxxxxxxxxxx\0".utf8),
        ]
        for size in sizes {
            try withTemporaryFolder { (folder: Folder) throws in
                var tar = HostileTar()
                tar.add("before", content: [1])
                tar.add("file", content: [1, 2, 3], rawSize: size)
                let layer = try tar.gzipped(in: folder)
                #expect(try ["unpacked-size", "layer-format"].contains(outcome(layer, in: folder)))
                #expect(try Peer.unpack(layer, in: folder).tree.status("before") != nil)
            }
        }
    }

    @Test func refusesControlCharactersAndBrokenTextInNames() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            tar.add("a\u{1b}[2Jb", content: [1])
            let layer = try tar.gzipped(in: folder)
            #expect(try outcome(layer, in: folder) == "path-traversal")
            #expect(try Peer.unpack(layer, in: folder).tree.entries() == ["a\u{1b}[2Jb"])
        }
    }

    @Test func refusesALayerThatEndsTooEarly() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            tar.add("file", content: [UInt8](repeating: 7, count: 5000))
            let whole = try tar.gzipped(in: folder)
            #expect(try outcome(Array(whole.dropLast(20)), in: folder) == "layer-format")
            let cut = try HostileTar.gzip(Array(tar.bytes.prefix(2048)), in: folder)
            #expect(try outcome(cut, in: folder) == "layer-format")
            let left = try #require(try Peer.unpack(cut, in: folder).tree.status("file"))
            #expect(left.size < 5000, "half a file under its whole name")
        }
    }

    @Test func keepsNamesInEveryScript() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            tar.pax("path", "gedächtnis/記憶.txt")
            tar.add("short", content: [1])
            tar.add("ö.txt", content: [2])
            #expect(try outcome(try tar.gzipped(in: folder), in: folder) == "accepted")
            let trees = try folder.folder("store/trees")
            let tree = try trees.folder(try #require(try trees.entries().first))
            #expect(try tree.open("gedächtnis/記憶.txt").contents(limit: 10) == [1])
            #expect(try tree.open("ö.txt").contents(limit: 10) == [2])
        }
    }
}
