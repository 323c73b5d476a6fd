import CargoArtifact
import CargoFiles
import SystemPackage
import Testing

@testable import CargoStore

@Suite struct CacheTests {
    private func archive(_ version: String, _ size: Int, in folder: Folder) throws -> FilePath {
        let path = folder.path.appending(version + ".cargo")
        var cargo = HostileCargo()
        cargo.version = version
        cargo.mediaType = MediaType.rawFile
        cargo.annotations = ["org.opencontainers.image.title": "data.bin"]
        let number = UInt8(version.prefix { $0 != "." }) ?? 0
        try cargo.write(layer: [UInt8](repeating: number, count: size), to: path)
        return path
    }

    @Test func evictsTheLeastRecentlyUsedButNeverPinnedOrUsedOnes() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let store = try CargoStore(root: folder.path.appending("store"))
            let megabyte = 1 << 20
            var held: [StoredCargo] = []
            for number in 1...5 {
                let stored = try store.ingest(
                    archive: try archive("\(number).0.0", megabyte, in: folder), policy: .integrityOnly)
                if number == 1 { held.append(stored) }
                if number == 2 { try store.pin(stored.digest) }
            }
            #expect(try store.entries().count == 5)
            #expect(try store.diskUse().blobs >= 5 << 20)
            let result = try store.collect(budget: Int64(3 * megabyte + megabyte / 2))
            // 1 is in use and 2 is pinned: 3 and 4 went, the newest stayed.
            #expect(result.evicted.count == 2)
            #expect(try store.entries().map(\.version).sorted() == ["1.0.0", "2.0.0", "5.0.0"])
            #expect(result.after < Int64(3 * megabyte + megabyte / 2) && result.after < result.before)
            let first = held[0].digest
            #expect(throws: Refusal.self) { try store.remove(first) }
            held.removeAll()
            try store.remove(first)
            let pinned = try #require(try store.entries().first { $0.pinned }).digest
            #expect(throws: Refusal.self) { try store.remove(pinned) }
            try store.unpin(pinned)
            try store.remove(pinned)
            #expect(try store.entries().map(\.version) == ["5.0.0"])
            #expect(try store.check().isEmpty)
        }
    }

    @Test func removesBlobsThatNoCargoNeeds() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let store = try CargoStore(root: folder.path.appending("store"))
            let orphan = try store.blobs.store([1, 2, 3])
            _ = try store.ingest(archive: try archive("1.0.0", 100, in: folder), policy: .integrityOnly)
            let result = try store.collect(budget: .max)
            #expect(result.removedBlobs == 1 && result.evicted.isEmpty && store.blobs.size(of: orphan) == nil)
            #expect(try store.check().isEmpty)
        }
    }

    @Test func `transfers that broke off count, and go when room is wanted or nobody took them up again`() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let store = try CargoStore(root: folder.path.appending("store"))
            _ = try store.ingest(archive: try archive("1.0.0", 100, in: folder), policy: .integrityOnly)
            let partials = store.blobs.partials
            func leave(_ digest: Digest) throws -> File {
                let file = try partials.open(digest.hex + ".part", .readWrite, options: .create)
                try file.write([UInt8](repeating: 1, count: 1 << 20))
                try partials.writeAtomically(digest.hex + ".journal", [1])
                return file
            }
            let (left, held) = (Digest(of: [1]), Digest(of: [2]))
            _ = try leave(left)
            let transfer = try leave(held)
            #expect(try transfer.tryLock(.exclusive))
            #expect(try store.diskUse().partial >= 2 << 20)
            #expect(try store.check().isEmpty)
            // With room enough a transfer may still be taken up again.
            #expect(try store.collect(budget: .max).removedPartials == 0)
            // Without, it goes before a cargo does; what is under way stays.
            let result = try store.collect(budget: store.diskUse().total - 100_000)
            #expect(result.removedPartials == 1 && result.evicted.isEmpty)
            #expect(try partials.entries().sorted() == [held.hex + ".journal", held.hex + ".part"])
            try transfer.unlock()
            let week = Int64(8 * 24 * 3600) + (try transfer.status().modified / 1_000_000_000)
            #expect(try store.blobs.removePartials(unusedFor: 7 * 24 * 3600, now: week) == 1)
            #expect(try partials.entries() == [] && store.diskUse().partial == 0)
        }
    }

    @Test func findsDamageInBlobsAndTrees() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            let path = folder.path.appending("a.cargo")
            var tar = HostileTar()
            tar.add("main.sh", content: Array("echo hello\n".utf8))
            try HostileCargo().write(layer: try tar.gzipped(in: folder), to: path)
            let store = try CargoStore(root: folder.path.appending("store"))
            let stored = try store.ingest(archive: path, policy: .integrityOnly)
            #expect(try store.check().isEmpty)
            guard case .tree(let tree) = try #require(stored.parts.first) else { return }
            try File.open(tree.appending("main.sh"), .writeOnly, options: .truncate).write(Array("echo evil!\n".utf8))
            #expect(try store.check().map(\.kind) == ["tree"])
            _ = try store.ingest(archive: path, policy: .integrityOnly)
            #expect(try store.check().isEmpty)
            let config = stored.manifest.config.digest
            try store.blobs.blobs.writeAtomically(config.hex, [UInt8](repeating: 0x20, count: Int(stored.manifest.config.size)))
            #expect(try store.check().contains { $0.kind == "blob" && $0.digest == config })
            _ = try store.ingest(archive: path, policy: .integrityOnly)
            #expect(try store.check().isEmpty)
        }
    }

    @Test func storesACargoOnceHoweverManyAskForItAtOnce() throws {
        try withTemporaryFolder { (folder: Folder) throws in
            var tar = HostileTar()
            for number in 0..<50 { tar.add("file\(number)", content: [UInt8](repeating: UInt8(number), count: 1000)) }
            let path = folder.path.appending("a.cargo")
            try HostileCargo().write(layer: try tar.gzipped(in: folder), to: path)
            let root = folder.path.appending("store")
            try inParallel(40, threads: 20) { _ in
                let stored = try CargoStore(root: root).ingest(archive: path, policy: .integrityOnly)
                guard case .tree(let tree) = stored.parts.first else { throw Refusal("test", "no tree") }
                let bytes = try File.contents(of: tree.appending("file49"), limit: 2000)
                guard bytes == [UInt8](repeating: 49, count: 1000) else { throw Refusal("test", "other bytes") }
            }
            let store = try CargoStore(root: root)
            #expect(try store.check().isEmpty)
            #expect(try store.trees.entries().count == 1 && store.blobs.temporary.entries().isEmpty)
        }
    }
}
