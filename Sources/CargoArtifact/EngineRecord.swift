/// Which engine ran a cargo's model or module, and what of its host it stood on: a part of a signed outcome (docs/rules.md 26).
public struct EngineRecord: Hashable, Sendable, Codable {
    /// A program or folder of the host that its owner granted to the engine.
    public struct Program: Hashable, Sendable, Codable {
        /// The name of the grant in the engine's template.
        public var name: String
        /// How it was built, or which packages of which version it is, where that can be told without running it.
        public var build: String?
        /// SHA-256 of the file; of a Python environment, of the list of its packages with the digests of their records.
        public var digest: String?

        public init(name: String, build: String? = nil, digest: String? = nil) {
            self.name = name
            self.build = build
            self.digest = digest
        }
    }

    /// `publisher/name` of the engine cargo.
    public var name: String
    public var version: String
    /// Its root manifest.
    public var digest: String
    /// The root manifest of the cargo whose model it ran.
    public var model: String
    /// By their names.
    public var programs: [Program]

    public init(name: String, version: String, digest: String, model: String, programs: [Program]) {
        self.name = name
        self.version = version
        self.digest = digest
        self.model = model
        self.programs = programs
    }
}
