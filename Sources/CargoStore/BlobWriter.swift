public import CargoArtifact
internal import CargoFiles
internal import Synchronization

/// One blob on its way into a `BlobStore`. Dropping it unfinished leaves nothing behind.
public final class BlobWriter: Sendable {
    private struct State: Sendable {
        var hash = ContentHash()
        var size: Int64 = 0
        var open = true
    }

    private let store: BlobStore
    private let name: String
    let file: File
    private let state = Mutex(State())

    /// The same file for aligned pieces that go past the page cache; nil where the file system has no such way.
    var direct: File? { store.temporary.openDirect(name) }

    init(store: BlobStore) throws {
        self.store = store
        // A sweeper may remove the file between its making and its locking: then its link count is 0.
        while true {
            let made = try store.temporary.makeTemporary(prefix: "blob-")
            guard try made.file.tryLock(.exclusive), try made.file.status().links > 0 else { continue }
            (name, file) = made
            return
        }
    }

    deinit { discard() }

    /// Appends bytes; each byte is hashed once, as it is written.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        // The pointer is read inside this call alone, and the lock admits one such call at a time.
        nonisolated(unsafe) let bytes = bytes
        try state.withLock { state in
            guard state.open else { throw WriterClosed() }
            try file.write(bytes, at: state.size)
            state.hash.update(bytes)
            state.size += Int64(bytes.count)
        }
    }

    /// Counts and hashes bytes that the caller has put at the end of the file itself.
    func append(hashing bytes: UnsafeRawBufferPointer) {
        nonisolated(unsafe) let bytes = bytes
        state.withLock { state in
            state.hash.update(bytes)
            state.size += Int64(bytes.count)
        }
    }

    /// The bytes written so far.
    public var size: Int64 { state.withLock { $0.size } }

    /// Checks digest and size, and puts the blob in its place: fsync, rename, fsync of the folder.
    ///
    /// Throws `Refusal` when the content is other than expected; nothing is stored then.
    @discardableResult
    public func finish(expecting expected: Digest?, size expectedSize: Int64?) throws -> (Digest, Int64) {
        let (digest, size) = try state.withLock { state -> (Digest, Int64) in
            guard state.open else { throw WriterClosed() }
            return (state.hash.digest(), state.size)
        }
        if let expectedSize, expectedSize != size {
            discard()
            throw Refusal("size-mismatch", "\(size) bytes came where \(expectedSize) were announced; fetch it again")
        }
        if let expected, expected != digest {
            discard()
            throw Refusal("digest-mismatch", "the content is \(digest), not \(expected): it was damaged or changed")
        }
        try file.setPermissions(0o444)
        try file.sync()
        try store.temporary.rename(name, to: digest.hex, in: store.blobs)
        state.withLock { $0.open = false }
        try store.blobs.sync()
        return (digest, size)
    }

    /// Gives up: nothing is kept. Harmless after `finish`.
    public func discard() {
        let wasOpen = state.withLock { state in
            defer { state.open = false }
            return state.open
        }
        if wasOpen { _ = try? store.temporary.remove(name) }
    }

    /// Use after `finish` or `discard`.
    private struct WriterClosed: Error {}
}
