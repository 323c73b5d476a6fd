internal import CArchive
internal import CargoArtifact
public import CargoFiles
internal import Glibc
internal import SystemPackage

/// Unpacks a gzipped tar of a stranger into a new folder.
///
/// Every path is resolved by the kernel beneath the folder without following symbolic links, so whatever the
/// archive made before, nothing is written outside. Files, folders, symbolic links and hard links to files of the same
/// archive are made; owners, times and set-id bits are not taken over. What else is taken follows from the tree's role.
public struct TreeUnpacker {
    private let tree: Folder
    private let role: TreeRole
    private let limits: UnpackLimits
    private var bytes: Int64 = 0
    private var entries = 0
    /// Files, folders and links that were made; folders that no entry names count too.
    private var made = 0
    /// Folders that an entry named; a second such entry is a duplicate. Bytes, because text would take two ways of writing
    /// one letter for the same name.
    private var named: Set<[UInt8]> = []
    /// The folder that the last entry lay in, so that a run of siblings costs one lookup.
    private var last: (path: String, folder: Folder)?
    /// What the layer takes away from those below; at most one an entry.
    private var whiteouts: [(folder: [String], mark: Whiteout)] = []

    private init(tree: Folder, role: TreeRole, limits: UnpackLimits) {
        self.tree = tree
        self.role = role
        self.limits = limits
    }

    /// Reads `source`, a gzipped tar, from its start. Throws `Refusal`; what was made by then stays for the caller to remove.
    public static func unpack(_ source: File, into tree: Folder, as role: TreeRole = .files, limits: UnpackLimits) throws {
        // libarchive converts names through the locale, and a program starts in "C", which knows no UTF-8. This thread
        // alone is switched; where the host lacks the locale, names beyond ASCII are refused.
        let utf8 = newlocale(1 << LC_CTYPE, "C.UTF-8", nil)
        let before = utf8.flatMap { uselocale($0) }
        defer {
            if let utf8 {
                uselocale(before)
                freelocale(utf8)
            }
        }
        try unpackInLocale(source, into: tree, as: role, limits: limits)
    }

    private static func unpackInLocale(
        _ source: File, into tree: Folder, as role: TreeRole, limits: UnpackLimits
    ) throws {
        guard let reader = archive_read_new() else { throw FileFailure("unpack", source.path.string, .noMemory) }
        defer { archive_read_free(reader) }
        // Exactly one gzip around exactly one tar: nothing is guessed from content.
        guard archive_read_support_format_tar(reader) == ARCHIVE_OK,
            archive_read_append_filter(reader, ARCHIVE_FILTER_GZIP) == ARCHIVE_OK,
            archive_read_set_options(reader, "hdrcharset=UTF-8") == ARCHIVE_OK,
            lseek(source.descriptor.rawValue, 0, SEEK_SET) == 0,
            archive_read_open_fd(reader, source.descriptor.rawValue, 128 << 10) == ARCHIVE_OK
        else { throw broken(reader) }
        var unpacker = TreeUnpacker(tree: tree, role: role, limits: limits)
        while true {
            var entry: OpaquePointer?
            let result = archive_read_next_header(reader, &entry)
            if result == ARCHIVE_EOF { break }
            guard result == ARCHIVE_OK, let entry else { throw broken(reader) }
            try unpacker.add(entry, from: reader)
        }
        try unpacker.takeAway()
    }

    private static func broken(_ reader: OpaquePointer) -> Refusal {
        let detail = archive_error_string(reader).map { String(cString: $0) } ?? "it is broken"
        return Refusal("layer-format", "a layer is no valid gzipped tar: \(detail.prefix(200))")
    }

    private mutating func add(_ entry: OpaquePointer, from reader: OpaquePointer) throws {
        entries += 1
        guard entries <= limits.entries else { throw tooMany() }
        guard let name = text(archive_entry_pathname_utf8(entry) ?? archive_entry_pathname(entry)) else {
            throw Refusal("path-encoding", "a file name in a layer is not UTF-8")
        }
        if name == "./" || name == "." { return }
        let path = try SafePath(name)
        if role == .root {
            if TreeRole.covered.contains(path.parts[0]) { return }
            if let mark = try Whiteout(path) {
                if mark != .leftover { whiteouts.append((Array(path.parts.dropLast()), mark)) }
                return
            }
        }
        if archive_entry_hardlink(entry) != nil || archive_entry_hardlink_utf8(entry) != nil {
            try link(entry, at: path)
            return
        }
        switch archive_entry_filetype(entry) {
        case mode_t(0o040000):
            guard named.insert(Array(path.text.utf8)).inserted else { throw duplicate(path) }
            _ = try folder(path.parts)
        case mode_t(0o100000): try file(entry, at: path, from: reader)
        case mode_t(0o120000): try symbolicLink(entry, at: path)
        default:
            throw Refusal(
                "special-file", "'\(path)' in a layer is a device, pipe or socket; only files, folders and links are taken")
        }
    }

    private mutating func file(_ entry: OpaquePointer, at path: SafePath, from reader: OpaquePointer) throws {
        let size = archive_entry_size(entry)
        guard archive_entry_sparse_count(entry) == 0 else { throw Refusal("sparse", "'\(path)' in a layer is a sparse file") }
        guard size >= 0, size <= limits.bytes - bytes else { throw tooLarge() }
        let folder = try folder(path.parts.dropLast())
        let executable = archive_entry_perm(entry) & 0o111 != 0
        let file = try make(path) { try folder.open($0, .writeOnly, options: [.create, .exclusiveCreate]) }
        var written: Int64 = 0
        while true {
            var block: UnsafeRawPointer?
            var count = 0
            var offset: Int64 = 0
            let result = archive_read_data_block(reader, &block, &count, &offset)
            if result == ARCHIVE_EOF { break }
            guard result == ARCHIVE_OK else { throw TreeUnpacker.broken(reader) }
            guard offset == written, Int64(count) <= size - written else { throw tooLarge() }
            try file.write(UnsafeRawBufferPointer(start: block, count: count), at: written)
            written += Int64(count)
        }
        guard written == size else { throw Refusal("layer-format", "'\(path)' in a layer ends too early") }
        bytes += written
        try file.setPermissions(executable ? 0o755 : 0o644)
    }

    private mutating func symbolicLink(_ entry: OpaquePointer, at path: SafePath) throws {
        guard let target = text(archive_entry_symlink_utf8(entry) ?? archive_entry_symlink(entry)),
            role == .root ? !target.isEmpty && target.utf8.count <= SafePath.maximumBytes : path.keepsInside(linkTarget: target)
        else { throw Refusal("link-outside", "the symbolic link '\(path)' in a layer points outside the cargo") }
        let folder = try folder(path.parts.dropLast())
        try make(path) { try folder.makeSymbolicLink($0, to: target) }
    }

    private mutating func link(_ entry: OpaquePointer, at path: SafePath) throws {
        guard let target = text(archive_entry_hardlink_utf8(entry) ?? archive_entry_hardlink(entry)) else {
            throw Refusal("path-encoding", "a file name in a layer is not UTF-8")
        }
        let source = try SafePath(target)
        let from = try existing(source)
        let folder = try folder(path.parts.dropLast())
        try make(path) { try folder.makeHardLink($0, to: source.parts[source.parts.count - 1], in: from) }
    }

    /// Hides what the layer removed from those below. Last, because a whiteout says nothing about its own layer: what stands
    /// there under the same name is kept, and a folder only hides what it would be merged with.
    private mutating func takeAway() throws {
        for (parts, mark) in whiteouts {
            let folder = try folder(parts)
            do {
                switch mark {
                case .everything: try folder.makeOpaque()
                case .name(let name):
                    switch try folder.status(name)?.kind {
                    case nil:
                        try count()
                        try folder.makeWhiteout(name)
                    case .folder: try folder.folder(name).makeOpaque()
                    case .regular, .symbolicLink, .other: break
                    }
                case .leftover: break
                }
            } catch let failure as FileFailure
                where [.notPermitted, .permissionDenied, .notSupported].contains(failure.errno)
            {
                throw Refusal(
                    "whiteout",
                    "the file system below \(tree.path) cannot hold whiteouts of images (\(failure.errno)); let LONGSHORE_HOME lie on ext4, XFS or Btrfs"
                )
            }
        }
    }

    /// The folder of an earlier regular file of the same archive.
    private func existing(_ path: SafePath) throws -> Folder {
        do {
            let folder = path.parts.count == 1 ? tree : try tree.folder(path.parts.dropLast().joined(separator: "/"))
            guard try folder.status(path.parts[path.parts.count - 1])?.kind == .regular else {
                throw FileFailure("link to", path.text, .noSuchFileOrDirectory)
            }
            return folder
        } catch is FileFailure {
            throw Refusal("link-outside", "a hard link in a layer points to '\(path)', which is no file of the layer")
        }
    }

    private mutating func count() throws {
        made += 1
        guard made <= limits.entries else { throw tooMany() }
    }

    private func tooMany() -> Refusal {
        Refusal("unpacked-size", "a layer unpacks to more than its declared \(limits.entries) files and folders")
    }

    private mutating func make<Value>(_ path: SafePath, _ body: (String) throws -> Value) throws -> Value {
        try count()
        do { return try body(path.parts[path.parts.count - 1]) } catch let failure as FileFailure {
            throw failure.errno == .fileExists ? duplicate(path) : failure
        }
    }

    private func duplicate(_ path: SafePath) -> Refusal { Refusal("duplicate-entry", "'\(path)' is in a layer twice") }

    private func tooLarge() -> Refusal {
        Refusal("unpacked-size", "a layer unpacks to more than its declared \(limits.bytes) bytes")
    }

    /// Opens a folder of the tree, making it and its parents where they are missing.
    private mutating func folder(_ parts: some Sequence<String>) throws -> Folder {
        let parts = Array(parts)
        guard !parts.isEmpty else { return tree }
        let path = parts.joined(separator: "/")
        if let last, last.path.utf8.elementsEqual(path.utf8) { return last.folder }
        var folder = tree
        for part in parts {
            if try folder.makeFolder(part, permissions: 0o755) { try count() }
            do { folder = try folder.folder(part) } catch let failure as FileFailure
                where [.tooManySymbolicLinkLevels, .notDirectory].contains(failure.errno)
            {
                throw Refusal("through-link", "'\(path.prefix(200))' in a layer leads through a link or file")
            }
        }
        last = (path, folder)
        return folder
    }

    private func text(_ pointer: UnsafePointer<CChar>?) -> String? { pointer.flatMap { String(validatingCString: $0) } }
}
