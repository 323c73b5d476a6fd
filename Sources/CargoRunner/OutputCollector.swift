internal import CargoArtifact
internal import CargoFiles
internal import Glibc
internal import SystemPackage

/// Moves what a job left in its output folder to where the caller wants it, after the last process of the job is gone.
///
/// Only plain files are taken. Links, FIFOs, sockets and devices are never opened, so nothing is followed and nothing
/// hangs; names that could lead elsewhere are left out.
struct OutputCollector: Sendable {
    /// Most folders inside each other.
    static let depth = 32
    /// Most things that are named as left out.
    static let named = 100

    let source: FilePath
    let target: FilePath
    let maxBytes: Int64
    let maxFiles: Int

    /// What was taken.
    struct Collected: Sendable {
        var outputs: [RunOutcome.Output] = []
        var skipped: [String] = []
        /// The bound that stopped the collection.
        var limit: Refusal?
        var bytes: Int64 = 0
        /// Files, folders and others that were looked at.
        var seen = 0
    }

    /// - Parameter images: what the job said instead of leaving it in its folder; a file of the same name goes first.
    func collect(adding images: [EventLines.Image] = []) throws -> Collected {
        var collected = Collected()
        // A job may have closed its own folders and files; nobody of it is left who could change them now.
        _ = source.withPlatformString { chmod($0, 0o700) }
        try walk(try Folder.open(source), into: try Folder.open(target, create: 0o755), prefix: "", depth: 0, &collected)
        for image in images where collected.limit == nil { try add(image, &collected) }
        collected.outputs.sort { $0.path < $1.path }
        return collected
    }

    private func add(_ image: EventLines.Image, _ collected: inout Collected) throws {
        guard collected.outputs.count < maxFiles, collected.bytes + Int64(image.bytes.count) <= maxBytes else {
            collected.limit = Refusal(
                "output_limit", "the job's images are more than its \(maxBytes) bytes or \(maxFiles) files of output")
            return
        }
        guard !collected.outputs.contains(where: { $0.path == image.path || $0.path.hasPrefix(image.path + "/") }) else {
            return skip(image.path + " (an image of its events)", &collected)
        }
        let file = try Folder.open(target).open(image.path, .readWrite, options: [.create, .exclusiveCreate], permissions: 0o644)
        try file.write(image.bytes)
        collected.bytes += Int64(image.bytes.count)
        collected.outputs.append(RunOutcome.Output(path: image.path, size: Int64(image.bytes.count), digest: image.digest))
    }

    private func walk(_ from: Folder, into to: Folder, prefix: String, depth: Int, _ collected: inout Collected) throws {
        // Empty folders count too, so that they cannot make this walk endless.
        guard let (names, unreadable) = try? from.names(limit: maxFiles * 4 + 1000) else {
            collected.limit = Refusal(
                "output_limit", "the folder /job/output/\(prefix) holds more entries than the job's \(maxFiles) files")
            return
        }
        if unreadable > 0 { skip("\(prefix.isEmpty ? "" : prefix + "/")(\(unreadable) names that are not UTF-8)", &collected) }
        for name in names where collected.limit == nil {
            collected.seen += 1
            let path = prefix.isEmpty ? name : prefix + "/" + name
            guard collected.seen <= maxFiles * 4 + 1000 else {
                collected.limit = Refusal("output_limit", "the job left more than \(maxFiles) files and folders")
                return
            }
            guard (try? SafePath(path)) != nil, let status = try? from.status(name) else {
                skip(path, &collected)
                continue
            }
            switch status.kind {
            case .folder:
                guard depth < OutputCollector.depth else {
                    collected.limit = Refusal(
                        "output_limit", "the job's outputs are more than \(OutputCollector.depth) folders deep")
                    return
                }
                fchmodat(from.descriptor.rawValue, name, 0o700, 0)
                guard let inner = try? from.folder(name) else {
                    skip(path, &collected)
                    continue
                }
                try to.makeFolder(name, permissions: 0o755)
                try walk(inner, into: try to.folder(name), prefix: path, depth: depth + 1, &collected)
            case .regular:
                try take(name, status, from: from, to: to, path: path, &collected)
            case .symbolicLink, .other: skip(path, &collected)
            }
        }
    }

    private func take(
        _ name: String, _ status: FileStatus, from: Folder, to: Folder, path: String, _ collected: inout Collected
    ) throws {
        guard collected.outputs.count < maxFiles else {
            collected.limit = Refusal("output_limit", "the job left more than its \(maxFiles) output files")
            return
        }
        guard collected.bytes + status.size <= maxBytes else {
            collected.limit = Refusal("output_limit", "the job left more than its \(maxBytes) bytes of output")
            return
        }
        if status.permissions & 0o400 == 0 { fchmodat(from.descriptor.rawValue, name, 0o600, 0) }
        guard let file = try? from.open(name, .readOnly, options: .nonBlocking), let opened = try? file.status(),
            opened.kind == .regular, opened.size == status.size
        else {
            skip(path, &collected)
            return
        }
        var hash = ContentHash()
        try file.read(from: 0, count: opened.size) { hash.update($0) }
        let permissions: UInt32 = opened.permissions & 0o100 != 0 ? 0o755 : 0o644
        if opened.links != 1 || !move(name, file, permissions, from: from, to: to) {
            let copy = try to.open(name, .readWrite, options: [.create, .exclusiveCreate], permissions: permissions)
            try copy.copy(from: file, at: 0, count: opened.size, to: 0)
            try copy.truncate(to: opened.size)
            try copy.setPermissions(permissions)
        }
        collected.bytes += opened.size
        collected.outputs.append(RunOutcome.Output(path: path, size: opened.size, digest: hash.digest()))
    }

    /// Takes the file itself where both folders are on one file system: it becomes the supervisor's, without set-id bits.
    private func move(_ name: String, _ file: File, _ permissions: UInt32, from: Folder, to: Folder) -> Bool {
        guard fchown(file.descriptor.rawValue, geteuid(), getegid()) == 0, (try? file.setPermissions(permissions)) != nil
        else { return false }
        return (try? from.renameNew(name, to: name, in: to)) ?? false
    }

    private func skip(_ path: String, _ collected: inout Collected) {
        if collected.skipped.count < OutputCollector.named { collected.skipped.append(String(path.prefix(1024))) }
    }
}
