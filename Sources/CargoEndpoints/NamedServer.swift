public import CargoWire

/// A model server of this machine as its owner describes it: where it is, what it speaks and, where it does not say so itself,
/// what it has.
public struct NamedServer: Hashable, Sendable {
    /// What a server speaks, as its owner says.
    public enum Language: Hashable, Sendable {
        case speaks(Dialect)
        /// The Open Inference Protocol (KServe V2), which has no list of models.
        case openInference
    }

    /// The owner's name for it.
    public var name: String
    public var address: EndpointAddress
    public var language: Language
    /// Nil: those that it lists.
    public var models: [String]?
    /// Nil: what its protocol says or its models' names suggest.
    public var operations: [ModelRequest.Operation]?
    /// Fields of a request that it takes beyond the usual ones.
    public var fields: [String] = []
    /// Requests of one model at once.
    public var slots: Int?
    /// The longest gap between two pieces of an answer.
    public var silence: Duration?

    public init(name: String, address: EndpointAddress, language: Language) {
        self.name = name
        self.address = address
        self.language = language
    }

    /// The names of its models now. Throws `ModelFailure` when it does not answer as described.
    @concurrent public func check(within patience: Duration = .seconds(5)) async throws -> [String] {
        let probe = ServerProbe(dial: address.dial, basePath: address.basePath ?? "/v1", patience: patience)
        guard let found = try await look(probe) else {
            throw ModelFailure(.badAnswer, message: "What listens at \(address) does not answer as \(title).")
        }
        return found.models.map(\.id)
    }

    private var title: String {
        switch language {
        case .speaks(let dialect): dialect.rawValue
        case .openInference: "open-inference"
        }
    }

    /// Nil: it does not speak what its owner says. Throws `ModelFailure` when it does not answer at all.
    func look(_ probe: ServerProbe, shown: [String: ServerListing.OllamaShow] = [:]) async throws -> ServerProbe.Finding? {
        var finding: ServerProbe.Finding
        switch language {
        case .openInference:
            guard try await probe.answers("/v2/health/ready") else { return nil }
            finding = ServerProbe.Finding(dialect: .openAI, models: [])
        case .speaks(let dialect):
            guard let found = try await probe.look(dialect, shown: shown) else { return nil }
            finding = found
        }
        if let models {
            let listed = Dictionary(finding.models.map { ($0.name, $0) }) { first, _ in first }
            finding.models = models.prefix(FoundModel.maximum).map { name in
                listed[name]
                    ?? FoundModel(
                        id: name, operations: language == .openInference ? [.infer] : FoundModel.guess(name), slots: slots ?? 4)
            }
        }
        for index in finding.models.indices {
            if let operations { finding.models[index].operations = operations }
            if let slots { finding.models[index].slots = slots }
        }
        return finding
    }
}
