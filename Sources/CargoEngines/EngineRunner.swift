internal import CargoArtifact
internal import CargoFiles
public import CargoRunner
public import CargoStore
public import SystemPackage

/// Runs any cargo to its end: by itself where it brings its program, else by one of this host's engines.
public struct EngineRunner: Sendable {
    let store: CargoStore
    let list: FilePath
    let recordsEngines: Bool

    /// - Parameters:
    ///   - list: the owner's `engines.json`.
    ///   - recordsEngines: outcomes say which engine ran, and what it stood on, which is read and hashed for it.
    public init(store: CargoStore, list: FilePath, recordsEngines: Bool = false) {
        self.store = store
        self.list = list
        self.recordsEngines = recordsEngines
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
        let cargo = request.cargo
        let record = try await blocking { [recordsEngines] in
            try ModelHeader.check(cargo)
            return recordsEngines ? engine.record(model: cargo.digest) : nil
        }
        var outcome =
            if engine.manifest.dialect == nil {
                try await runner.run(request, onEvent: onEvent)
            } else {
                try await ModelBatch(request: request, engine: engine, runner: runner).run(onEvent: onEvent)
            }
        outcome.engine = record
        return outcome
    }
}
