import CargoArchive
import CargoArtifact
import CargoFiles
import CargoSigning
import SystemPackage

@testable import CargoPacking
@testable import CargoStore

/// Writes tars as attackers do: every field is the caller's.
struct HostileTar {
    var bytes: [UInt8] = []

    /// `size` is what the header says; `rawSize` replaces its field byte for byte.
    mutating func add(
        _ name: String, type: Character = "0", content: [UInt8] = [], link: String = "", mode: Int = 0o644, size: Int? = nil,
        rawSize: [UInt8]? = nil
    ) {
        var header = [UInt8](repeating: 0, count: 512)
        func put(_ text: [UInt8], _ offset: Int) { header.replaceSubrange(offset..<offset + text.count, with: text) }
        func octal(_ value: Int, _ digits: Int) -> [UInt8] {
            let text = String(value, radix: 8)
            return Array((String(repeating: "0", count: digits - text.count) + text).utf8)
        }
        put(Array(name.utf8.prefix(100)), 0)
        put(octal(mode, 7), 100)
        put(octal(0, 7), 108)
        put(octal(0, 7), 116)
        put(octal(0, 7), 329)
        put(octal(0, 7), 337)
        put(rawSize ?? octal(size ?? content.count, 11), 124)
        put(octal(0, 11), 136)
        put(Array("        ".utf8), 148)
        header[156] = type.asciiValue ?? 48
        put(Array(link.utf8.prefix(100)), 157)
        put(Array("ustar".utf8), 257)
        put(Array("00".utf8), 263)
        put(octal(header.reduce(0) { $0 + Int($1) }, 6), 148)
        header[154] = 0
        bytes += header + content + [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
    }

    /// A pax header for the next entry.
    mutating func pax(_ key: String, _ value: String) {
        add("PaxHeaders/x", type: "x", content: TarRecord.bytes(key, value))
    }

    func ended() -> [UInt8] { bytes + [UInt8](repeating: 0, count: 1024) }

    /// As a gzipped layer.
    func gzipped(in folder: Folder) throws -> [UInt8] { try HostileTar.gzip(ended(), in: folder) }

    static func gzip(_ bytes: [UInt8], repeated: Int = 1, in folder: Folder) throws -> [UInt8] {
        let temporary = try folder.makeTemporary()
        defer { _ = try? folder.remove(temporary.name) }
        let stream = try GzipStream(temporary.file)
        for _ in 0..<repeated { try stream.write(bytes) }
        try stream.close()
        return try temporary.file.contents(limit: 1 << 30)
    }
}

enum TarRecord {
    static func bytes(_ key: String, _ value: String) -> [UInt8] {
        let rest = key.utf8.count + value.utf8.count + 3
        var length = rest + 1
        while String(length).utf8.count + rest != length { length = String(length).utf8.count + rest }
        return Array("\(length) \(key)=\(value)\n".utf8)
    }
}

/// What an extractor without our care does with the same bytes: joins names to its folder and follows what is there.
///
/// It is the control of each attack: where it writes outside, the attack is real.
enum NaiveExtractor {
    static func unpack(_ tar: [UInt8], into root: FilePath) {
        var offset = 0
        while offset + 512 <= tar.count, tar[offset] != 0 {
            func text(_ range: Range<Int>) -> String {
                String(decoding: tar[(offset + range.lowerBound)..<(offset + range.upperBound)].prefix { $0 != 0 }, as: UTF8.self)
            }
            let name = text(0..<100)
            let size = Int(text(124..<135), radix: 8) ?? 0
            let path = FilePath(name.hasPrefix("/") ? name : root.string + "/" + name)
            let link = text(157..<257)
            switch tar[offset + 156] {
            case UInt8(ascii: "2"):
                guard let parent = try? Folder.open(path.removingLastComponent()), let last = path.lastComponent else { break }
                try? parent.makeSymbolicLink(last.string, to: link)
            case UInt8(ascii: "1"):
                let target = FilePath(link.hasPrefix("/") ? link : root.string + "/" + link)
                guard let parent = try? Folder.open(path.removingLastComponent()), let last = path.lastComponent,
                    let from = try? Folder.open(target.removingLastComponent()), let source = target.lastComponent
                else { break }
                try? parent.makeHardLink(last.string, to: source.string, in: from)
            case UInt8(ascii: "5"): _ = try? Folder.open(path, create: 0o755)
            default:
                _ = try? Folder.open(path.removingLastComponent(), create: 0o755)
                if let last = path.lastComponent?.string, last.hasPrefix(".wh."),
                    let parent = try? Folder.open(path.removingLastComponent())
                {
                    _ = try? parent.remove(String(last.dropFirst(4)))
                    break
                }
                let content = Array(tar[(offset + 512)..<min(tar.count, offset + 512 + size)])
                try? File.open(path, .writeOnly, options: [.create, .truncate], permissions: 0o644).write(content)
            }
            offset += 512 + (size + 511) / 512 * 512
        }
    }
}

/// A cargo archive whose one layer is any bytes.
struct HostileCargo {
    var annotations: [String: String]? = ["dev.longshore.unpacked.bytes": "1048576", "dev.longshore.unpacked.entries": "100"]
    var name = "acme/hostile"
    var version = "1.0.0"
    var mediaType = MediaType.files

    func write(layer: [UInt8], to path: FilePath, keys: [SigningKey] = [], claims: ReleaseClaims? = nil) throws {
        var config = CargoConfig(name: name, version: version, kind: .process)
        config.command = ["/bin/true"]
        let configBytes = try CanonicalJSON.encode(config)
        let descriptor = Descriptor(
            mediaType: mediaType, digest: Digest(of: layer), size: Int64(layer.count), annotations: annotations)
        let manifest = ImageManifest(
            artifactType: MediaType.cargo,
            config: Descriptor(mediaType: MediaType.cargoConfig, digest: Digest(of: configBytes), size: Int64(configBytes.count)),
            layers: [descriptor])
        let bytes = try CanonicalJSON.encode(manifest)
        let root = Descriptor(mediaType: MediaType.imageManifest, digest: Digest(of: bytes), size: Int64(bytes.count))
        let own = claims ?? ReleaseClaims(name: name, version: version, counter: 1)
        let signatures = try keys.map { try SignatureArtifact(bundle: try $0.bundle(root: root.digest, claims: own), root: root) }
        try ArchiveWriter(
            root: root, rootBytes: bytes, content: .manifest(manifest), version: version, signatures: signatures
        ) { .bytes($0.digest == descriptor.digest ? layer : configBytes) }.write(to: path)
    }

    /// A container cargo with an image of these layers and no files of its own.
    func write(image layers: [[UInt8]], to path: FilePath) throws {
        var config = CargoConfig(name: name, version: version, kind: .container)
        config.command = ["/bin/true"]
        let digests = layers.map { JSONValue.string(Digest(of: $0).description) }
        var blobs: [Digest: [UInt8]] = [:]
        func blob(_ type: String, _ bytes: [UInt8], _ annotations: [String: String]? = nil) -> Descriptor {
            let digest = Digest(of: bytes)
            blobs[digest] = bytes
            return Descriptor(mediaType: type, digest: digest, size: Int64(bytes.count), annotations: annotations)
        }
        let imageConfig = CanonicalJSON.encode(
            .object(["rootfs": .object(["type": .string("layers"), "diff_ids": .array(digests)])]))
        let image = ImageManifest(
            artifactType: nil, config: blob(MediaType.imageConfig, imageConfig),
            layers: layers.map { blob(MediaType.files, $0, annotations) })
        let cargo = ImageManifest(
            artifactType: MediaType.cargo, config: blob(MediaType.cargoConfig, try CanonicalJSON.encode(config)), layers: [])
        var entries = [
            blob(MediaType.imageManifest, try CanonicalJSON.encode(image)),
            blob(MediaType.imageManifest, try CanonicalJSON.encode(cargo)),
        ]
        entries[0].platform = .init(architecture: "amd64", os: "linux")
        entries[1].platform = .unknown
        let index = ImageIndex(manifests: entries)
        let bytes = try CanonicalJSON.encode(index)
        let root = Descriptor(mediaType: MediaType.imageIndex, digest: Digest(of: bytes), size: Int64(bytes.count))
        let all = blobs
        try ArchiveWriter(
            root: root, rootBytes: bytes, content: .index(index, [image, cargo]), version: version, signatures: []
        ) { .bytes(all[$0.digest] ?? []) }.write(to: path)
    }
}
