internal import CargoArtifact
internal import CargoFiles
internal import SystemPackage

/// The image that a cargo brings along: what `image: {bundled: PATH}` names.
///
/// PATH is a tar as `docker save` writes it, an OCI layout as tar or folder, or a root file system as tar (`docker export`,
/// `tar -C root -c .`) or folder (`debootstrap`), which becomes an image of one layer.
struct CarriedImage {
    /// Kept byte for byte where there was one, so that the image keeps its identity.
    let config: [UInt8]
    let platform: Descriptor.Platform
    /// Gzipped tars, the lowest first.
    private(set) var layers: [File] = []

    /// `make` gives an empty file without a name.
    init(_ path: String, in folder: Folder, make: () throws -> File) throws {
        guard let status = try? folder.status(path) else { throw SourceFailure(path, "is not there") }
        switch status.kind {
        case .folder:
            let inner = try folder.folder(path)
            if try inner.status("oci-layout") != nil {
                try self.init(layout: inner, make: make)
            } else {
                let layer = try make()
                self.init(root: try RootTree.write(inner, to: layer), layer)
            }
        case .regular:
            let file = try folder.open(path)
            if let image = try ImageArchive(file) {
                try self.init(image, make: make)
            } else {
                let layer = try make()
                let intake = LayerIntake(layer)
                try file.read(from: 0, count: status.size) { try intake.take($0) }
                self.init(root: try intake.close(), layer)
            }
        case .symbolicLink, .other: throw SourceFailure(path, "is no file and no folder")
        }
    }

    private init(root digest: Digest, _ layer: File) {
        config = ImageConfig.bare(layer: digest)
        platform = Descriptor.Platform(architecture: ImageConfig.architecture, os: "linux")
        layers = [layer]
    }

    private init(_ image: ImageArchive, make: () throws -> File) throws {
        config = image.config
        platform = image.platform
        var files = [File?](repeating: nil, count: image.layers.count)
        try image.writeLayers { position in
            let file = try make()
            files[position] = file
            return file
        }
        for (position, name) in image.layers.enumerated() {
            // A layer that stands twice is in the archive once.
            guard let file = files[position] ?? image.layers.firstIndex(of: name).flatMap({ files[$0] }) else {
                throw ImageArchive.broken("the layer '\(name)' is missing")
            }
            layers.append(file)
        }
    }

    private init(layout folder: Folder, make: () throws -> File) throws {
        func open(_ digest: Digest) throws -> File {
            do { return try folder.open("blobs/sha256/" + digest.hex) } catch is FileFailure {
                throw ImageArchive.broken("the blob \(digest) is missing")
            }
        }
        let limit = ImageArchive.maximumDocument
        let image = try ImageArchive.image(index: try folder.open("index.json").contents(limit: limit)) {
            try open($0).contents(limit: limit)
        }
        let read = try ImageConfig(image.config, layers: image.layers.count)
        config = image.config
        platform = read.platform
        for (digest, plain) in zip(image.layers, read.diffIDs) {
            let layer = try make()
            let source = try open(digest)
            let intake = LayerIntake(layer)
            try source.read(from: 0, count: try source.status().size) { try intake.take($0) }
            try intake.close(expecting: plain)
            layers.append(layer)
        }
    }
}
