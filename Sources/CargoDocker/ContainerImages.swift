internal import AsyncHTTPClient
public import CargoArtifact
internal import CargoFiles
internal import NIOCore

/// What image a container is made of.
public enum ContainerImage: Hashable, Sendable {
    /// Carried by a cargo: needs no registry.
    case bundled(BundledImage)
    /// Named: on this host already, or to be pulled.
    case named(ImageReference)
}

/// An image that is ready on this host.
struct ReadyImage: Hashable, Sendable {
    var id: String
    /// In its registry, where it came from one.
    var digest: String?
    var wishes: ImageWishes
}

/// Brings images to the engine and keeps them within a budget.
public struct ContainerImages: Sendable {
    /// Whose word stands behind a named image.
    public enum Trust: Hashable, Sendable {
        /// The person who runs it here, on their own host: anything they can pull or have.
        case owner
        /// A stranger: what the owner's policy allows, by anonymous pulls.
        case stranger(ImagePolicy)
    }

    let engine: Engine
    let index: ImageCacheIndex
    let trust: Trust
    let credentials: RegistryCredentials
    /// Bytes of images that this agent brought.
    let budget: Int64

    /// `credentials` are used for the owner's own runs alone, whatever is given here.
    public init(
        engine: Engine, index: ImageCacheIndex, trust: Trust, credentials: RegistryCredentials = .anonymous,
        budget: Int64 = 64 << 30
    ) {
        self.engine = engine
        self.index = index
        self.trust = trust
        self.credentials = trust == .owner ? credentials : .anonymous
        self.budget = budget
    }

    /// Fetches an image ahead of its first job; returns its id.
    public func prefetch(_ image: ContainerImage, onProgress: @Sendable (PullProgress) async -> Void) async throws -> String {
        try await ready(image, onProgress: onProgress).id
    }

    /// References and digests that jobs may name and that need no pull, most recently used first; at most 256.
    public func held() async throws -> [String] {
        var names: [String] = []
        for entry in try await index.entries() where !entry.name.hasPrefix("bundle@") {
            names.append(entry.name)
            if let digest = entry.digest { names.append(digest) }
        }
        return Array(names.prefix(256))
    }

    /// Removes what is beyond the budget and used by no container; returns the ids.
    @discardableResult
    public func evict(holding held: Set<String> = []) async throws -> [String] {
        let candidates = ImageCacheIndex.evicted(try await index.entries(), budget: budget, held: held)
        var removed: Set<String> = []
        for entry in candidates where !removed.contains(entry.id) {
            if try await engine.removeImage(entry.id) { removed.insert(entry.id) }
        }
        let gone = removed
        if !gone.isEmpty { try await index.update { $0.removeAll { gone.contains($0.id) } } }
        return gone.sorted()
    }

    func ready(_ image: ContainerImage, onProgress: @Sendable (PullProgress) async -> Void) async throws -> ReadyImage {
        switch image {
        case .bundled(let bundle): try await load(bundle, onProgress: onProgress)
        case .named(let reference): try await find(reference, onProgress: onProgress)
        }
    }

    private func load(_ bundle: BundledImage, onProgress: @Sendable (PullProgress) async -> Void) async throws -> ReadyImage {
        let name = "bundle@\(bundle.manifest)"
        // Engines with a layer store name an image by its config's digest; others tell at the load.
        let known = try await index.entries().first { $0.name == name }?.id
        for id in [known, bundle.config.digest.description] {
            if let id, let image = try await engine.image(id) {
                return try await used(image, name: name, digest: nil, isOurs: true)
            }
        }
        let archive = try await blocking { try DockerArchive(bundle) }
        await onProgress(PullProgress(phase: "loading", current: 0, total: archive.size))
        let operation = "load the image \(bundle.manifest)"
        let body = HTTPClientRequest.Body.stream(archive.pieces, length: .known(archive.size))
        let loaded = try await engine.load(body, operation: operation, onProgress: onProgress)
        for id in [bundle.config.digest.description] + loaded {
            if let image = try await engine.image(id) {
                await onProgress(PullProgress(phase: "loading", current: archive.size, total: archive.size))
                return try await used(image, name: name, digest: nil, isOurs: true)
            }
        }
        throw EngineError(.imageRefused, operation, "the engine took it but does not have it; look at the engine's log")
    }

    private func find(_ reference: ImageReference, onProgress: @Sendable (PullProgress) async -> Void) async throws -> ReadyImage
    {
        let name = reference.description
        // Podman writes short names out, Docker does not: both find the whole name.
        let present = try await engine.image(spelled(reference))
        if let present, try await mayUse(present, reference) {
            return try await used(present, name: name, digest: digest(present, reference), isOurs: false)
        }
        let isAllowed =
            switch trust {
            case .owner: true
            case .stranger(let policy): policy.allowsPull(reference)
            }
        guard isAllowed else {
            throw EngineError(
                .imageRefused, "use the image \(reference)",
                "the owner of this host allows no image of that name; use a cargo, or a name that the host allows")
        }
        try await engine.pull(reference, credentials: credentials, onProgress: onProgress)
        guard let image = try await engine.image(spelled(reference)) else {
            throw EngineError(.imageNotFound, "pull \(reference)", "the engine pulled it but does not have it")
        }
        let found = digest(image, reference)
        if let wanted = reference.digest, found != wanted.description {
            throw EngineError(.imageRefused, "pull \(reference)", "the registry gave another image than the digest names")
        }
        // What came with the owner's own login is the owner's: an index entry would offer it to strangers.
        let isPublic = credentials.header(registry: reference.registry) == nil
        return try await used(image, name: name, digest: found, isOurs: isPublic && (present == nil || trust != .owner))
    }

    /// What is on the host is the owner's; a stranger gets of it what came by an anonymous pull or what the policy names.
    private func mayUse(_ image: EngineImage, _ reference: ImageReference) async throws -> Bool {
        switch trust {
        case .owner: return true
        case .stranger(let policy):
            if policy.allowsLocal(reference) { return true }
            guard policy.allowsPull(reference) else { return false }
            return try await index.entries().contains { $0.id == image.id && $0.name == reference.description }
        }
    }

    private func used(_ image: EngineImage, name: String, digest: String?, isOurs: Bool) async throws -> ReadyImage {
        if let os = image.os, !os.isEmpty, os != "linux" {
            throw EngineError(.imageRefused, "use the image \(name)", "it is made for \(os), not for linux")
        }
        // Only what this agent brought is its to remove: an image that the owner has stays out of the index.
        try await index.use(id: image.id, name: name, digest: digest, size: image.size ?? 0, adding: isOurs)
        let config = image.config
        return ReadyImage(
            id: image.id, digest: digest,
            wishes: ImageWishes(
                user: config?.user, environment: config?.env ?? [], command: (config?.entrypoint ?? []) + (config?.cmd ?? []),
                workingFolder: config?.workingDir, volumes: (config?.volumes ?? [:]).keys.sorted()))
    }

    private func spelled(_ reference: ImageReference) -> String {
        if let digest = reference.digest { return "\(reference.name)@\(digest)" }
        return "\(reference.name):\(reference.tag ?? "latest")"
    }

    private func digest(_ image: EngineImage, _ reference: ImageReference) -> String? {
        let digests = (image.repoDigests ?? []).compactMap { entry -> String? in
            guard let parsed = ImageReference(entry), parsed.name == reference.name else { return nil }
            return parsed.digest?.description
        }
        if let wanted = reference.digest?.description, digests.contains(wanted) { return wanted }
        return digests.first
    }
}
