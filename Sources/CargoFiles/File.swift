internal import CLinux
internal import Glibc
public import SystemPackage

/// An open file that is closed when the last one lets go of it.
public final class File: Sendable {
    public let descriptor: FileDescriptor
    /// For messages only: the path under which it was opened.
    public let path: FilePath

    /// Takes over `descriptor`.
    public init(descriptor: FileDescriptor, path: FilePath) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit { try? descriptor.close() }

    /// Opens by path, following symbolic links as `open` does: for paths that a person gave.
    public static func open(
        _ path: FilePath, _ mode: FileDescriptor.AccessMode = .readOnly, options: FileDescriptor.OpenOptions = [],
        permissions: UInt32 = 0o600
    ) throws -> File {
        let raw = path.withPlatformString {
            clinux_openat(AT_FDCWD, $0, mode.rawValue | options.rawValue, permissions)
        }
        return File(descriptor: FileDescriptor(rawValue: try check(raw, "open", path.string)), path: path)
    }

    /// This program's standard input where a person wrote `-`, else the file of that path.
    public static func openOrStandardInput(_ path: FilePath) throws -> File {
        guard path == "-" else { return try open(path) }
        do {
            return File(descriptor: try FileDescriptor.standardInput.duplicate(), path: "the standard input")
        } catch let errno as Errno {
            throw FileFailure("read", "the standard input", errno)
        }
    }

    public func status() throws -> FileStatus {
        var raw = clinux_status()
        try check(clinux_fstat(descriptor.rawValue, &raw), "read the status of", path.string)
        return FileStatus(raw)
    }

    /// Reads at `offset` until `buffer` is full or the file ends; returns the bytes read.
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws -> Int {
        var done = 0
        while done < buffer.count {
            let read = try wrap("read") {
                try descriptor.read(
                    fromAbsoluteOffset: offset + Int64(done), into: UnsafeMutableRawBufferPointer(rebasing: buffer[done...]))
            }
            if read == 0 { break }
            done += read
        }
        return done
    }

    /// What comes next of a pipe or socket, at most the buffer; 0 at its end. Blocks until something comes.
    public func readNext(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        try wrap("read") { try descriptor.read(into: buffer) }
    }

    /// Exactly `count` bytes at `offset`; fewer is a failure. `count` is the caller's bound.
    public func bytes(at offset: Int64, count: Int) throws -> [UInt8] {
        try [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            initialized = try read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
            guard initialized == count else { throw FileFailure("read all of", path.string, .ioError) }
        }
    }

    /// The whole file, refused when it is longer than `limit` bytes.
    public func contents(limit: Int) throws -> [UInt8] {
        let size = try status().size
        guard size <= Int64(limit) else { throw FileFailure("read (longer than \(limit) bytes)", path.string, .fileTooLarge) }
        return try bytes(at: 0, count: Int(size))
    }

    public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws {
        var done = 0
        while done < bytes.count {
            done += try wrap("write") {
                try descriptor.write(
                    toAbsoluteOffset: offset + Int64(done), UnsafeRawBufferPointer(rebasing: bytes[done...]))
            }
        }
    }

    public func write(_ bytes: [UInt8], at offset: Int64 = 0) throws {
        try bytes.withUnsafeBytes { try write($0, at: offset) }
    }

    public func sync() throws { try check(fsync(descriptor.rawValue), "sync", path.string) }

    public func setPermissions(_ permissions: UInt32) throws {
        try check(fchmod(descriptor.rawValue, permissions), "set the permissions of", path.string)
    }

    public func truncate(to size: Int64) throws {
        try check(ftruncate(descriptor.rawValue, Int(size)), "set the size of", path.string)
    }

    /// Sets the time of last use (access and modification) to now.
    public func touch() throws { try check(clinux_touch(descriptor.rawValue, -1), "touch", path.string) }

    /// A whole file by path, refused when it is longer than `limit` bytes.
    public static func contents(of path: FilePath, limit: Int) throws -> [UInt8] {
        try open(path).contents(limit: limit)
    }

    private func wrap<Value>(_ operation: String, _ body: () throws -> Value) throws -> Value {
        do { return try body() } catch let errno as Errno { throw FileFailure(operation, path.string, errno) }
    }
}

/// Turns the C library's -1 into a `FileFailure`.
@discardableResult
func check(_ result: Int32, _ operation: String, _ path: @autoclosure () -> String) throws -> Int32 {
    guard result >= 0 else { throw FileFailure(operation, path(), Errno(rawValue: Glibc.errno)) }
    return result
}
