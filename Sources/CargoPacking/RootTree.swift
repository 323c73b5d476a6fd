internal import CargoArchive
internal import CargoArtifact
internal import CargoFiles
internal import SystemPackage

/// A folder that is a root file system, written as one gzipped layer: names, contents, links and exec bits, without owners, times
/// and set-id bits, which no job could use.
enum RootTree {
    /// Most entries, as of any layer.
    private static let maximumEntries = 2_000_000
    /// Folders of the running machine: what is in them is none of the root file system.
    private static let machine: Set = ["dev", "proc", "sys"]

    /// Returns the digest of the uncompressed tar.
    static func write(_ folder: Folder, to target: File) throws -> Digest {
        var writer = Writer(stream: try GzipStream(target))
        try writer.walk(folder, prefix: "", depth: 0)
        try writer.write([UInt8](repeating: 0, count: TarHeader.trailer))
        try writer.stream.close()
        return writer.plain.digest()
    }

    private struct Writer {
        let stream: GzipStream
        var plain = ContentHash()
        private var entries = 0

        init(stream: GzipStream) { self.stream = stream }

        mutating func write(_ bytes: [UInt8]) throws {
            bytes.withUnsafeBytes { plain.update($0) }
            try stream.write(bytes)
        }

        mutating func walk(_ folder: Folder, prefix: String, depth: Int) throws {
            for name in try folder.entries() {
                let path = prefix + name
                _ = try SafePath(path)
                entries += 1
                guard entries <= maximumEntries else {
                    throw SourceFailure(path, "the root file system has more than \(maximumEntries) files")
                }
                guard let status = try folder.status(name) else { continue }
                switch status.kind {
                case .folder:
                    try write(TarHeader.entry(path: path, kind: .folder, size: 0))
                    if depth > 0 || !machine.contains(name) {
                        try walk(try folder.folder(name), prefix: path + "/", depth: depth + 1)
                    }
                case .symbolicLink:
                    try write(TarHeader.entry(path: path, kind: .link(try folder.symbolicLinkTarget(name)), size: 0))
                case .regular:
                    try write(TarHeader.entry(path: path, kind: .file(executable: status.isExecutable), size: status.size))
                    let file = try folder.open(name)
                    guard try file.status().size == status.size else {
                        throw SourceFailure(path, "changed while it was packed; pack again")
                    }
                    try file.read(from: 0, count: status.size) { bytes in
                        plain.update(bytes)
                        try stream.write(bytes)
                    }
                    try write([UInt8](repeating: 0, count: TarHeader.padding(after: status.size)))
                case .other:
                    throw SourceFailure(
                        path, "is a device, pipe or socket; a root file system brings files, folders and links outside /dev")
                }
            }
        }
    }
}
