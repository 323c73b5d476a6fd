internal import AsyncHTTPClient
internal import CargoArchive
public import CargoArtifact
internal import CargoFiles
internal import NIOCore
public import SystemPackage

/// A container image as it lies on this host: blobs of an OCI image, verified by whoever put them there.
public struct BundledImage: Hashable, Sendable {
    /// A layer, as stored: a tar, gzipped where its media type says so.
    public struct Layer: Hashable, Sendable {
        public var descriptor: Descriptor
        public var path: FilePath

        public init(descriptor: Descriptor, path: FilePath) {
            self.descriptor = descriptor
            self.path = path
        }
    }

    /// Digest of the image manifest.
    public var manifest: Digest
    /// The image's config, whose digest is the image id of engines with a layer store.
    public var config: Descriptor
    public var configPath: FilePath
    /// The lowest first.
    public var layers: [Layer]

    public init(manifest: Digest, config: Descriptor, configPath: FilePath, layers: [Layer]) {
        self.manifest = manifest
        self.config = config
        self.configPath = configPath
        self.layers = layers
    }
}

/// A docker-archive made on its way: what `docker load` takes from every version on, while only the newest take OCI layouts.
///
/// `manifest.json`, the config and the layers, no tags (docs/rules.md 22): the image is found by its id alone. Nothing is
/// written to a disk in between; layers go as they are, and the engine unpacks and checks them against the config.
struct DockerArchive: Sendable {
    private struct Item: Encodable {
        var config: String
        var repoTags: [String]
        var layers: [String]
    }

    private enum Content: Sendable {
        case bytes([UInt8])
        case file(File, Int64)
    }

    /// Bytes of the whole archive, as far as its contents go; for progress.
    let size: Int64
    private let parts: [Content]

    /// Opens what it streams; call from `blocking`.
    init(_ image: BundledImage) throws {
        let configName = image.config.digest.hex + ".json"
        // One layer may stand in an image twice; a name may not stand twice in the archive.
        let names = image.layers.enumerated().map { "\($0.offset)-\($0.element.descriptor.digest.hex)/layer.tar" }
        let manifest = try EngineJSON.encode([Item(config: configName, repoTags: [], layers: names)])
        var parts: [Content] = []
        var offset: Int64 = 0
        func add(_ name: String, _ content: Content, _ count: Int64) {
            let header = TarHeader.bytes(name: name, size: count, at: offset)
            let padding = TarHeader.padding(after: count)
            parts += [.bytes(header), content, .bytes([UInt8](repeating: 0, count: padding))]
            offset += Int64(header.count) + count + Int64(padding)
        }
        func open(_ path: FilePath, _ descriptor: Descriptor) throws -> Content {
            let file = try File.open(path)
            guard try file.status().size == descriptor.size else {
                throw Refusal(
                    "digest-mismatch", "the stored blob \(descriptor.digest) was changed on disk; run `cargo-run cache verify`")
            }
            return .file(file, descriptor.size)
        }
        add("manifest.json", .bytes(manifest), Int64(manifest.count))
        add(configName, try open(image.configPath, image.config), image.config.size)
        for (name, layer) in zip(names, image.layers) {
            add(name, try open(layer.path, layer.descriptor), layer.descriptor.size)
        }
        parts.append(.bytes([UInt8](repeating: 0, count: TarHeader.trailer)))
        self.parts = parts
        size = offset + Int64(TarHeader.trailer)
    }

    /// Pieces of at most 1 MiB, read as they are asked for.
    var pieces: some AsyncSequence<ByteBuffer, any Error> & Sendable { Pieces(parts: parts) }

    private struct Pieces: AsyncSequence, Sendable {
        typealias Element = ByteBuffer
        let parts: [Content]

        func makeAsyncIterator() -> Iterator { Iterator(parts: parts) }

        struct Iterator: AsyncIteratorProtocol {
            let parts: [Content]
            var index = 0
            var offset: Int64 = 0

            mutating func next() async throws -> ByteBuffer? {
                while index < parts.count {
                    switch parts[index] {
                    case .bytes(let bytes):
                        index += 1
                        if !bytes.isEmpty { return ByteBuffer(bytes: bytes) }
                    case .file(let file, let size):
                        let count = Int(Swift.min(1 << 20, size - offset))
                        guard count > 0 else {
                            index += 1
                            offset = 0
                            continue
                        }
                        let position = offset
                        offset += Int64(count)
                        return ByteBuffer(bytes: try await blocking { try file.bytes(at: position, count: count) })
                    }
                }
                return nil
            }
        }
    }
}
