internal import CargoArtifact
internal import CargoFiles
internal import SystemPackage

/// What of a source folder goes into a cargo, in the order of its bytes.
struct SourceTree {
    enum Entry: Hashable {
        case folder
        case file(executable: Bool, size: Int64)
        case link(String)
    }

    /// Most entries of a cargo.
    static let maximumEntries = 1_000_000

    let folder: Folder
    /// By path, sorted by its bytes.
    private(set) var entries: [(path: String, entry: Entry)] = []
    private let ignore: IgnoreRules
    private let allowed: Set<String>
    private let wanted: [String]?
    private let leftOut: String?
    private var used: Set<String> = []
    private var refused: [(path: String, reason: String)] = []

    /// `wanted`: paths and patterns from `files:`; nil takes everything. `allowed`: suspicious paths that were asked for.
    /// `leavingOut`: a file or folder that is not looked at.
    init(_ folder: Folder, wanted: [String]?, allowed: Set<String>, leavingOut: String? = nil) throws {
        self.folder = folder
        leftOut = leavingOut
        self.wanted = wanted
        self.allowed = allowed
        if try folder.status(".cargoignore") != nil {
            let bytes = try folder.open(".cargoignore").contents(limit: 1 << 20)
            ignore = IgnoreRules(String(decoding: bytes, as: UTF8.self))
        } else {
            ignore = IgnoreRules()
        }
        try walk(folder, prefix: "")
        guard refused.isEmpty else {
            let list = refused.map { "\($0.path) (\($0.reason))" }.joined(separator: ", ")
            throw SourceFailure(
                refused[0].path,
                "looks like it must not leave this machine: \(list). Leave it out with a line in .cargoignore, or pack it with --allow PATH"
            )
        }
        if let missing = wanted?.first(where: { !used.contains($0) }) {
            throw SourceFailure(YAMLValue.file, "files: '\(missing)' matches nothing beside cargo.yaml")
        }
        entries.sort { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
        entries = withParents()
    }

    private mutating func walk(_ folder: Folder, prefix: String) throws {
        for name in try folder.entries(limit: SourceTree.maximumEntries) {
            let path = prefix + name
            if prefix.isEmpty && name == YAMLValue.file || path == leftOut { continue }
            if Secrets.isLitter(name), !isNamed(path) { continue }
            guard let status = try folder.status(name) else { continue }
            let verdict = ignore.verdict(path)
            if verdict == .leftOut, !(status.kind == .folder && ignore.hasExceptions) { continue }
            let isAsked = verdict == .takenIn || allowed.contains(path) || isNamed(path)
            let isTaken = verdict != .leftOut && takes(path)
            if isTaken, !isAsked, let reason = try Secrets.reason(name: name) ?? self.reason(status, in: folder, name) {
                refused.append((path, reason))
                continue
            }
            switch status.kind {
            case .folder:
                if isTaken { try append(path, .folder) }
                try walk(try folder.folder(name), prefix: path + "/")
            case .regular:
                if isTaken { try append(path, .file(executable: status.isExecutable, size: status.size)) }
            case .symbolicLink:
                guard isTaken else { continue }
                let target = try folder.symbolicLinkTarget(name)
                guard try SafePath(path).keepsInside(linkTarget: target) else {
                    throw SourceFailure(path, "the symbolic link points outside the folder; copy the file instead")
                }
                try append(path, .link(target))
            case .other:
                if isTaken { throw SourceFailure(path, "is a device, pipe or socket; only files, folders and links are packed") }
            }
        }
    }

    private mutating func append(_ path: String, _ entry: Entry) throws {
        _ = try SafePath(path)
        guard entries.count < SourceTree.maximumEntries else {
            throw SourceFailure(path, "the cargo has more than \(SourceTree.maximumEntries) files")
        }
        entries.append((path, entry))
    }

    private func reason(_ status: FileStatus, in folder: Folder, _ name: String) throws -> String? {
        guard status.kind == .regular, status.size <= Int64(Secrets.head) else { return nil }
        return Secrets.isPrivateKey(try folder.open(name).contents(limit: Secrets.head)) ? "a private key" : nil
    }

    /// Named by `files:` itself, not only by a folder or pattern above it.
    private func isNamed(_ path: String) -> Bool { wanted?.contains(path) ?? false }

    private mutating func takes(_ path: String) -> Bool {
        guard let wanted else { return true }
        var taken = false
        for entry in wanted {
            let fits =
                entry.contains("*") || entry.contains("?")
                ? IgnoreRules(entry).verdict(path) != nil : path == entry || path.hasPrefix(entry + "/")
            if fits {
                used.insert(entry)
                taken = true
            }
        }
        return taken
    }

    /// The entries, and every folder above one.
    private func withParents() -> [(path: String, entry: Entry)] {
        // By bytes: as text, two ways of writing one letter would be one name.
        var all: [[UInt8]: (path: String, entry: Entry)] = [:]
        for (path, entry) in entries {
            all[Array(path.utf8)] = (path, entry)
            var parts = path.split(separator: "/").dropLast()
            while !parts.isEmpty {
                let folder = parts.joined(separator: "/")
                all[Array(folder.utf8)] = (folder, .folder)
                parts = parts.dropLast()
            }
        }
        return all.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map(\.value)
    }

    /// Takes files out that become layers of their own.
    mutating func remove(_ paths: Set<String>) {
        entries.removeAll { paths.contains($0.path) }
        // Folders that only held those are not kept.
        var needed: Set<String> = []
        for (path, entry) in entries where entry != .folder {
            var parts = path.split(separator: "/").dropLast()
            while !parts.isEmpty, needed.insert(parts.joined(separator: "/")).inserted { parts = parts.dropLast() }
        }
        let emptied = Set(
            paths.flatMap { path -> [String] in
                let parts = path.split(separator: "/")
                return (0..<parts.count).map { parts[..<$0].joined(separator: "/") }
            })
        entries.removeAll { emptied.contains($0.path) && !needed.contains($0.path) }
    }
}
