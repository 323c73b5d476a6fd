public import CargoArtifact
public import CargoSigning

/// What a cargo must show before it is stored for running.
public enum VerificationPolicy: Sendable {
    /// Digests only: one's own machine, `--unsigned`.
    case integrityOnly
    /// Digests, and signatures that this trust policy accepts for the cargo's name and version.
    case trusted(TrustPolicy)
    /// Digests only, and `refused` hears what the policy would have refused: one's own machine, `--unsigned`, while its
    /// owner finds out what a trust file in audit mode would stop. Never an agent's.
    case audited(TrustPolicy, refused: @Sendable (Refusal) -> Void)

    /// Checks signatures over `root`; what they claim, or nil when none were asked for.
    func verify(
        root: Digest, signatures: [SignatureArtifact], leastCounter: (String) -> Int64?
    ) throws -> VerifiedRelease? {
        switch self {
        case .integrityOnly: nil
        case .trusted(let policy): try policy.verify(root: root, signatures: signatures, leastCounter: leastCounter)
        case .audited(let policy, _):
            try audited { try policy.verify(root: root, signatures: signatures, leastCounter: leastCounter) }
        }
    }

    /// Checks that the release is the cargo with this config.
    func check(_ release: VerifiedRelease?, _ config: CargoConfig) throws -> VerifiedRelease? {
        try audited {
            try release?.check(config)
            return release
        }
    }

    private func audited(_ body: () throws -> VerifiedRelease?) throws -> VerifiedRelease? {
        guard case .audited(_, let refused) = self else { return try body() }
        do { return try body() } catch let refusal as Refusal {
            refused(refusal)
            return nil
        }
    }
}

extension VerifiedRelease {
    /// Refuses a cargo whose signature names another name or version than its own config.
    public func check(_ config: CargoConfig) throws {
        guard claims.name == config.name, claims.version == config.version else {
            throw Refusal(
                "signature-name",
                "the signature is for \(claims.name) \(claims.version), but the cargo calls itself \(config.name) \(config.version)"
            )
        }
    }
}

/// Where the parts of a cargo come from when it is not an archive on disk: a registry.
public protocol CargoOrigin: Sendable {
    /// The root manifest's bytes.
    func manifest() async throws -> [UInt8]
    /// The manifests of signatures and delegations whose `subject` is the root manifest, as bytes.
    func signatureManifests(of root: Digest) async throws -> [[UInt8]]
    /// The bytes of one blob in order; `sink` is called with bounded pieces and may throw to stop.
    func blob(_ descriptor: Descriptor, into sink: (UnsafeRawBufferPointer) throws -> Void) async throws
    /// Brings one blob into the store by itself, its whole content checked, and returns true; false leaves it to `blob`.
    ///
    /// For origins that can do better than bytes in order: in parallel, resumed, joined by all who want the same.
    func fetch(_ descriptor: Descriptor, chunks: ChunkSums?, into store: BlobStore) async throws -> Bool
}

extension CargoOrigin {
    public func fetch(_ descriptor: Descriptor, chunks: ChunkSums?, into store: BlobStore) async throws -> Bool { false }
}
