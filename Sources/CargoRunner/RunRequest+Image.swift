public import CargoArtifact
internal import CargoStore
public import SystemPackage

extension RunRequest {
    /// A job by image, without a cargo: the request stands for a cargo of kind `container` that only names the image.
    ///
    /// `command` replaces the image's entrypoint and command. `environment` may hold any name but the reserved ones.
    public init(
        image: ImageReference, command: [String]?, environment: [String: String], jobID: String, output: FilePath
    ) {
        let name = image.description
        let config = CargoConfig(
            name: "image/" + (image.repository.split(separator: "/").last.map(String.init) ?? "image"), version: "0.0.0",
            kind: .container,
            command: command, jobEnv: environment.keys.sorted(), image: name)
        let bytes = Array(name.utf8)
        let manifest = ImageManifest(
            artifactType: nil,
            config: Descriptor(mediaType: MediaType.cargoConfig, digest: Digest(of: bytes), size: Int64(bytes.count)), layers: [])
        self.init(
            cargo: StoredCargo(digest: Digest(of: bytes), manifest: manifest, config: config, parts: []), jobID: jobID,
            output: output)
        self.environment = environment
        backend = .docker
    }

    /// Whether a container is what runs it.
    var runsInContainer: Bool {
        switch backend {
        case .docker: true
        case .sandbox: false
        case .auto: cargo.config.kind == .container
        }
    }
}
