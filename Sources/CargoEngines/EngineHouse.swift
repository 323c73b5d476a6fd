internal import CargoArtifact
public import CargoEndpoints
internal import CargoFiles
public import CargoRunner
public import CargoStore
public import CargoWire
internal import Glibc
internal import Synchronization
public import SystemPackage

/// The models of this host's store behind its engines: loaded when they are asked for, kept warm, and answered for.
///
/// Decides through `WarmPool`, and carries out what that says. `run` must be running: it is what engines live in.
public final class EngineHouse: ModelService {
    public struct Settings: Sendable {
        public var store: CargoStore
        /// The owner's `engines.json`.
        public var list: FilePath
        /// Which models may be served; asked at each load.
        public var policy: @Sendable () throws -> VerificationPolicy
        /// Bytes of memory for all models together, and of each GPU's memory.
        public var memory: Int64
        public var vram: [Int64] = []
        /// Seconds after its last request until an idle model goes; nil keeps it.
        public var idle: Double? = 900
        public var allowMissing: Set<String> = []
        /// Who answers for models that chains ask and that are not in the store: servers that were found.
        public var beside: (any ModelService)?
        /// Hears of every load, change and end of a model, for its owner.
        public var onChange: @Sendable (ModelChange) -> Void = { _ in }

        public init(
            store: CargoStore, list: FilePath, memory: Int64, policy: @escaping @Sendable () throws -> VerificationPolicy
        ) {
            self.store = store
            self.list = list
            self.memory = memory
            self.policy = policy
        }
    }

    /// What happened to a model in memory.
    public enum ModelChange: Hashable, Sendable {
        case loading(String)
        /// `seconds`: from its start.
        case ready(String, seconds: Double, memory: Int64?)
        case stopped(String)
        /// `tail`: what the engine said last.
        case failed(String, reason: String, tail: String)
    }

    struct Load {
        var book: ModelShelf.Book
        /// Whose requests it serves; empty where it serves several.
        var account: String
        var instance: EngineInstance?
        var since = ContinuousClock.now
    }

    struct State {
        var pool: WarmPool
        var tickets: [UInt64: CheckedContinuation<Int, any Error>] = [:]
        /// Of every key that the pool knows; others go when there are more than `EngineHouse.bookBound`.
        var books: [WarmPool.Key: ModelShelf.Book] = [:]
        var loads: [Int: Load] = [:]
        var next: UInt64 = 1
    }

    private static let bookBound = 1024

    private let settings: Settings
    private let shelf: ModelShelf
    private let runner: JobRunner
    let state: Mutex<State>
    private let starts: AsyncStream<Int>
    private let starting: AsyncStream<Int>.Continuation

    public init(_ settings: Settings) {
        self.settings = settings
        shelf = ModelShelf(store: settings.store, list: settings.list, policy: settings.policy)
        runner = JobRunner(store: settings.store)
        state = Mutex(
            State(pool: WarmPool(limits: .init(memory: settings.memory, vram: settings.vram, idle: settings.idle))))
        // Holds at most one number for each model that the pool has room for.
        (starts, starting) = AsyncStream.makeStream(of: Int.self, bufferingPolicy: .unbounded)
    }

    // MARK: The life of engines

    /// Runs engines until the task is cancelled, which stops them all.
    public func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask {
                while (try? await Task.sleep(for: .milliseconds(500))) != nil { self.step { $0.tick(now: $1) } }
            }
            for await number in starts {
                group.addTask { await self.live(number) }
            }
            group.cancelAll()
        }
    }

    private func live(_ number: Int) async {
        guard let load = state.withLock({ $0.loads[number] }) else { return }
        let name = load.book.config.name
        settings.onChange(.loading(name))
        let failure = await attempt(number, load)
        if let failure {
            let tail = state.withLock { $0.loads[number]?.instance }?.tail ?? ""
            settings.onChange(.failed(name, reason: failure, tail: tail))
        } else {
            settings.onChange(.stopped(name))
        }
        step { pool, now in pool.ended(number, failure: failure, now: now) }
        state.withLock { $0.loads[number] = nil }
    }

    /// Gives why it ended, or nil when it was stopped.
    private func attempt(_ number: Int, _ load: Load) async -> String? {
        let book = load.book
        let output = settings.store.root.appending("work").appending("none")
        let instance: EngineInstance
        do {
            var request = RunRequest(cargo: try await shelf.take(book), jobID: "engine-\(number)", output: output)
            request.engine = try book.engine.use(for: book.config)
            request.gpus = book.engine.entry.gpus ?? []
            request.allowMissing = settings.allowMissing
            request.grace = 2
            request.logLimits = EngineInstance.logLimits
            let record = try await blocking { book.engine.record(model: book.digest) }
            instance = EngineInstance(
                request, engine: book.engine, runner: runner, isOneAccounts: !book.engine.isShared(book.config), record: record,
                door: EngineInstance.Door(service: asked, account: load.account))
        } catch {
            return "\(error)"
        }
        let isStopped = state.withLock { state in
            state.loads[number]?.instance = instance
            return state.pool.instances[number]?.phase == .stopping
        }
        if isStopped { return nil }
        return await instance.run(
            ready: { [self] in
                let memory = instance.memoryBytes()
                settings.onChange(
                    .ready(book.config.name, seconds: (ContinuousClock.now - load.since) / .seconds(1), memory: memory))
                step { pool, now in pool.ready(number, memory: memory, now: now) }
            },
            healthy: { [self] in
                if let memory = instance.memoryBytes() { step { $0.measured(number, memory: memory, now: $1) } }
            },
            isIdle: { [self] in state.withLock { $0.pool.instances[number]?.active.isEmpty ?? true } })
    }

    /// Lets the pool decide, and carries out what it says.
    private func step(_ event: (inout WarmPool, Double) -> [WarmPool.Action]) {
        var resumed: [(CheckedContinuation<Int, any Error>, Result<Int, any Error>)] = []
        var stopped: [EngineInstance] = []
        state.withLock { state in
            for action in event(&state.pool, EngineHouse.seconds()) {
                switch action {
                case .start(let number, let key):
                    guard let book = state.books[key] else { continue }
                    state.loads[number] = Load(book: book, account: key.account ?? "")
                    starting.yield(number)
                case .stop(let number):
                    if let instance = state.loads[number]?.instance { stopped.append(instance) }
                case .admit(let request, let instance):
                    if let ticket = state.tickets.removeValue(forKey: request) { resumed.append((ticket, .success(instance))) }
                case .refuse(let request, let reason):
                    if let ticket = state.tickets.removeValue(forKey: request) {
                        resumed.append((ticket, .failure(EngineHouse.failure(reason))))
                    }
                }
            }
        }
        for instance in stopped { instance.stop() }
        for (ticket, result) in resumed { ticket.resume(with: result) }
    }

    private static func failure(_ reason: WarmPool.Refused) -> ModelFailure {
        switch reason {
        case .tooLarge(let needed, let limit):
            ModelFailure(
                .unavailable, message: "The model takes \(needed >> 20) MiB and this host has \(limit >> 20) MiB for models.",
                retryable: false)
        case .busy: ModelFailure(.overloaded, message: "Too many requests wait for this host's models; try again later.")
        case .noRoom:
            ModelFailure(
                .overloaded, message: "There is no room for the model beside those that are in use; try again later.")
        case .failed(let message): ModelFailure(.unavailable, status: 503, message: "The model could not be loaded. \(message)")
        case .restsAfterFailure(let message, let times, let seconds):
            ModelFailure(
                .unavailable, status: 503,
                message:
                    "The model failed \(times) times and is loaded again in \(Int(seconds.rounded(.up))) s at the earliest. \(message)"
            )
        }
    }

    private static func seconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    // MARK: Answers

    public func models() async -> [ServedModel] {
        let books = await shelf.books()
        let instances = state.withLock { $0.pool.instances.values.map { $0 } }
        var seen: Set<String> = []
        return books.filter { seen.insert($0.config.name).inserted }.map { book in
            let own = instances.filter { $0.key.model == book.digest.hex }
            let facts = book.config.serving?.facts
            return ServedModel(
                id: book.config.name, source: .cargo, digest: book.digest.description,
                operations: EngineHouse.operations(book), presence: own.contains { $0.phase == .ready } ? .loaded : .stored,
                context: book.config.serving?.context, format: facts?.format, quantization: facts?.quantization,
                active: own.reduce(0) { $0 + $1.active.count }, slots: book.engine.slots)
        }
    }

    private static func operations(_ book: ModelShelf.Book) -> [ModelRequest.Operation] {
        book.engine.operations(of: book.config).compactMap { ModelRequest.Operation(rawValue: $0) }
    }

    @concurrent public func answer(
        _ request: ModelRequest, account: String,
        head: @Sendable (AnswerHead) async throws -> Void, body: @Sendable ([UInt8]) async throws -> Void
    ) async throws -> ModelUsage? {
        try await answer(request, account: account, patience: nil, head: head, body: body)
    }

    /// `patience`: seconds to wait for room, of a request that holds room itself.
    @concurrent func answer(
        _ request: ModelRequest, account: String, patience: Double?,
        head: @Sendable (AnswerHead) async throws -> Void, body: @Sendable ([UInt8]) async throws -> Void
    ) async throws -> ModelUsage? {
        guard let book = await shelf.book(request.model) else {
            throw ModelFailure(.modelNotFound, message: "This host has no model '\(request.model.prefix(200))'.")
        }
        guard EngineHouse.operations(book).contains(request.operation) else {
            throw ModelFailure(
                .badRequest, message: "The model '\(book.config.name)' does not answer \(request.operation.rawValue).")
        }
        try await checkHeader(of: book)
        let hasBegun = Atomic(false)
        var attempt = 0
        while true {
            attempt += 1
            do {
                return try await withInstance(of: book, account: account, patience: patience) { instance in
                    try await instance.server.answer(
                        request, as: EngineHouse.backendName, account: account,
                        head: { answer in
                            hasBegun.store(true, ordering: .relaxed)
                            var answer = answer
                            answer.engine = instance.record
                            try await head(answer)
                        }, body: body)
                }
            } catch let failure as ModelFailure
                where failure.code == .unavailable && !hasBegun.load(ordering: .relaxed) && attempt < EngineHouse.mostAttempts
                && failure.retryable && failure.status != 503
            {
                // The engine ended before it said a word: the next one answers, or says why not.
                continue
            }
        }
    }

    /// Weights that no real model has are no reason to ask another host: they are the same there.
    private func checkHeader(of book: ModelShelf.Book) async throws {
        do {
            if let verdict = ModelHeader.verdict(book.digest) {
                if let verdict { throw verdict }
                return
            }
            let cargo = try await shelf.take(book)
            try await blocking { try ModelHeader.check(cargo) }
        } catch let refusal as Refusal {
            throw ModelFailure(
                .failed, message: "The model '\(book.config.name)' is refused: \(refusal.rule): \(refusal.message)")
        }
    }

    /// Engines that one request is given at most, one after the other.
    private static let mostAttempts = 3

    /// What engines know their one model by.
    static let backendName = "model"

    /// Loads a model without asking it anything: the first request then finds it warm.
    @concurrent public func load(
        _ model: String, account: String, progress: @escaping @Sendable (RunProgress) async -> Void
    ) async throws {
        guard let book = await shelf.book(model) else {
            throw ModelFailure(.modelNotFound, message: "This host has no model '\(model.prefix(200))'.")
        }
        try await checkHeader(of: book)
        let total = EngineHouse.weightBytes(book)
        await progress(RunProgress(phase: "loading", current: 0, total: total))
        try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                try await self.withInstance(of: book, account: account) { _ in }
                return true
            }
            group.addTask {
                while true {
                    if let now = self.loading(book, account: account) {
                        await progress(RunProgress(phase: now.phase, current: now.current, total: now.total))
                    }
                    do { try await Task.sleep(for: .milliseconds(250)) } catch { return false }
                }
            }
            while let isLoaded = try await group.next(), !isLoaded {}
            group.cancelAll()
        }
        await progress(RunProgress(phase: "loading", current: total, total: total))
    }

    public func loading(_ model: String, account: String) async -> LoadProgress? {
        guard let book = await shelf.book(model) else { return nil }
        return loading(book, account: account)
    }

    private func loading(_ book: ModelShelf.Book, account: String) -> LoadProgress? {
        let key = EngineHouse.key(book, account)
        let (isKnown, coming, instance, isReady) = state.withLock { state in
            let mine = state.pool.instances.filter { $0.value.key == key }
            let coming = mine.first { $0.value.phase == .loading }?.key
            return (
                state.pool.knows(key), coming, coming.flatMap { state.loads[$0]?.instance },
                mine.contains { $0.value.phase == .ready }
            )
        }
        guard isKnown, coming != nil || !isReady else { return nil }
        let total = EngineHouse.weightBytes(book)
        guard coming != nil else { return LoadProgress(phase: "waiting", current: 0, total: total) }
        // Weights are mapped, so what is resident of them is how far the load has come.
        return LoadProgress(phase: "loading", current: min(total, instance?.memoryBytes() ?? 0), total: total)
    }

    /// How far each model is that is being loaded now, by its name.
    public func loads() -> [String: LoadProgress] {
        let coming = state.withLock { state in
            state.loads.filter { state.pool.instances[$0.key]?.phase == .loading }.map { $0.value }
        }
        return coming.reduce(into: [:]) { loads, load in
            let total = EngineHouse.weightBytes(load.book)
            loads[load.book.config.name] = LoadProgress(
                phase: "loading", current: min(total, load.instance?.memoryBytes() ?? 0), total: total)
        }
    }

    private static func weightBytes(_ book: ModelShelf.Book) -> Int64 {
        Int64(clamping: book.config.serving?.facts?.weightBytes ?? 0)
    }

    private static func key(_ book: ModelShelf.Book, _ account: String) -> WarmPool.Key {
        WarmPool.Key(
            model: book.digest.hex, engine: book.engine.cargo.digest.hex,
            account: book.engine.isShared(book.config) ? nil : account)
    }

    private func withInstance<Value: Sendable>(
        of book: ModelShelf.Book, account: String, patience: Double? = nil,
        _ body: @Sendable (EngineInstance) async throws -> Value
    ) async throws -> Value {
        let key = EngineHouse.key(book, account)
        let id = state.withLock { state in
            defer { state.next += 1 }
            if state.books.count >= EngineHouse.bookBound {
                let pool = state.pool
                state.books = state.books.filter { pool.knows($0.key) }
            }
            state.books[key] = book
            return state.next
        }
        do {
            let number = try await ticket(id, key, book.engine.need(for: book.config), patience)
            guard let instance = state.withLock({ $0.loads[number]?.instance }) else {
                throw ModelFailure(.unavailable, message: "The engine has ended.")
            }
            do {
                let value = try await body(instance)
                step { $0.release(id, succeeded: true, now: $1) }
                return value
            } catch let failure as ModelFailure where failure.code == .unavailable {
                instance.lose()
                step { $0.lost(number, now: $1) }
                throw failure
            }
        } catch {
            step { $0.release(id, succeeded: false, now: $1) }
            throw error
        }
    }

    /// Waits for the model to be in memory with a place for this request.
    private func ticket(_ id: UInt64, _ key: WarmPool.Key, _ need: WarmPool.Need, _ patience: Double?) async throws -> Int {
        try await withTaskCancellationHandler {
            try Task.checkCancellation()
            return try await withCheckedThrowingContinuation { continuation in
                state.withLock { $0.tickets[id] = continuation }
                step { $0.request(id, key, need, patience: patience, now: $1) }
                // A cancellation that came before the ticket was there found nothing to end.
                if Task.isCancelled { giveUp(id) }
            }
        } onCancel: {
            giveUp(id)
        }
    }

    private func giveUp(_ id: UInt64) {
        state.withLock { $0.tickets.removeValue(forKey: id) }?.resume(throwing: CancellationError())
    }
}

extension EngineHouse {
    /// This host's models as chains may ask them.
    public var asked: any ModelService { AskedModels(house: self, beside: settings.beside) }

    /// What is on the shelf under a name.
    func book(_ model: String) async -> ModelShelf.Book? { await shelf.book(model) }

    /// Engines that were started and have not ended.
    var liveInstances: [EngineInstance] { state.withLock { $0.loads.values.compactMap(\.instance) } }
}
