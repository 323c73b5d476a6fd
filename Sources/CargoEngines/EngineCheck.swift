internal import CargoArtifact
internal import CargoEndpoints
internal import CargoFiles
internal import CargoRunner
public import CargoStore
internal import CargoWire
internal import Glibc
internal import Synchronization
public import SystemPackage

/// Tries each engine of this host for real: started confined, with the smallest model in the store that it takes, and asked.
public struct EngineCheck: Sendable {
    public struct Finding: Hashable, Sendable {
        public var engine: String
        public var works: Bool
        public var message: String
    }

    let store: CargoStore
    let list: FilePath

    public init(store: CargoStore, list: FilePath) {
        self.store = store
        self.list = list
    }

    /// One finding for each engine, in the order of the list.
    @concurrent public func run() async -> [Finding] {
        let set = await EngineSet.load(store: store, list: list)
        var findings = set.refused.map { Finding(engine: $0.name, works: false, message: $0.reason) }
        for server in set.servers { findings.append(await check(server)) }
        let configs = (try? await blocking { [store] in try store.configs() }) ?? []
        for engine in set.ready {
            let models = configs.filter { engine.runs($0.config) && $0.config.kind != .process }
            let smallest = models.min { EngineCheck.size($0.config) < EngineCheck.size($1.config) }
            guard let smallest else {
                let kinds = engine.manifest.kinds.map(\.rawValue).joined(separator: " or ")
                findings.append(
                    .init(engine: engine.entry.name, works: true, message: "granted; no \(kinds) cargo is stored to try it with"))
                continue
            }
            findings.append(await check(engine, smallest.digest, smallest.config))
        }
        return findings
    }

    private func check(_ engine: ServerEngine) async -> Finding {
        do {
            let models = try await engine.server.check()
            return Finding(
                engine: engine.entry.name, works: true,
                message: "\(engine.server.address) answers, with \(models.count == 1 ? "1 model" : "\(models.count) models")")
        } catch {
            return Finding(
                engine: engine.entry.name, works: false, message: (error as? ModelFailure)?.message ?? "\(error)")
        }
    }

    private static func size(_ config: CargoConfig) -> UInt64 { config.serving?.facts?.weightBytes ?? 0 }

    private func check(_ engine: ReadyEngine, _ digest: Digest, _ config: CargoConfig) async -> Finding {
        do {
            var request = RunRequest(
                cargo: try await store.cargo(digest, policy: .integrityOnly), jobID: "check",
                output: store.root.appending("work").appending("check"))
            request.engine = try engine.use(for: config)
            request.gpus = engine.entry.gpus ?? []
            request.grace = 2
            let begin = ContinuousClock.now
            guard engine.manifest.dialect != nil else {
                let outcome = try await JobRunner(store: store).run(request) { _ in }
                return Finding(
                    engine: engine.entry.name, works: outcome.exitCode == 0,
                    message: "\(config.name) ended with exit code \(outcome.exitCode ?? -1)")
            }
            let instance = EngineInstance(request, engine: engine, runner: JobRunner(store: store), isOneAccounts: true)
            let said = Mutex("")
            let failure = await instance.run(
                ready: {
                    said.withLock {
                        $0 = "\(config.name) was ready after \(Int((ContinuousClock.now - begin) / .milliseconds(1))) ms"
                    }
                    instance.stop()
                }, healthy: {}, isIdle: { true })
            let tail = instance.tail.split(separator: "\n").suffix(3).joined(separator: " | ")
            return Finding(
                engine: engine.entry.name, works: failure == nil,
                message: failure.map { "\($0) It said last: \(tail)" } ?? said.withLock { $0 })
        } catch {
            return Finding(engine: engine.entry.name, works: false, message: "\(error)")
        }
    }
}

extension EngineSet {
    /// An absolute path without links on the way, or nil where nothing is there.
    public static func absolute(_ path: String) -> String? {
        guard let real = realpath(path, nil) else { return nil }
        defer { free(real) }
        return String(cString: real)
    }
}
