internal import CArchive
internal import CargoArtifact
internal import CargoFiles
internal import Glibc
internal import SystemPackage

/// One layer on its way into a cargo: it leaves as a gzipped tar, and one that is gzipped already stays as it is.
final class LayerIntake {
    private let target: File
    private var plain = ContentHash()
    private var stream: GzipStream?
    private var offset: Int64 = 0
    private var hasBegun = false

    init(_ target: File) { self.target = target }

    func take(_ bytes: UnsafeRawBufferPointer) throws {
        guard !bytes.isEmpty else { return }
        if !hasBegun {
            hasBegun = true
            guard !bytes.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) else {
                throw ImageArchive.broken("a layer is compressed with zstd; save the image with gzip or plain layers")
            }
            if !bytes.starts(with: [0x1F, 0x8B]) { stream = try GzipStream(target) }
        }
        if let stream {
            plain.update(bytes)
            try stream.write(bytes)
        } else {
            try target.write(bytes, at: offset)
            offset += Int64(bytes.count)
        }
    }

    /// Returns the digest of the uncompressed tar; refuses another than the expected one.
    @discardableResult
    func close(expecting digest: Digest? = nil) throws -> Digest {
        guard hasBegun else { throw ImageArchive.broken("a layer is empty") }
        try stream?.close()
        let own = stream == nil ? try LayerContents.plainDigest(of: target) : plain.digest()
        guard digest == nil || digest == own else {
            throw ImageArchive.broken("a layer is not the one that the image's config names")
        }
        return own
    }
}

/// What is inside a gzipped tar, found by reading it.
enum LayerContents {
    static func plainDigest(of file: File) throws -> Digest {
        var hash = ContentHash()
        try read(file, archive_read_support_format_raw) { reader, _ in
            var block: UnsafeRawPointer?
            var count = 0
            var offset: Int64 = 0
            while true {
                let result = archive_read_data_block(reader, &block, &count, &offset)
                if result == ARCHIVE_EOF { return }
                guard result == ARCHIVE_OK else { throw ImageArchive.broken("a layer's gzip is damaged") }
                hash.update(UnsafeRawBufferPointer(start: block, count: count))
            }
        }
        return hash.digest()
    }

    /// Bytes that it unpacks to, and an upper bound of the files, folders and links.
    static func measure(_ file: File) throws -> (bytes: Int64, entries: Int) {
        var bytes: Int64 = 0
        var entries = 0
        var folders: Set<[UInt8]> = []
        try read(file, archive_read_support_format_tar) { _, entry in
            entries += 1
            if archive_entry_filetype(entry) == mode_t(0o100000), archive_entry_hardlink(entry) == nil {
                bytes += max(0, archive_entry_size(entry))
            }
            // Folders above an entry may have none of their own.
            guard let name = archive_entry_pathname_utf8(entry) ?? archive_entry_pathname(entry) else { return }
            var path = Array(UnsafeBufferPointer(start: name, count: strlen(name)).map { UInt8(bitPattern: $0) })[...]
            while let slash = path.lastIndex(of: UInt8(ascii: "/")) {
                path = path[..<slash]
                guard folders.insert(Array(path)).inserted else { return }
            }
        }
        return (bytes, entries + folders.count)
    }

    private static func read(
        _ file: File, _ format: (OpaquePointer?) -> Int32, _ body: (OpaquePointer, OpaquePointer) throws -> Void
    ) throws {
        guard let reader = archive_read_new() else { throw FileFailure("read", file.path.string, .noMemory) }
        defer { archive_read_free(reader) }
        guard format(reader) == ARCHIVE_OK, archive_read_append_filter(reader, ARCHIVE_FILTER_GZIP) == ARCHIVE_OK,
            lseek(file.descriptor.rawValue, 0, SEEK_SET) == 0,
            archive_read_open_fd(reader, file.descriptor.rawValue, 1 << 20) == ARCHIVE_OK
        else { throw ImageArchive.broken("a layer is no gzipped tar") }
        while true {
            var entry: OpaquePointer?
            let result = archive_read_next_header(reader, &entry)
            if result == ARCHIVE_EOF { return }
            guard result == ARCHIVE_OK || result == ARCHIVE_WARN, let entry else {
                throw ImageArchive.broken("a layer is no gzipped tar, or damaged")
            }
            try body(reader, entry)
        }
    }
}
