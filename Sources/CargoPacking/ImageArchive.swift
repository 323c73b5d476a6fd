internal import CArchive
internal import CargoArtifact
internal import CargoFiles
internal import Glibc
internal import SystemPackage

/// A container image in a tar as `docker save` writes it, or a tar of an OCI image layout.
///
/// The image's config is kept byte for byte, so the image keeps its identity; names and tags are left behind.
struct ImageArchive {
    /// Most bytes of a JSON document in it, of all that are kept while it is read, and most entries.
    static let maximumDocument = 4 << 20
    private static let maximumDocuments = 64 << 20
    private static let maximumEntries = 2_000_000

    let file: File
    /// The image's config.
    let config: [UInt8]
    /// Paths of the layers in the tar, in order.
    let layers: [String]

    /// Nil for a tar that holds no image at all: then it may be a root file system.
    init?(_ file: File) throws {
        self.file = file
        var documents: [String: [UInt8]] = [:]
        var kept = 0
        var links: [String: String] = [:]
        try ImageArchive.walk(file) { name, entry, reader in
            if let target = archive_entry_hardlink(entry) ?? archive_entry_symlink(entry) {
                if name.hasSuffix("/layer.tar") || name.hasPrefix("blobs/") { links[name] = String(cString: target) }
            } else if name.hasSuffix(".json") || name.hasPrefix("blobs/sha256/"),
                archive_entry_filetype(entry) == mode_t(0o100000), archive_entry_size(entry) <= ImageArchive.maximumDocument,
                kept < ImageArchive.maximumDocuments
            {
                let bytes = try ImageArchive.bytes(of: entry, from: reader)
                kept += bytes.count
                documents[name] = bytes
            }
        }
        guard documents["manifest.json"] != nil || documents["index.json"] != nil else { return nil }
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
            let image = try ImageArchive.image(index: try document("index.json")) {
                try document("blobs/sha256/" + $0.hex)
            }
            config = image.config
            layers = image.layers.map { "blobs/sha256/" + $0.hex }
        }
        let read = try ImageConfig(config, layers: layers.count)
        diffIDs = read.diffIDs
        platform = read.platform
    }

    /// The config and the layers of the one image for this machine in an OCI layout.
    ///
    /// Builders nest an index in `index.json` and lay attestations of no platform beside the image.
    static func image(index bytes: [UInt8], blob: (Digest) throws -> [UInt8]) throws -> (config: [UInt8], layers: [Digest]) {
        var document: LayoutDocument = try StrictJSON.decode(from: bytes, limit: maximumDocument)
        // index.json, an index in it, the manifest.
        for _ in 0..<3 {
            if let config = document.config, let layers = document.layers {
                return (try blob(config.digest), layers.map(\.digest))
            }
            var images = (document.manifests ?? []).filter { $0.platform?.os != "unknown" }
            if images.count > 1 { images.removeAll { $0.platform?.architecture != ImageConfig.architecture } }
            guard images.count == 1, let image = images.first else {
                throw broken("it holds \(images.count) images for \(ImageConfig.architecture); save exactly one")
            }
            document = try StrictJSON.decode(from: try blob(image.digest), limit: maximumDocument)
        }
        throw broken("its indexes are nested too deep")
    }

    /// An index or a manifest, of which many writers leave fields out that the specification wants.
    private struct LayoutDocument: Decodable {
        struct Entry: Decodable {
            var digest: Digest
            var platform: Descriptor.Platform?
        }

        var manifests: [Entry]?
        var config: Entry?
        var layers: [Entry]?
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
            let intake = LayerIntake(target)
            try ImageArchive.data(of: reader) { try intake.take($0) }
            try intake.close(expecting: diffIDs[position])
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

    static func broken(_ what: String) -> SourceFailure {
        SourceFailure("image", "cannot be read as an image: \(what)")
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
            guard result == ARCHIVE_OK || result == ARCHIVE_WARN, let entry else { throw broken("it is damaged") }
            entries += 1
            guard entries <= maximumEntries else { throw broken("it has more than \(maximumEntries) entries") }
            // A name that this locale cannot say is no name of an image's part.
            guard let name = archive_entry_pathname(entry) else { continue }
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
