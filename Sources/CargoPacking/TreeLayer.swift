internal import CArchive
internal import CargoArtifact
internal import CargoFiles
internal import SystemPackage

/// Writes a source tree as a gzipped tar whose bytes follow from names, contents and exec bits alone.
enum TreeLayer {
    /// Returns the bytes and entries that it will unpack to. `target` is an empty file.
    static func write(_ tree: SourceTree, to target: File) throws -> (bytes: Int64, entries: Int) {
        guard let writer = archive_write_new() else { throw FileFailure("write", target.path.string, .noMemory) }
        defer { archive_write_free(writer) }
        func check(_ result: Int32) throws {
            guard result == ARCHIVE_OK else {
                let detail = archive_error_string(writer).map { String(cString: $0) } ?? "unknown reason"
                throw SourceFailure(target.path.string, "cannot write the files' layer: \(detail)")
            }
        }
        try check(archive_write_set_format_pax_restricted(writer))
        try check(archive_write_add_filter_gzip(writer))
        try check(archive_write_set_options(writer, "gzip:!timestamp,gzip:compression-level=6,hdrcharset=UTF-8"))
        try check(archive_write_set_bytes_in_last_block(writer, 1))
        try check(archive_write_open_fd(writer, target.descriptor.rawValue))
        var bytes: Int64 = 0
        for (path, entry) in tree.entries {
            guard let header = archive_entry_new() else { throw FileFailure("write", target.path.string, .noMemory) }
            defer { archive_entry_free(header) }
            archive_entry_set_pathname_utf8(header, path)
            switch entry {
            case .folder:
                archive_entry_set_filetype(header, 0o040000)
                archive_entry_set_perm(header, 0o755)
                try check(archive_write_header(writer, header))
            case .link(let target):
                archive_entry_set_filetype(header, 0o120000)
                archive_entry_set_perm(header, 0o777)
                archive_entry_set_symlink_utf8(header, target)
                try check(archive_write_header(writer, header))
            case .file(let executable, let size):
                archive_entry_set_filetype(header, 0o100000)
                archive_entry_set_perm(header, executable ? 0o755 : 0o644)
                archive_entry_set_size(header, size)
                try check(archive_write_header(writer, header))
                try copy(path, size: size, from: tree.folder) { piece in
                    let written = archive_write_data(writer, piece.baseAddress, piece.count)
                    try check(written == piece.count ? ARCHIVE_OK : ARCHIVE_FATAL)
                }
                bytes += size
            }
        }
        try check(archive_write_close(writer))
        return (bytes, tree.entries.count)
    }

    private static func copy(
        _ path: String, size: Int64, from folder: Folder, into sink: (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        let file = try folder.open(path)
        guard try file.status().size == size else { throw SourceFailure(path, "changed while it was packed; pack again") }
        try file.read(from: 0, count: size, into: sink)
    }
}
