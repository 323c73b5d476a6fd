import CargoArtifact
import CargoFiles
public import CargoWire
public import SystemPackage

/// A folder that receives files under names which somebody else chose.
///
/// Every name is checked, every step below the folder is opened without following links, and a file appears under its
/// name by rename only when it is whole: whatever lies in the folder, nothing outside it is ever written.
public final class OutputFolder: Sendable {
    private let folder: Folder

    /// Opens the folder, making it where it is missing.
    public init(_ path: FilePath) throws {
        folder = try Folder.open(path.isEmpty ? "." : path, create: 0o755)
    }

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

    /// Writes one file: `fill` gets it open; when it returns the file takes its place, when it throws nothing stays.
    func write(_ path: String, _ fill: (File) async throws -> Void) async throws {
        let (parent, name) = try openParent(of: path)
        let (temporary, file) = try parent.makeTemporary(prefix: ".longshore-", permissions: 0o644)
        do {
            try await fill(file)
            try parent.rename(temporary, to: name)
        } catch {
            _ = try? parent.remove(temporary)
            throw error
        }
    }

    /// Moves a finished file of another folder of the same file system into its place.
    public func adopt(_ source: String, of other: FilePath) throws {
        let (parent, name) = try openParent(of: source)
        let from = try Folder.open(other)
        try from.rename(source, to: name, in: parent)
    }

    private func openParent(of path: String) throws -> (Folder, String) {
        guard let parts = OutputFolder.parts(of: path), let name = parts.last else {
            throw Refusal("path-traversal", "the output '\(printable(path))' does not stay inside a folder; it was not written")
        }
        var current = folder
        for part in parts.dropLast() {
            _ = try current.makeFolder(part, permissions: 0o755)
            current = try current.folder(part)
        }
        return (current, name)
    }
}

extension CoordinatorClient {
    /// `GET /jobs/{id}/outputs/{path}`: one output, streamed into its place below `folder`, size and SHA-256 checked.
    public func download(_ output: OutputFile, of job: String, into folder: OutputFolder) async throws {
        let call = Transport.Call(path: "/jobs/\(PercentEncoding.segment(job))/outputs/\(PercentEncoding.path(output.path))")
        try await folder.write(output.path) { file in
            var at: Int64 = 0
            try await download(call, size: output.size, sha256: output.sha256, name: output.path) { bytes in
                try file.write(bytes, at: at)
                at += Int64(bytes.count)
            }
        }
    }
}
