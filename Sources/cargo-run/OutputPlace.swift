import CargoArtifact
import CargoClient
import CargoRunner
import CargoWire
import FoundationEssentials
import Glibc
import SystemPackage

/// Where a run's outputs go.
///
/// With `--output DIR` they join what is in DIR, replacing files of the same name. Without it they are kept in
/// `./NAME-output` (or `NAME-output-2` …, the first name that is free), and nothing is left behind when there are none.
struct OutputPlace: Sendable {
    /// What the runner fills: absent or empty.
    let folder: FilePath
    /// Where the files are moved afterwards, when that is another folder.
    private let target: FilePath?
    private let isTemporary: Bool

    init(asked: String?, name: CargoName?) throws {
        if let asked {
            let path = FilePath(asked)
            var isFolder = false
            if FileManager.default.fileExists(atPath: asked, isDirectory: &isFolder), !isFolder {
                throw ClientError(status: 0, code: "folder", message: "--output \(asked) is a file; name a folder")
            }
            let present = (try? FileManager.default.contentsOfDirectory(atPath: asked)) ?? []
            if present.isEmpty {
                folder = path
                target = nil
            } else {
                folder = path.appending(".cargo-run-\(UUIDv7.make())")
                target = path
            }
            isTemporary = target != nil
            return
        }
        target = nil
        isTemporary = true
        let stem = (name?.name ?? "cargo") + "-output"
        guard access(".", W_OK) == 0 else {
            folder = FilePath(TemporaryFolder.path).appending("\(stem)-\(getpid())")
            return
        }
        for number in 1...10_000 {
            let candidate = number == 1 ? stem : "\(stem)-\(number)"
            if mkdir(candidate, 0o755) == 0 {
                folder = FilePath(candidate)
                return
            }
            guard errno == EEXIST else { break }
        }
        throw ClientError(
            status: 0, code: "folder", message: "cannot make ./\(stem) for outputs; name a folder with --output DIR")
    }

    /// Puts the outputs where they belong; answers the folder that now holds them, nil when there is nothing to find.
    func settle(_ outputs: [RunOutcome.Output]) throws -> String? {
        defer { if isTemporary, target != nil || outputs.isEmpty { remove() } }
        guard let target else { return outputs.isEmpty && isTemporary ? nil : folder.string }
        let into = try OutputFolder(target)
        for output in outputs { try into.adopt(output.path, of: folder) }
        return target.string
    }

    /// After a run that did not happen.
    func abandon() { if isTemporary { remove() } }

    private func remove() { try? FileManager.default.removeItem(atPath: folder.string) }
}

/// The system's folder for temporary files.
private enum TemporaryFolder {
    static var path: String { getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp" }
}
