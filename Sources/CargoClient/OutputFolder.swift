import CargoArtifact
public import CargoWire
import Glibc
public import SystemPackage

/// A folder that receives files under names which somebody else chose.
///
/// Every name is checked, every step below the folder is opened without following links, and a file appears under its
/// name by rename only when it is whole: whatever lies in the folder, nothing outside it is ever written.
public final class OutputFolder: Sendable {
    public let path: FilePath
    private let descriptor: FileDescriptor

    /// Opens the folder, making it where it is missing. Throws `ClientError`.
    public init(_ path: FilePath) throws {
        self.path = path
        do {
            var made = FilePath(root: path.root, [FilePath.Component]())
            for component in path.components {
                made.append(component)
                if mkdir(made.string, 0o755) != 0, errno != EEXIST, errno != EROFS, errno != EACCES, errno != EPERM {
                    throw Errno(rawValue: errno)
                }
            }
            descriptor = try FileDescriptor.open(path.isEmpty ? "." : path, .readOnly, options: [.directory, .closeOnExec])
        } catch let error as Errno {
            throw ClientError(status: 0, code: "folder", message: "cannot use \(path) as a folder for outputs: \(error)")
        }
    }

    deinit { try? descriptor.close() }

    /// The parts of a relative path that may be written, or nil: no empty part, `.`, `..`, NUL; no leading slash; bounded.
    public static func parts(of path: String) -> [String]? {
        guard !path.isEmpty, path.utf8.count <= 4096 else { return nil }
        let parts = path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count <= 64 else { return nil }
        for part in parts {
            guard !part.isEmpty, part != ".", part != "..", part.utf8.count <= 255, !part.utf8.contains(0) else { return nil }
        }
        return parts
    }

    /// Writes one file: `fill` gets the open descriptor; when it returns the file takes its place, when it throws nothing stays.
    public func write(_ path: String, _ fill: (FileDescriptor) async throws -> Void) async throws {
        let (parent, name) = try openParent(of: path)
        defer { try? parent.close() }
        let temporary = ".longshore-" + UUIDv7.make()
        let file = openat(parent.rawValue, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o644)
        guard file >= 0 else { throw failure(path) }
        let target = FileDescriptor(rawValue: file)
        do {
            defer { try? target.close() }
            try await fill(target)
        } catch {
            unlinkat(parent.rawValue, temporary, 0)
            throw error
        }
        guard renameat(parent.rawValue, temporary, parent.rawValue, name) == 0 else {
            let error = failure(path)
            unlinkat(parent.rawValue, temporary, 0)
            throw error
        }
    }

    /// Moves a finished file from elsewhere on the same file system into its place.
    public func adopt(_ file: FilePath, as path: String) throws {
        let (parent, name) = try openParent(of: path)
        defer { try? parent.close() }
        guard renameat(AT_FDCWD, file.string, parent.rawValue, name) == 0 else { throw failure(path) }
    }

    private func openParent(of path: String) throws -> (FileDescriptor, String) {
        guard let parts = OutputFolder.parts(of: path), let name = parts.last else {
            throw Refusal("path-traversal", "the output '\(printable(path))' does not stay inside a folder; it was not written")
        }
        var current = try descriptor.duplicate()
        for part in parts.dropLast() {
            mkdirat(current.rawValue, part, 0o755)
            let next = openat(current.rawValue, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            let error = failure(path)
            try current.close()
            guard next >= 0 else { throw error }
            current = FileDescriptor(rawValue: next)
        }
        return (current, name)
    }

    private func failure(_ name: String) -> ClientError {
        let reason = Errno(rawValue: errno)
        return ClientError(
            status: 0, code: "folder",
            message: "cannot write '\(printable(name))' below \(path) without following links: \(reason)")
    }
}

extension CoordinatorClient {
    /// `GET /jobs/{id}/outputs/{path}`: one output, streamed into its place below `folder`, size and SHA-256 checked.
    public func download(_ output: OutputFile, of job: String, into folder: OutputFolder) async throws {
        let call = Transport.Call(path: "/jobs/\(PercentEncoding.segment(job))/outputs/\(PercentEncoding.path(output.path))")
        try await folder.write(output.path) { target in
            try await download(call, size: output.size, sha256: output.sha256, name: output.path) { try target.writeAll($0) }
        }
    }
}
