internal import CargoArtifact
public import CargoEndpoints
internal import CargoFiles
public import CargoRunner
public import CargoStore
public import SystemPackage

/// Runs any cargo to its end: by itself where it brings its program, else by one of this host's engines.
public struct EngineRunner: Sendable {
    let store: CargoStore
    let list: FilePath
    let recordsEngines: Bool
    /// Who answers for the models that a chain asks.
    let models: Models

    /// Where the models come from that a chain asks.
    public enum Models: Sendable {
        case none
        /// A house that runs already, such as the agent's.
        case served(any ModelService)
        /// The store's own under this policy, loaded for one run, in so many bytes of memory.
        case stored(VerificationPolicy, memory: Int64)
    }

    /// - Parameters:
    ///   - list: the owner's `engines.json`.
    ///   - recordsEngines: outcomes say which engine ran, and what it stood on, which is read and hashed for it.
    public init(store: CargoStore, list: FilePath, recordsEngines: Bool = false, models: Models = .none) {
        self.store = store
        self.list = list
        self.recordsEngines = recordsEngines
        self.models = models
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
        var outcome: RunOutcome
        if engine.manifest.dialect == nil {
            outcome = try await runner.run(request, onEvent: onEvent)
        } else {
            let batch = ModelBatch(request: request, engine: engine, runner: runner)
            outcome =
                config.models == nil
                ? try await batch.run(onEvent: onEvent)
                : try await withModels { try await batch.run(asking: $0, onEvent: onEvent) }
        }
        outcome.engine = record
        return outcome
    }

    /// A house of this run's own where none is there.
    private func withModels(_ body: @escaping @Sendable (any ModelService) async throws -> RunOutcome) async throws -> RunOutcome
    {
        switch models {
        case .none: throw Refusal("models", "the models that this cargo asks are not served here")
        case .served(let service): return try await body(service)
        case .stored(let policy, let memory):
            let house = EngineHouse(EngineHouse.Settings(store: store, list: list, memory: memory) { policy })
            return try await withThrowingTaskGroup(of: RunOutcome?.self) { group in
                group.addTask {
                    await house.run()
                    return nil
                }
                group.addTask { try await body(AskedModels(house: house, beside: nil)) }
                defer { group.cancelAll() }
                while let ended = try await group.next() {
                    if let ended { return ended }
                }
                throw CancellationError()
            }
        }
    }
}
