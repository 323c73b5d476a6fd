public import CargoArtifact
import Crypto
public import SystemPackage

/// An open file that closes itself.
public final class OpenFile: Sendable {
    public let path: FilePath
    public let descriptor: FileDescriptor

    /// Opens for reading. Throws `ClientError` with the name of the file.
    public init(_ path: FilePath) throws {
        self.path = path
        do {
            descriptor = try FileDescriptor.open(path, .readOnly, options: [.closeOnExec])
        } catch let error as Errno {
            throw ClientError(status: 0, code: "file", message: "cannot read \(path): \(error)")
        }
    }

    /// Takes over an open descriptor; `path` is for messages.
    init(descriptor: FileDescriptor, path: FilePath) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit { try? descriptor.close() }

    /// Bytes.
    public func size() throws -> Int64 { try descriptor.seek(offset: 0, from: .end) }

    /// SHA-256 of the whole file, read by position.
    public func digest() throws -> CargoArtifact.Digest {
        var hash = SHA256()
        var at: Int64 = 0
        let space = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
        defer { space.deallocate() }
        while true {
            let got = try descriptor.read(fromAbsoluteOffset: at, into: space)
            if got == 0 { return CargoArtifact.Digest(hash.finalize()) }
            hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: space[..<got]))
            at += Int64(got)
        }
    }
}
