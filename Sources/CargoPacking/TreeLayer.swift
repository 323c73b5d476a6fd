internal import CArchive
internal import CargoArchive
internal import CargoFiles
internal import SystemPackage

/// Writes a source tree as a gzipped tar whose bytes follow from names, contents and exec bits alone.
///
/// The tar headers are our own, because libarchive converts names through the process's locale; the gzip is libarchive's.
enum TreeLayer {
    /// Returns the bytes and entries that it will unpack to. `target` is an empty file.
    static func write(_ tree: SourceTree, to target: File) throws -> (bytes: Int64, entries: Int) {
        let stream = try GzipStream(target)
        var bytes: Int64 = 0
        for (path, entry) in tree.entries {
            switch entry {
            case .folder: try stream.write(TarHeader.entry(path: path, kind: .folder, size: 0))
            case .link(let target): try stream.write(TarHeader.entry(path: path, kind: .link(target), size: 0))
            case .file(let executable, let size):
                try stream.write(TarHeader.entry(path: path, kind: .file(executable: executable), size: size))
                let file = try tree.folder.open(path)
                guard try file.status().size == size else { throw SourceFailure(path, "changed while it was packed; pack again") }
                try file.read(from: 0, count: size) { try stream.write($0) }
                try stream.write([UInt8](repeating: 0, count: TarHeader.padding(after: size)))
                bytes += size
            }
        }
        try stream.write([UInt8](repeating: 0, count: TarHeader.trailer))
        try stream.close()
        return (bytes, tree.entries.count)
    }
}

/// Bytes compressed into a file.
final class GzipStream {
    private let writer: OpaquePointer
    private let target: File

    init(_ target: File) throws {
        guard let writer = archive_write_new() else { throw FileFailure("compress", target.path.string, .noMemory) }
        self.writer = writer
        self.target = target
        // "Raw" is no archive format: one entry's data passes through the filter as it is.
        try check(archive_write_set_format_raw(writer))
        try check(archive_write_add_filter_gzip(writer))
        try check(archive_write_set_options(writer, "gzip:!timestamp,gzip:compression-level=6"))
        try check(archive_write_set_bytes_in_last_block(writer, 1))
        try check(archive_write_open_fd(writer, target.descriptor.rawValue))
        let entry = archive_entry_new()
        defer { archive_entry_free(entry) }
        archive_entry_set_filetype(entry, 0o100000)
        try check(archive_write_header(writer, entry))
    }

    deinit { archive_write_free(writer) }

    func write(_ bytes: UnsafeRawBufferPointer) throws {
        guard !bytes.isEmpty else { return }
        try check(archive_write_data(writer, bytes.baseAddress, bytes.count) == bytes.count ? ARCHIVE_OK : ARCHIVE_FATAL)
    }

    func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try write($0) } }

    func close() throws { try check(archive_write_close(writer)) }

    private func check(_ result: Int32) throws {
        guard result == ARCHIVE_OK else {
            let detail = archive_error_string(writer).map { String(cString: $0) } ?? "unknown reason"
            throw SourceFailure(target.path.string, "cannot write the files' layer: \(detail)")
        }
    }
}
