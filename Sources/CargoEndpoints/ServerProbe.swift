internal import CargoArtifact
internal import CargoWire

/// Finds out what a server is and which models it has, by its own endpoints.
struct ServerProbe: Sendable {
    let dial: Dial
    /// What stands before OpenAI's paths.
    let basePath: String
    /// For each question.
    let patience: Duration

    /// Bytes of one answer.
    private static let limit = 4 << 20

    /// What a server said.
    struct Finding: Sendable {
        var dialect: Dialect
        var models: [FoundModel]
        /// Ollama's answers about single models, by digest, so that each is asked about once.
        var shown: [String: ServerListing.OllamaShow] = [:]
    }

    private var server: ModelServer { ModelServer(dial, basePath: basePath) }

    private func get<Answer: Decodable>(_ path: String, as type: Answer.Type) async throws -> Answer? {
        let answer = try await server.get(path, limit: ServerProbe.limit, within: patience)
        // llama-server's word while it loads its model: who is not ready is no stranger yet.
        if answer.status == 503 { throw ModelFailure(.overloaded, message: "The server is not ready.") }
        return answer.status == 200 ? ServerListing.decode(type, answer.body) : nil
    }

    /// Whether a path answers 200.
    func answers(_ path: String) async throws -> Bool {
        try await server.get(path, limit: ServerProbe.limit, within: patience).status == 200
    }

    /// Nil: it speaks HTTP, but is no model server. Throws `ModelFailure` when it does not answer at all, or is not ready.
    func recognise() async throws -> Finding? {
        let list = try await get(basePath + "/models", as: ServerListing.OpenAI.self)
        if let dialect = list?.dialect { return try await look(dialect) }
        // Other servers answer under Ollama's paths too, but none of them claims to have its version.
        if try await get("/api/version", as: ServerListing.OllamaVersion.self) != nil, let found = try await look(.ollama) {
            return found
        }
        if let found = try await look(.lmStudio) { return found }
        return list.map { Finding(dialect: .openAI, models: $0.found(.openAI, slots: 4)) }
    }

    /// The models of a server that is known to speak `dialect`; nil when it does not any more.
    func look(_ dialect: Dialect, shown: [String: ServerListing.OllamaShow] = [:]) async throws -> Finding? {
        switch dialect {
        case .openAI, .vLLM, .llamaCpp:
            guard let list = try await get(basePath + "/models", as: ServerListing.OpenAI.self) else { return nil }
            let slots = dialect == .vLLM ? 16 : dialect == .llamaCpp ? try await llamaSlots() : 4
            return Finding(dialect: dialect, models: list.found(dialect, slots: slots))
        case .lmStudio:
            guard let list = try await get("/api/v0/models", as: ServerListing.LMStudio.self), list.isLMStudios else {
                return nil
            }
            return Finding(dialect: .lmStudio, models: list.found)
        case .ollama:
            guard let tags = try await get("/api/tags", as: ServerListing.Ollama.self) else { return nil }
            let running = try await get("/api/ps", as: ServerListing.Ollama.self)
            var known = shown
            // A few at a time: a list of hundreds is known after some looks.
            for model in tags.models.prefix(FoundModel.maximum) where model.digest.map({ known[$0] == nil }) ?? false {
                guard known.count < shown.count + 16, let digest = model.digest else { break }
                let body = try encode(JSONValue.object(["model": .string(model.name)]))
                let answer = try await server.post("/api/show", body: body, limit: ServerProbe.limit, within: patience)
                known[digest] =
                    (answer.status == 200 ? ServerListing.decode(ServerListing.OllamaShow.self, answer.body) : nil)
                    ?? ServerListing.OllamaShow()
            }
            let digests = Set(tags.models.compactMap(\.digest))
            known = known.filter { digests.contains($0.key) }
            return Finding(dialect: .ollama, models: tags.found(running: running, shown: known), shown: known)
        }
    }

    private func llamaSlots() async throws -> Int {
        min(max(1, try await get("/props", as: ServerListing.Props.self)?.totalSlots ?? 1), 256)
    }
}
