internal import CargoArtifact
public import CargoEndpoints
public import CargoStore
internal import CargoWire

/// An engine that is a server of this host already: where it is, its owner said when they added it.
public struct ServerEngine: Sendable {
    public let entry: EngineList.Entry
    public let server: NamedServer

    /// Throws `Refusal` where it does not say what is needed, or lies on another machine.
    public init(_ entry: EngineList.Entry, cargo: StoredCargo) throws {
        guard let manifest = cargo.config.engineManifest, let told = manifest.server, let dialect = manifest.dialect else {
            throw Refusal("engine", "\(cargo.config.name) is no server that runs already")
        }
        guard let url = entry.url else {
            let example = told.url ?? "http://127.0.0.1:8000"
            throw Refusal("url", "where \(entry.name) listens is its owner's to say; add it with --url \(example)")
        }
        let address: EndpointAddress
        do { address = try EndpointAddress(url) } catch { throw Refusal("url", "\(error)") }
        guard address.isLocal else {
            throw Refusal(
                "url",
                "\(url) is not on this machine; an engine is a server of the loopback or a unix socket, others are for 'cargo-run agent --endpoint'"
            )
        }
        let language: NamedServer.Language =
            switch dialect {
            case .openai: .speaks(.openAI)
            case .llamaCpp: .speaks(.llamaCpp)
            case .ollama: .speaks(.ollama)
            case .openInference: .openInference
            }
        var server = NamedServer(name: entry.name, address: address, language: language)
        server.models = told.models
        server.operations = manifest.operations.map { $0.compactMap { ModelRequest.Operation(rawValue: $0) } }
        server.fields = manifest.fields ?? []
        server.slots = entry.slots ?? manifest.slots
        server.silence = manifest.silence.map { .seconds($0.value) }
        self.entry = entry
        self.server = server
    }
}
