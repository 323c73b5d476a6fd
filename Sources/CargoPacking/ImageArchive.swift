internal import CArchive
internal import CargoArtifact
internal import CargoFiles
internal import Glibc
internal import SystemPackage

/// A container image in a tar as `docker save` writes it, or a tar of an OCI image layout.
///
/// The image's config is kept byte for byte, so the image keeps its identity; names and tags are left behind.
struct ImageArchive {
    /// Most bytes of a JSON document in it, and most entries.
    private static let maximumDocument = 4 << 20
    private static let maximumEntries = 200_000

    let file: File
    /// The image's config.
    let config: [UInt8]
    /// Paths of the layers in the tar, in order.
    let layers: [String]

    init(_ file: File) throws {
        self.file = file
        var documents: [String: [UInt8]] = [:]
        var links: [String: String] = [:]
        try ImageArchive.walk(file) { name, entry, reader in
            if let target = archive_entry_hardlink(entry) ?? archive_entry_symlink(entry) {
                links[name] = String(cString: target)
            } else if archive_entry_filetype(entry) == mode_t(0o100000),
                archive_entry_size(entry) <= ImageArchive.maximumDocument,
                documents.values.reduce(0, { $0 + $1.count }) < 64 << 20
            {
                documents[name] = try ImageArchive.bytes(of: entry, from: reader)
            }
        }
        func document(_ path: String) throws -> [UInt8] {
            guard let bytes = documents[path] else { throw ImageArchive.broken("'\(path)' is missing") }
            return bytes
        }
        if documents["manifest.json"] != nil {
            let images: [Saved] = try StrictJSON.decode(
                from: try document("manifest.json"), limit: ImageArchive.maximumDocument)
            guard images.count == 1, let image = images.first else {
                throw ImageArchive.broken("it holds \(images.count) images; save exactly one")
            }
            config = try document(image.Config)
            layers = try image.Layers.map { try ImageArchive.resolve($0, links) }
        } else {
            let index: ImageIndex = try StrictJSON.decode(
                from: try document("index.json"), limit: ImageArchive.maximumDocument)
            guard index.manifests.count == 1, let entry = index.manifests.first else {
                throw ImageArchive.broken("it holds \(index.manifests.count) images; save exactly one")
            }
            let manifest: ImageManifest = try StrictJSON.decode(
                from: try document("blobs/sha256/" + entry.digest.hex), limit: ImageArchive.maximumDocument)
            config = try document("blobs/sha256/" + manifest.config.digest.hex)
            layers = manifest.layers.map { "blobs/sha256/" + $0.digest.hex }
        }
        let read: Config = try StrictJSON.decode(from: config, limit: ImageArchive.maximumDocument)
        guard read.rootfs.diff_ids.count == layers.count else {
            throw ImageArchive.broken("layers and diff_ids differ in number")
        }
        diffIDs = read.rootfs.diff_ids
        platform = Descriptor.Platform(architecture: read.architecture ?? "amd64", os: read.os ?? "linux")
    }

    /// Digests of the layers' uncompressed tars, as the config says.
    let diffIDs: [Digest]
    let platform: Descriptor.Platform

    /// Writes each layer as a gzipped tar into a file of its own: one that is compressed already stays as it is.
    /// Layers come in the order of the tar; `make` gives an empty file for a layer's position.
    func writeLayers(_ make: (Int) throws -> File) throws {
        var left = Set(layers)
        try ImageArchive.walk(file) { name, entry, reader in
            guard left.remove(name) != nil, let position = layers.firstIndex(of: name) else { return }
            let target = try make(position)
            var plain = ContentHash()
            var head: [UInt8] = []
            var stream: GzipStream?
            var offset: Int64 = 0
            try ImageArchive.data(of: reader) { bytes in
                if head.isEmpty {
                    head = Array(bytes.prefix(4))
                    guard !head.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) else {
                        throw ImageArchive.broken("a layer is compressed with zstd; save the image with gzip or plain layers")
                    }
                    if !head.starts(with: [0x1F, 0x8B]) { stream = try GzipStream(target) }
                }
                if let stream {
                    plain.update(bytes)
                    try stream.write(bytes)
                } else {
                    try target.write(bytes, at: offset)
                    offset += Int64(bytes.count)
                }
            }
            try stream?.close()
            if stream != nil, plain.digest() != diffIDs[position] {
                throw ImageArchive.broken("the layer '\(name)' is not the one that the image's config names")
            }
        }
        guard left.isEmpty else { throw ImageArchive.broken("the layer '\(left.sorted()[0])' is missing") }
    }

    private struct Saved: Decodable {
        // The names of docker's own format.
        // swift-format-ignore: AlwaysUseLowerCamelCase
        var Config: String
        // swift-format-ignore: AlwaysUseLowerCamelCase
        var Layers: [String]
    }

    private struct Config: Decodable {
        struct RootFS: Decodable {
            // swift-format-ignore: AlwaysUseLowerCamelCase
            var diff_ids: [Digest]
        }

        var rootfs: RootFS
        var architecture: String?
        var os: String?
    }

    private static func broken(_ what: String) -> SourceFailure {
        SourceFailure("image", "is neither a docker-archive nor an OCI layout in a tar: \(what)")
    }

    /// `docker save` writes a repeated layer as a link to the first.
    private static func resolve(_ path: String, _ links: [String: String]) throws -> String {
        guard let target = links[path] else { return path }
        var parts = path.split(separator: "/").dropLast().map(String.init)
        for part in target.split(separator: "/") where part != "." {
            if part == ".." {
                guard parts.popLast() != nil else { throw broken("a link in it leads outside") }
            } else {
                parts.append(String(part))
            }
        }
        let resolved = parts.joined(separator: "/")
        guard links[resolved] == nil else { throw broken("a link in it leads to a link") }
        return resolved
    }

    private static func walk(_ file: File, _ body: (String, OpaquePointer, OpaquePointer) throws -> Void) throws {
        guard let reader = archive_read_new() else { throw FileFailure("read", file.path.string, .noMemory) }
        defer { archive_read_free(reader) }
        guard archive_read_support_format_tar(reader) == ARCHIVE_OK, archive_read_support_filter_gzip(reader) == ARCHIVE_OK,
            lseek(file.descriptor.rawValue, 0, SEEK_SET) == 0,
            archive_read_open_fd(reader, file.descriptor.rawValue, 1 << 20) == ARCHIVE_OK
        else { throw broken("it is no tar") }
        var entries = 0
        while true {
            var entry: OpaquePointer?
            let result = archive_read_next_header(reader, &entry)
            if result == ARCHIVE_EOF { return }
            guard result == ARCHIVE_OK, let entry, let name = archive_entry_pathname(entry) else { throw broken("it is damaged") }
            entries += 1
            guard entries <= maximumEntries else { throw broken("it has more than \(maximumEntries) entries") }
            var path = Substring(String(cString: name))
            if path.hasPrefix("./") { path = path.dropFirst(2) }
            try body(String(path), entry, reader)
        }
    }

    private static func bytes(of entry: OpaquePointer, from reader: OpaquePointer) throws -> [UInt8] {
        var out: [UInt8] = []
        try data(of: reader) { out += $0 }
        return out
    }

    private static func data(of reader: OpaquePointer, _ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        while true {
            var block: UnsafeRawPointer?
            var count = 0
            var offset: Int64 = 0
            let result = archive_read_data_block(reader, &block, &count, &offset)
            if result == ARCHIVE_EOF { return }
            guard result == ARCHIVE_OK else { throw broken("it is damaged") }
            try body(UnsafeRawBufferPointer(start: block, count: count))
        }
    }
}
