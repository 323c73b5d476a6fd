internal import CLinux
internal import Glibc
public import SystemPackage

/// A folder held open: every operation below it is anchored at its descriptor.
///
/// A path that is looked up anew at each step can be swapped for a symbolic link between two steps;
/// here each path is resolved by the kernel beneath this descriptor, and no symbolic link on the way
/// is followed (openat2: RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS).
public final class Folder: Sendable {
    public let descriptor: FileDescriptor
    /// For messages, and for handing files to other programs.
    public let path: FilePath

    private init(descriptor: FileDescriptor, path: FilePath) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit { try? descriptor.close() }

    /// Opens a folder by a path that a person gave; with `create` its missing parts are made with these permissions.
    public static func open(_ path: FilePath, create permissions: UInt32? = nil) throws -> Folder {
        if let permissions { try makeAll(path, permissions: permissions) }
        let raw = path.withPlatformString { clinux_openat(AT_FDCWD, $0, O_RDONLY | O_DIRECTORY, 0) }
        return Folder(descriptor: FileDescriptor(rawValue: try check(raw, "open folder", path.string)), path: path)
    }

    private static func makeAll(_ path: FilePath, permissions: UInt32) throws {
        if path.withPlatformString({ mkdir($0, permissions) }) == 0 { return }
        switch Glibc.errno {
        case EEXIST: return
        case ENOENT where path.lastComponent != nil:
            let parent = path.removingLastComponent()
            if !parent.isEmpty { try makeAll(parent, permissions: permissions) }
            let made = path.withPlatformString { mkdir($0, permissions) }
            if made != 0, Glibc.errno != EEXIST { try check(made, "make folder", path.string) }
        default: throw FileFailure("make folder", path.string, Errno(rawValue: Glibc.errno))
        }
    }

    /// Opens a file beneath this folder; no symbolic link on the way is followed.
    public func open(
        _ name: String, _ mode: FileDescriptor.AccessMode = .readOnly, options: FileDescriptor.OpenOptions = [],
        permissions: UInt32 = 0o600
    ) throws -> File {
        let raw = clinux_open_beneath(descriptor.rawValue, name, mode.rawValue | options.rawValue, permissions)
        let full = path.appending(name)
        return File(descriptor: FileDescriptor(rawValue: try check(raw, "open", full.string)), path: full)
    }

    /// A second way into a file, for writing past the page cache in aligned pieces; nil where the file system has none.
    public func openDirect(_ name: String) -> File? {
        let raw = clinux_open_direct(descriptor.rawValue, name)
        return raw < 0 ? nil : File(descriptor: FileDescriptor(rawValue: raw), path: path.appending(name))
    }

    public func folder(_ name: String) throws -> Folder {
        let raw = clinux_open_beneath(descriptor.rawValue, name, O_RDONLY | O_DIRECTORY, 0)
        let full = path.appending(name)
        return Folder(descriptor: FileDescriptor(rawValue: try check(raw, "open folder", full.string)), path: full)
    }

    /// Makes one folder directly below; true when it was not there before.
    @discardableResult
    public func makeFolder(_ name: String, permissions: UInt32 = 0o700) throws -> Bool {
        if mkdirat(descriptor.rawValue, name, permissions) == 0 { return true }
        guard Glibc.errno == EEXIST else { throw failure("make folder", name) }
        return false
    }

    /// Status without following a last symbolic link; nil when there is nothing. `name` is one component.
    public func status(_ name: String) throws -> FileStatus? {
        var raw = clinux_status()
        if clinux_fstatat(descriptor.rawValue, name, &raw) == 0 { return FileStatus(raw) }
        guard Glibc.errno == ENOENT else { throw failure("read the status of", name) }
        return nil
    }

    /// The names in this folder, sorted by bytes; refused when there are more than `limit`.
    public func entries(limit: Int = 1_000_000) throws -> [String] {
        let found = try names(limit: limit)
        guard found.unreadable == 0 else { throw FileFailure("list (a name is not UTF-8)", path.string, .illegalByteSequence) }
        return found.names
    }

    /// The same for a stranger's folder: names that are not UTF-8 are counted instead of refused.
    public func names(limit: Int) throws -> (names: [String], unreadable: Int) {
        let copy = clinux_openat(descriptor.rawValue, ".", O_RDONLY | O_DIRECTORY, 0)
        try check(copy, "list", path.string)
        guard let stream = fdopendir(copy) else {
            close(copy)
            throw failure("list", ".")
        }
        defer { closedir(stream) }
        var names: [String] = []
        var unreadable = 0
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(validating: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name == "." || name == ".." { continue }
            guard names.count + unreadable < limit else {
                throw FileFailure("list (too many entries)", path.string, .fileTooLarge)
            }
            if let name { names.append(name) } else { unreadable += 1 }
        }
        return (names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }, unreadable)
    }

    /// Replaces what is there.
    public func rename(_ name: String, to target: String, in folder: Folder? = nil) throws {
        guard renameat(descriptor.rawValue, name, (folder ?? self).descriptor.rawValue, target) == 0 else {
            throw failure("rename", name)
        }
    }

    /// Renames only when nothing is there yet; false when something was.
    public func renameNew(_ name: String, to target: String, in folder: Folder? = nil) throws -> Bool {
        if clinux_rename_new(descriptor.rawValue, name, (folder ?? self).descriptor.rawValue, target) == 0 { return true }
        guard Glibc.errno == EEXIST || Glibc.errno == ENOTEMPTY else { throw failure("rename", name) }
        return false
    }

    /// Removes a file or symbolic link; false when nothing was there.
    @discardableResult
    public func remove(_ name: String) throws -> Bool {
        if unlinkat(descriptor.rawValue, name, 0) == 0 { return true }
        guard Glibc.errno == ENOENT else { throw failure("remove", name) }
        return false
    }

    /// Removes a folder and everything below it, however deep, closed or oddly named, without following symbolic links.
    public func removeTree(_ name: String) throws {
        guard clinux_remove_tree(descriptor.rawValue, name) == 0 else { throw failure("remove folder", name) }
    }

    public func makeSymbolicLink(_ name: String, to target: String) throws {
        guard symlinkat(target, descriptor.rawValue, name) == 0 else { throw failure("link", name) }
    }

    /// A second name for a file; a symbolic link is linked itself, never what it points to.
    public func makeHardLink(_ name: String, to target: String, in folder: Folder) throws {
        guard linkat(folder.descriptor.rawValue, target, descriptor.rawValue, name, 0) == 0 else { throw failure("link", name) }
    }

    public func symbolicLinkTarget(_ name: String) throws -> String {
        try withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 4096) { buffer in
            let count = buffer.withMemoryRebound(to: CChar.self) { text in
                text.baseAddress.map { readlinkat(descriptor.rawValue, name, $0, text.count) } ?? -1
            }
            guard count >= 0 else { throw failure("read link", name) }
            guard count < buffer.count, let text = String(validating: buffer[..<count], as: UTF8.self) else {
                throw FileFailure("read link", path.appending(name).string, .fileNameTooLong)
            }
            return text
        }
    }

    public func sync() throws { try check(fsync(descriptor.rawValue), "sync", path.string) }

    /// Writes everything that this folder's file system still holds in memory to its disk.
    public func syncFileSystem() throws { try check(clinux_syncfs(descriptor.rawValue), "sync", path.string) }

    private func failure(_ operation: String, _ name: String) -> FileFailure {
        FileFailure(operation, path.appending(name).string, Errno(rawValue: Glibc.errno))
    }
}
