internal import CargoArtifact
public import CargoRunner
public import CargoStore
public import SystemPackage

/// Runs any cargo to its end: by itself where it brings its program, else by one of this host's engines.
public struct EngineRunner: Sendable {
    let store: CargoStore
    let list: FilePath

    /// - Parameter list: the owner's `engines.json`.
    public init(store: CargoStore, list: FilePath) {
        self.store = store
        self.list = list
    }

    /// As `JobRunner.run`.
    public func run(
        _ request: RunRequest, onEvent: @escaping @Sendable (RunEvent) async -> Void
    ) async throws -> RunOutcome {
        let config = request.cargo.config
        let runner = JobRunner(store: store)
        switch config.kind {
        case .container: return try await runner.run(request, onEvent: onEvent)
        case .process where config.engine == nil: return try await runner.run(request, onEvent: onEvent)
        case .engine:
            throw Refusal("kind", "an engine runs other cargos' models; add it with 'cargo-run engines add' and run one of those")
        case .process, .gguf, .onnx, .wasm: break
        }
        let set = await EngineSet.load(store: store, list: list)
        let engine: ReadyEngine
        do {
            engine = try ReadyEngine.choose(set.ready, for: config)
        } catch {
            // One that is there and cannot be used says why.
            guard let refused = set.refused.first else { throw error }
            throw Refusal(
                "engine", "\((error as? Refusal)?.message ?? "\(error)"); \(refused.name) cannot be used: \(refused.reason)")
        }
        var request = request
        request.engine = try engine.use(for: config)
        request.gpus = engine.entry.gpus ?? request.gpus
        guard engine.manifest.dialect != nil else { return try await runner.run(request, onEvent: onEvent) }
        return try await ModelBatch(request: request, engine: engine, runner: runner).run(onEvent: onEvent)
    }
}
