import CargoArchive
import CargoArtifact
import CargoFiles
import SystemPackage
import Testing

@testable import CargoStore

/// Layers of an image as folders that overlayfs lays over each other.
@Suite struct ImageLayerTests {
    private static let limits = UnpackLimits(bytes: 1 << 20, entries: 100)

    /// Unpacks a layer; the folder, or the rule that refused it.
    private func unpack(_ tar: HostileTar, in folder: Folder, as role: TreeRole = .root) throws -> (tree: Folder, rule: String) {
        try? folder.removeTree("tree")
        try folder.makeFolder("tree", permissions: 0o755)
        let tree = try folder.folder("tree")
        let layer = try folder.makeTemporary()
        try folder.remove(layer.name)
        try layer.file.write(try tar.gzipped(in: folder))
        do {
            try TreeUnpacker.unpack(layer.file, into: tree, as: role, limits: Self.limits)
            return (tree, "accepted")
        } catch let refusal as Refusal { return (tree, refusal.rule) }
    }

    @Test func whiteoutsBecomeWhatOverlayfsReads() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            tar.add("etc/", type: "5")
            tar.add("etc/.wh.removed")
            tar.add("opt/", type: "5")
            tar.add("opt/.wh..wh..opq")
            tar.add("opt/kept", content: [1])
            tar.add("srv/.wh.again")
            tar.add("srv/again/new", content: [1])
            tar.add(".wh.file")
            tar.add("file", content: [2])
            tar.add(".wh..wh.plnk/1.2", content: [1])
            tar.add("usr/.wh..wh.aufs")
            let (tree, rule) = try unpack(tar, in: folder)
            #expect(rule == "accepted")
            #expect(try tree.status("etc/removed")?.kind == .other)
            #expect(try tree.folder("etc").isOpaque == false)
            #expect(try tree.folder("opt").isOpaque && tree.folder("opt").entries() == ["kept"])
            // The layer's own folder of a removed name hides the one below it and is not merged with it.
            #expect(try tree.folder("srv/again").isOpaque && tree.folder("srv/again").entries() == ["new"])
            #expect(try tree.open("file").contents(limit: 10) == [2])
            #expect(try tree.entries() == ["etc", "file", "opt", "srv"])
            try folder.removeTree("tree")
        }
    }

    @Test(arguments: [".wh.", ".wh..", ".wh...", "a/.wh...", ".wh.x/y", "a/.wh.b/.wh.c", ".wh.a/.wh..wh..opq"])
    func refusesAWhiteoutOfWhatIsNoName(_ name: String) throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            tar.add(name)
            #expect(try unpack(tar, in: folder).rule == "whiteout")
            #expect(try folder.folder("tree").entries().isEmpty)
        }
    }

    @Test func aWhiteoutNeverReachesThroughALink() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            try folder.makeFolder("outside")
            let outside = try folder.folder("outside")
            try outside.writeAtomically("victim", [1])
            var tar = HostileTar()
            tar.add("way", type: "2", link: outside.path.string)
            tar.add("way/.wh.victim")
            #expect(try unpack(tar, in: folder).rule == "through-link")
            #expect(try outside.entries() == ["victim"])
            try folder.makeFolder("naive")
            NaiveExtractor.unpack(tar.ended(), into: folder.path.appending("naive"))
            #expect(try outside.entries().isEmpty, "the naive extractor withstood it, so this attack shows nothing")
        }
    }

    @Test func linksLeadWhereTheySayButNothingIsWrittenThroughThem() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            try folder.makeFolder("outside")
            let outside = try folder.folder("outside")
            try outside.writeAtomically("victim", Array("precious".utf8))
            var links = HostileTar()
            links.add("etc/", type: "5")
            links.add("etc/shadow", type: "2", link: "/etc/shadow")
            links.add("bin", type: "2", link: "../../../../usr/bin")
            let (tree, rule) = try unpack(links, in: folder)
            #expect(rule == "accepted")
            #expect(try tree.symbolicLinkTarget("bin") == "../../../../usr/bin")
            #expect(try tree.folder("etc").symbolicLinkTarget("shadow") == "/etc/shadow")
            // The same links in a cargo's own files are refused.
            #expect(try unpack(links, in: folder, as: .files).rule == "link-outside")

            for (type, name) in [("0", "way/victim"), ("1", "way/again"), ("5", "way/folder"), ("2", "way/link")]
                as [(Character, String)]
            {
                var tar = HostileTar()
                tar.add("own", content: [1])
                tar.add("way", type: "2", link: outside.path.string)
                tar.add(name, type: type, content: type == "0" ? [2] : [], link: type == "1" ? "own" : "x")
                #expect(try unpack(tar, in: folder).rule == "through-link")
                #expect(try outside.entries() == ["victim"])
                #expect(try outside.open("victim").contents(limit: 100) == Array("precious".utf8))
            }
            var hard = HostileTar()
            hard.add("way", type: "2", link: outside.path.string)
            hard.add("stolen", type: "1", link: "way/victim")
            hard.add("stolen", content: [3])
            #expect(try unpack(hard, in: folder).rule == "link-outside")
            try folder.makeFolder("naive")
            NaiveExtractor.unpack(hard.ended(), into: folder.path.appending("naive"))
            #expect(try outside.open("victim").contents(limit: 100) == [3], "this attack shows nothing")
        }
    }

    @Test func whatTheSandboxPutsAtTheTopItselfIsLeftOut() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            tar.add("proc", type: "2", link: "/")
            tar.add("dev/", type: "5")
            tar.add("dev/sda", type: "4")
            tar.add("dev/null", content: [1])
            tar.add("job", type: "2", link: "/etc")
            tar.add("cargo/evil", content: [1])
            tar.add(".wh.dev", content: [])
            tar.add("usr/", type: "5")
            let (tree, rule) = try unpack(tar, in: folder)
            #expect(rule == "accepted")
            #expect(try tree.entries() == ["dev", "usr"])
            // Only a whiteout of the name itself is there, over which the sandbox lays its own folder.
            #expect(try tree.status("dev")?.kind == .other)
        }
    }

    @Test(arguments: ["3", "4", "6"] as [Character]) func refusesDevicesAndPipesElsewhere(_ type: Character) throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            tar.add("srv/special", type: type)
            #expect(try unpack(tar, in: folder).rule == "special-file")
        }
    }

    @Test func countsWhiteoutsAndEntriesThatSayNothing() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var whiteouts = HostileTar()
            for number in 0..<101 { whiteouts.add(".wh.\(number)") }
            #expect(try unpack(whiteouts, in: folder).rule == "unpacked-size")
            var skipped = HostileTar()
            for number in 0..<101 { skipped.add("dev/\(number)") }
            #expect(try unpack(skipped, in: folder).rule == "unpacked-size")
        }
    }

    private func image(_ tars: [HostileTar], in folder: Folder) throws -> FilePath {
        let path = folder.path.appending("image.cargo")
        try HostileCargo().write(image: try tars.map { try $0.gzipped(in: folder) }, to: path)
        return path
    }

    @Test func layersAreUnpackedOnceAndKeptAsLongAsTheirCargo() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var (low, high) = (HostileTar(), HostileTar())
            low.add("a", content: [1])
            high.add(".wh.a")
            let store = try CargoStore(root: folder.path.appending("store"))
            let path = try image([low, high, low], in: folder)
            var cargo: StoredCargo? = try store.ingest(archive: path, policy: .integrityOnly)
            #expect(try store.trees.entries().isEmpty)
            let layers = try store.unpackImage(of: try #require(cargo))
            // The lowest is covered whole by its own copy at the top, and overlayfs takes no folder twice.
            #expect(layers.count == 2 && layers.allSatisfy { $0.lastComponent?.string.hasSuffix(".root") ?? false })
            #expect(try Folder.open(layers[0]).status("a")?.kind == .other)
            #expect(try Folder.open(layers[1]).status("a")?.kind == .regular)
            #expect(try store.unpackImage(of: try #require(cargo)) == layers)
            #expect(try store.check().isEmpty)
            _ = try store.ingest(archive: path, policy: .integrityOnly)
            _ = try store.collect(budget: .max)
            #expect(try store.trees.entries().count == 2)
            let digest = try #require(cargo).digest
            cargo = nil
            try store.remove(digest)
            #expect(try store.trees.entries().isEmpty)
        }
    }

    @Test func verificationNoticesALayerThatWasChangedOnDisk() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var low = HostileTar()
            low.add("d/", type: "5")
            low.add("d/a", content: [1])
            let store = try CargoStore(root: folder.path.appending("store"))
            let cargo = try store.ingest(archive: try image([low], in: folder), policy: .integrityOnly)
            let tree = try #require(try store.unpackImage(of: cargo).first)
            try Folder.open(tree).folder("d").makeOpaque()
            #expect(try store.check().map(\.kind) == ["tree"])
            #expect(try store.trees.entries().isEmpty)
            #expect(try store.unpackImage(of: cargo) == [tree])
            #expect(try store.check().isEmpty)
        }
    }

    @Test func aRefusedLayerLeavesNothingBehind() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var (low, high) = (HostileTar(), HostileTar())
            low.add("a", content: [1])
            high.add("ok", content: [1])
            high.add(".wh...")
            let store = try CargoStore(root: folder.path.appending("store"))
            let cargo = try store.ingest(archive: try image([low, high], in: folder), policy: .integrityOnly)
            let refusal = #expect(throws: Refusal.self) { try store.unpackImage(of: cargo) }
            #expect(refusal?.rule == "whiteout")
            #expect(try store.blobs.temporary.entries().isEmpty)
            #expect(try store.trees.entries().count == 1)
            _ = try store.collect(budget: .max)
            #expect(try store.trees.entries().isEmpty)
        }
    }
}
