/// What an engine cargo says about itself: how it is started, when it is ready, what it serves and what it may be asked.
///
/// Its `command` is a template. Words in braces stand for what the host fills in; any other name in braces is a path of the
/// host that its owner grants by that name (`cargo-run engines add --grant NAME=PATH`), so that a cargo never says where.
public struct EngineManifest: Hashable, Sendable, Codable {
    /// The HTTP that an engine speaks on its socket.
    public enum Dialect: String, Hashable, Sendable, Codable, CaseIterable {
        /// OpenAI's v1.
        case openai
        /// The same by llama.cpp's server, with switches of its own.
        case llamaCpp = "llama.cpp"
        /// The Open Inference Protocol (KServe V2).
        case openInference = "open-inference"
        case ollama
    }

    /// When a started engine counts as ready: the path answers 200 within the time.
    public struct Readiness: Hashable, Sendable, Codable {
        public var path: String
        /// From the start; nil: `EngineManifest.readyTime`.
        public var timeout: Seconds?

        public init(path: String, timeout: Seconds? = nil) {
            self.path = path
            self.timeout = timeout
        }
    }

    /// A model server that is there without us.
    public struct Server: Hashable, Sendable, Codable {
        /// `http://127.0.0.1:PORT[/v1]` or `unix:///PATH`: a proposal, which its owner takes over by adding the engine.
        public var url: String?
        /// What it serves, where it does not say so itself.
        public var models: [String]?

        public init(url: String? = nil, models: [String]? = nil) {
            self.url = url
            self.models = models
        }
    }

    /// Words of a template that the host fills in.
    public enum Word: String, Hashable, Sendable, CaseIterable {
        /// The model's file, or the WebAssembly module, of the cargo that is run.
        case model
        /// The path of the unix socket to listen on.
        case socket
        /// Tokens of context.
        case context
        /// Tokens of context of all requests at once together.
        case contextOfAll = "context-of-all"
        /// Requests at once.
        case slots
        /// Processor cores.
        case threads
        /// The path of the unix socket by which the models that the cargo names are asked.
        case models
        /// Layers that go to GPUs: all where GPUs are assigned, else none.
        case gpuLayers = "gpu-layers"
        /// The folder with the engine's own files.
        case engine
        /// The name of the cargo that is run.
        case name
        /// Alone in an element: the cargo's own arguments, one element each.
        case arguments
        /// Alone in an element: the job's environment, as `--env NAME=VALUE` each.
        case environment
        /// Alone in an element: `--embeddings` for a model that makes vectors of texts, else nothing.
        case embeddings
    }

    /// Seconds until an engine that says nothing must be ready.
    public static let readyTime = 120.0
    /// Seconds between two pieces of an answer where the manifest says nothing.
    public static let silenceTime = 300.0
    /// Requests at once where the manifest says nothing, and at most.
    public static let defaultSlots = 1
    public static let mostSlots = 256
    public static let mostFields = 64

    /// Nil: it serves nothing and runs each job to its end by itself.
    public var dialect: Dialect?
    /// Which cargos it runs.
    public var kinds: [CargoKind]
    /// Of model files (`gguf`, `onnx`, …); nil is any of these kinds.
    public var formats: [String]?
    /// It runs those cargos alone that ask for it by its name.
    public var byName: Bool?
    /// Where a server of this host listens that runs already; then nothing is started. See `EngineManifest.Server`.
    public var server: Server?
    /// What may be asked of its models, by the path below `/v1`, or `infer`.
    public var operations: [String]?
    /// Fields of a request that it takes beyond those that every engine takes, at most `mostFields`: scalars and lists of them.
    public var fields: [String]?
    public var ready: Readiness?
    /// Other templates, tried in order where a path that the one before needs was not granted.
    public var alternatives: [[String]]?
    /// Requests of one model at once.
    public var slots: Int?
    /// The longest gap between two pieces of an answer.
    public var silence: Seconds?
    /// Weights and requests are data to it and never code, so that one instance may serve several accounts where its
    /// owner trusts it.
    public var dataOnly: Bool?

    public init(dialect: Dialect? = nil, kinds: [CargoKind]) {
        self.dialect = dialect
        self.kinds = kinds
    }

    /// The names in braces of a template that are no words of ours: paths that the owner must grant.
    public static func grants(of template: [String]) -> Set<String> {
        Set(template.flatMap(names)).subtracting(Word.allCases.map(\.rawValue))
    }

    /// The names in braces of one element.
    public static func names(in element: String) -> [String] {
        var names: [String] = []
        var rest = element[...]
        while let open = rest.firstIndex(of: "{"), let close = rest[open...].firstIndex(of: "}") {
            let name = String(rest[rest.index(after: open)..<close])
            if isName(name) { names.append(name) }
            rest = rest[rest.index(after: close)...]
        }
        return names
    }

    /// Lower-case letters, digits and `-`, such as `llama-server`.
    public static func isName(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count)
            && text.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 45 }
    }

    enum CodingKeys: String, CodingKey {
        case dialect = "protocol"
        case kinds, formats, operations, fields, ready, alternatives, slots, silence, server
        case byName = "by-name"
        case dataOnly = "data-only"
    }
}
