import CargoArtifact
import CargoRunner
import CargoStore
import Glibc
import Synchronization
import SystemPackage

/// A store, a cargo made of plain files, and what came of running it.
final class RunBench: Sendable {
    let root: FilePath
    let store: CargoStore

    init() throws {
        var template = Array("/tmp/longshore-run-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Errno(rawValue: errno) }
        root = FilePath(String(cString: made))
        store = try CargoStore(root: root.appending("store"))
    }

    deinit { _ = system("rm -rf '\(root.string)'") }

    /// A cargo whose tree holds these files (path to text), run as `command`.
    func cargo(_ command: [String], files: [String: String] = [:], _ change: (inout CargoConfig) -> Void = { _ in }) throws
        -> StoredCargo
    {
        let tree = root.appending("tree")
        for (path, text) in files {
            let full = tree.appending(path)
            _ = system("mkdir -p '\(full.removingLastComponent().string)'")
            let file = try FileDescriptor.open(
                full, .writeOnly, options: [.create, .truncate],
                permissions: [.ownerReadWrite, .ownerExecute, .groupRead, .otherRead, .otherExecute])
            _ = try file.closeAfter { try file.writeAll(text.utf8) }
        }
        _ = system("mkdir -p '\(tree.string)' && chmod 755 '\(tree.string)'")
        var config = CargoConfig(name: "acme/test", version: "1.0.0", kind: .process, command: command)
        change(&config)
        let empty = Descriptor(mediaType: MediaType.cargoConfig, digest: Digest(of: [UInt8]()), size: 0)
        return StoredCargo(
            digest: Digest(of: [UInt8]()), manifest: ImageManifest(artifactType: MediaType.cargo, config: empty, layers: []),
            config: config, parts: [.tree(tree)])
    }

    /// What one run said and came to.
    struct Result {
        var standardOutput: String
        var standardError: String
        var offsets: [Int64]
        var outcome: RunOutcome
    }

    func run(_ cargo: StoredCargo, _ change: (inout RunRequest) -> Void = { _ in }) async throws -> Result {
        var request = RunRequest(cargo: cargo, jobID: "0198c0de-0000-7000-8000-000000000000", output: root.appending("out"))
        change(&request)
        let said = Mutex<(out: [UInt8], err: [UInt8], offsets: [Int64])>(([], [], []))
        let outcome = try await JobRunner(store: store).run(request) { event in
            guard case .log(let stream, let offset, let bytes) = event else { return }
            said.withLock {
                $0.offsets.append(offset)
                if stream == .stdout { $0.out += bytes } else { $0.err += bytes }
            }
        }
        return said.withLock {
            Result(
                standardOutput: String(decoding: $0.out, as: UTF8.self), standardError: String(decoding: $0.err, as: UTF8.self),
                offsets: $0.offsets, outcome: outcome)
        }
    }

    func shell(_ script: String, files: [String: String] = [:], _ change: (inout CargoConfig) -> Void = { _ in }) async throws
        -> Result
    {
        try await run(cargo(["/bin/sh", "-c", script], files: files, change))
    }
}
