public import CargoArtifact
internal import CargoFiles
public import SystemPackage

/// A small working example of each kind, as `longshore init` writes it.
public struct CargoTemplate: Sendable {
    public let kind: CargoKind

    public init(kind: CargoKind) { self.kind = kind }

    /// Writes the files into a folder and returns their names; refused when one of them exists already.
    public func write(to path: FilePath) throws -> [String] {
        let folder = try Folder.open(path, create: 0o755)
        let name = CargoTemplate.name(of: path)
        let files = contents(name: name)
        for (file, _) in files where try folder.status(file) != nil {
            throw SourceFailure(path.appending(file).string, "exists already; choose an empty folder")
        }
        for (file, text) in files { try folder.writeDurably(file, Array(text.utf8), permissions: 0o644) }
        return files.map(\.0)
    }

    /// A name that a cargo may have, from a folder's.
    private static func name(of path: FilePath) -> String {
        let last = path.lastComponent?.string.lowercased() ?? ""
        let plain = String(last.unicodeScalars.map { ("a"..."z").contains($0) || ("0"..."9").contains($0) ? Character($0) : "-" })
        let parts = plain.split(separator: "-")
        let joined = parts.joined(separator: "-").prefix(64)
        return CargoName("example/" + joined) == nil ? "hello" : String(joined)
    }

    private func contents(name: String) -> [(String, String)] {
        let head = """
            # yaml-language-server: $schema=https://longshore.dev/cargo.schema.json
            name: example/\(name)
            version: 0.1.0
            kind: \(kind.rawValue)

            """
        let ignore = (".cargoignore", ".git\n.env\n*.md\n")
        switch kind {
        case .process:
            return [
                (
                    "cargo.yaml",
                    head + """
                        description: Counts the bytes of its input files.
                        command: [/bin/sh, main.sh]
                        resources: {cpu: 1, memory: 256MiB, pids: 32, time: 1m}

                        """
                ),
                (
                    "main.sh",
                    """
                    set -eu
                    for file in "$CARGO_INPUT"/*; do
                        [ -f "$file" ] || continue
                        wc -c < "$file" > "$CARGO_OUTPUT/$(basename "$file").count"
                    done
                    echo "done"

                    """
                ), ignore,
            ]
        default:
            return [("cargo.yaml", head), ignore]
        }
    }
}
