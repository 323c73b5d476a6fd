internal import CargoArtifact
internal import CargoFiles
internal import CargoStore
internal import SystemPackage

/// The root file system that a cargo brings along: its image's layers, and what the image says about how it wants to run.
///
/// What an image says is a wish, and means the same as in a container: its command and folder hold where the cargo names
/// none, its environment is the weakest, its user is not taken, and the volumes that it declares are empty and bounded.
struct CarriedRoot: Sendable {
    /// As a container's, because images keep programs in /sbin too.
    static let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    /// Most layers that one overlay takes here, and most volumes.
    private static let maximumLayers = 100
    private static let maximumVolumes = 32

    /// The lowest first.
    var layers: [FilePath] = []
    var environment: [String: String] = [:]
    var command: [String] = []
    var workingFolder = "/"
    /// Absolute paths of folders that are writable.
    var volumes: [String] = []

    /// Unpacks the layers where that was not done yet. Blocks.
    init(_ cargo: StoredCargo, in store: CargoStore) throws {
        guard let image = cargo.image else {
            throw Refusal("image", "the cargo brings no image; pack it with image: {bundled: image.tar}")
        }
        let config = try File.contents(of: image.config, limit: CargoLayout.maximumDocument)
        guard Digest(of: config) == image.manifest.config.digest else {
            throw Refusal("digest-mismatch", "the stored image config was changed on disk; run `cargo-run cache verify`")
        }
        try self.init(config: config)
        layers = try store.unpackImage(of: cargo)
        guard !layers.isEmpty, layers.count <= CarriedRoot.maximumLayers else {
            throw Refusal(
                "image-layers",
                "the image has \(layers.count) layers; a root file system here is made of 1 to \(CarriedRoot.maximumLayers)")
        }
    }

    /// Reads an image's config (OCI image specification, config.md).
    init(config bytes: [UInt8]) throws {
        let document: Document = try StrictJSON.decode(from: bytes, limit: CargoLayout.maximumDocument)
        guard let wishes = document.config else { return }
        for entry in wishes.env ?? [] {
            guard let equals = entry.firstIndex(of: "=") else { continue }
            let name = String(entry[..<equals])
            if JobEnvironment.isReserved(name) || ["HOME", "TMPDIR"].contains(name) { continue }
            environment[name] = String(entry[entry.index(after: equals)...])
        }
        command = (wishes.entrypoint ?? []) + (wishes.command ?? [])
        if let folder = wishes.workingFolder, folder.hasPrefix("/") { workingFolder = folder }
        for volume in (wishes.volumes ?? [:]).keys.sorted() { volumes.append(try CarriedRoot.volume(volume)) }
        volumes.removeAll { $0 == "/tmp" }
        guard volumes.count <= CarriedRoot.maximumVolumes else {
            throw Refusal("image-volumes", "the image declares more than \(CarriedRoot.maximumVolumes) volumes")
        }
    }

    private static func volume(_ text: String) throws -> String {
        let taken = ["/proc", "/sys", "/dev", "/job", "/cargo"]
        guard text.hasPrefix("/"), let path = try? "/" + SafePath(text.drop { $0 == "/" }).text,
            !taken.contains(where: { path == $0 || path.hasPrefix($0 + "/") })
        else {
            throw Refusal("image-volumes", "the image declares the volume '\(text.prefix(200))', which no job may have")
        }
        return path
    }

    private struct Document: Decodable {
        struct Wishes: Decodable {
            struct Nothing: Decodable {}

            var env: [String]?
            var entrypoint: [String]?
            var command: [String]?
            var workingFolder: String?
            var volumes: [String: Nothing]?

            enum CodingKeys: String, CodingKey {
                case env = "Env"
                case entrypoint = "Entrypoint"
                case command = "Cmd"
                case workingFolder = "WorkingDir"
                case volumes = "Volumes"
            }
        }

        var config: Wishes?
    }
}

extension RunRequest {
    /// Where this host runs it: `auto` means a container for cargos of that kind, and our sandbox where no engine answers and
    /// the cargo brings its image.
    func chosenBackend() async -> RunBackend {
        guard backend == .auto else { return backend }
        guard runsInContainer else { return .sandbox }
        guard cargo.image != nil else { return .docker }
        guard let containers, await containers.isAvailable() else { return .sandbox }
        return .docker
    }
}
