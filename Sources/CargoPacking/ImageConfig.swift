internal import CargoArtifact

/// What packing must know of an image's config (OCI image specification, config.md).
struct ImageConfig {
    /// Digests of the layers' uncompressed tars.
    let diffIDs: [Digest]
    let platform: Descriptor.Platform

    private struct Document: Decodable {
        struct RootFS: Decodable {
            // swift-format-ignore: AlwaysUseLowerCamelCase
            var diff_ids: [Digest]
        }

        var rootfs: RootFS
        var architecture: String?
        var os: String?
    }

    init(_ bytes: [UInt8], layers: Int) throws {
        let read: Document = try StrictJSON.decode(from: bytes, limit: ImageArchive.maximumDocument)
        guard read.rootfs.diff_ids.count == layers else {
            throw ImageArchive.broken("layers and diff_ids differ in number")
        }
        diffIDs = read.rootfs.diff_ids
        platform = Descriptor.Platform(architecture: read.architecture ?? ImageConfig.architecture, os: read.os ?? "linux")
    }

    /// The config of a root file system that came without one: it says what it is made of and nothing about how to run it.
    static func bare(layer: Digest) -> [UInt8] {
        CanonicalJSON.encode(
            .object([
                "architecture": .string(architecture), "os": .string("linux"), "config": .object([:]),
                "rootfs": .object(["type": .string("layers"), "diff_ids": .array([.string(layer.description)])]),
            ]))
    }

    #if arch(arm64)
        static let architecture = "arm64"
    #else
        static let architecture = "amd64"
    #endif
}
