import CargoArtifact
import CargoFiles
import SystemPackage
import Testing

@testable import CargoStore

@Suite struct BlobStoreTests {
    private func write(_ bytes: [UInt8], to writer: BlobWriter) throws {
        try bytes.withUnsafeBytes { try writer.write($0) }
    }

    @Test func storesContentUnderItsDigestReadOnly() throws {
        try withTemporaryFolder { folder in
            let store = try BlobStore(root: folder.path.appending("s"))
            let writer = try store.writer()
            try write(Array("hello ".utf8), to: writer)
            try write(Array("world".utf8), to: writer)
            let digest = Digest(of: Array("hello world".utf8))
            #expect(store.size(of: digest) == nil)
            let (found, size) = try writer.finish(expecting: digest, size: 11)
            #expect(found == digest && size == 11 && store.size(of: digest) == 11)
            #expect(try store.contents(of: digest, limit: 100) == Array("hello world".utf8))
            #expect(try store.open(digest).status().permissions == 0o444)
            #expect(try folder.status("s")?.permissions == 0o700)
            #expect(try store.temporary.entries().isEmpty)
        }
    }

    @Test func keepsNothingOfOtherContentThanAnnounced() throws {
        try withTemporaryFolder { folder in
            let store = try BlobStore(root: folder.path)
            let digest = Digest(of: Array("right".utf8))
            for (text, size) in [("wrong", Int64(5)), ("right", 6), ("righ", 4)] {
                let writer = try store.writer()
                try write(Array(text.utf8), to: writer)
                #expect(throws: Refusal.self) { try writer.finish(expecting: digest, size: size) }
            }
            let dropped = try store.writer()
            try write([1, 2, 3], to: dropped)
            dropped.discard()
            #expect(throws: (any Error).self) { try write([4], to: dropped) }
            #expect(try store.digests().isEmpty)
            #expect(try store.temporary.entries().isEmpty)
        }
    }

    @Test func removesWhatKilledWritersLeftAndSparesLivingOnes() throws {
        try withTemporaryFolder { folder in
            let store = try BlobStore(root: folder.path)
            let living = try store.writer()
            try write([1], to: living)
            try store.temporary.writeAtomically("blob-dead", [1, 2, 3])
            try store.temporary.makeFolder("tree-dead")
            try store.temporary.folder("tree-dead").writeAtomically("x", [1])
            _ = try BlobStore(root: folder.path)
            #expect(try store.temporary.entries().count == 1)
            #expect(try living.finish(expecting: nil, size: 1).0 == Digest(of: [1]))
        }
    }

    @Test func noticesContentThatWasChangedOnDisk() throws {
        try withTemporaryFolder { folder in
            let store = try BlobStore(root: folder.path)
            let digest = try store.store(Array("content".utf8))
            try store.blobs.writeAtomically(digest.hex, Array("Content".utf8))
            #expect(throws: Refusal.self) { try store.contents(of: digest, limit: 100) }
        }
    }
}
