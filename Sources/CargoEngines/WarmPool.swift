/// Which models are in memory, which go, and who waits for what: decisions alone.
///
/// Events go in, actions come out; whoever carries them out starts, probes and stops. A model is loaded once however many ask for
/// it, and a request waits for its own model only, as long as there is room. When there is none, the least recently used idle
/// model goes. Times are seconds of any clock that only goes forward.
struct WarmPool: Sendable {
    /// What one loaded model is for.
    struct Key: Hashable, Sendable {
        /// Digests of the cargo and of its engine.
        var model: String
        var engine: String
        /// Nil where one instance serves all accounts.
        var account: String?
    }

    /// What loading it takes on this host.
    struct Need: Hashable, Sendable {
        /// Bytes of memory, and of each of its GPUs' memory.
        var memory: Int64
        var vram: Int64 = 0
        /// Numbers of the GPUs that it uses.
        var gpus: [Int] = []
        /// Requests at once.
        var slots = 1
    }

    struct Limits: Hashable, Sendable {
        /// Bytes of memory for all models together.
        var memory: Int64
        /// Bytes of each GPU's memory.
        var vram: [Int64] = []
        /// Seconds after its last request until an idle model goes; nil keeps it.
        var idle: Double? = 900
        /// Seconds that a request waits for room until models in use take no more requests, so that it gets its turn.
        var patience = 5.0
        /// Seconds that a request waits at most for its model to be in memory.
        var wait = 600.0
        /// Requests that wait at once, of one model and of all.
        var waitingPerModel = 256
        var waiting = 4096
    }

    enum Action: Hashable, Sendable {
        case start(Int, Key)
        case stop(Int)
        case admit(request: UInt64, instance: Int)
        case refuse(request: UInt64, Refused)
    }

    /// Why a request gets no model.
    enum Refused: Hashable, Sendable {
        /// It takes so many bytes of so many.
        case tooLarge(Int64, of: Int64)
        case busy
        /// What is in use leaves no room for it, for longer than this request may wait.
        case noRoom
        /// It could not be loaded; what it said.
        case failed(String)
        /// It failed lately: so many times, and is tried again in so many seconds.
        case restsAfterFailure(String, times: Int, seconds: Double)
    }

    enum Phase: Hashable, Sendable {
        case loading
        case ready
        /// Takes no more requests and stops with its last one.
        case draining
        case stopping
        /// It takes no connection any more: its end is near and will say why.
        case lost
    }

    struct Instance: Hashable, Sendable {
        var key: Key
        var need: Need
        var phase = Phase.loading
        /// Requests that it answers now.
        var active: Set<UInt64> = []
        var lastUse: Double
        /// When it became ready.
        var readyAt: Double?
    }

    private struct Waiting {
        var id: UInt64
        var key: Key
        var since: Double
        /// How long it may wait until its model begins to load, where not as long as all others.
        var patience: Double?
    }

    private struct Failures {
        var count = 0
        var until = 0.0
        var message = ""
    }

    /// Seconds that a request waits rather than being told that its model rests after a failure.
    private static let shortRest = 2.0
    private static let longestRest = 60.0

    let limits: Limits
    private(set) var instances: [Int: Instance] = [:]
    /// In the order in which they came.
    private var waiting: [Waiting] = []
    private var needs: [Key: Need] = [:]
    private var failures: [Key: Failures] = [:]
    /// Bytes that a model of this engine was seen to take, by digests: at most `knownBound` of them.
    private var measured: [String: Int64] = [:]
    private var next = 1
    static let knownBound = 1024

    init(limits: Limits) { self.limits = limits }

    /// What loading it is expected to take: what was measured, else the estimate.
    func expected(_ key: Key, _ estimate: Need) -> Need {
        var need = estimate
        if let seen = measured[key.model + key.engine] { need.memory = seen }
        return need
    }

    /// Whether somebody waits for it or an instance of it lives.
    func knows(_ key: Key) -> Bool { needs[key] != nil || instances.values.contains { $0.key == key } }

    // MARK: Events

    /// `patience`: of a request that another one waits for, whose model may be what holds the room.
    mutating func request(
        _ id: UInt64, _ key: Key, _ estimate: Need, patience: Double? = nil, now: Double
    ) -> [Action] {
        let need = expected(key, estimate)
        if let total = tooLarge(need) { return [.refuse(request: id, total)] }
        if let rest = failures[key], rest.until - now > WarmPool.shortRest {
            return [.refuse(request: id, .restsAfterFailure(rest.message, times: rest.count, seconds: rest.until - now))]
        }
        guard waiting.count < limits.waiting, waiting.count(where: { $0.key == key }) < limits.waitingPerModel else {
            return [.refuse(request: id, .busy)]
        }
        needs[key] = need
        waiting.append(Waiting(id: id, key: key, since: now, patience: patience))
        return settle(now)
    }

    /// It answers its probe. `memory`: what it takes, where that is known.
    mutating func ready(_ instance: Int, memory: Int64?, now: Double) -> [Action] {
        guard instances[instance]?.phase == .loading else { return [] }
        instances[instance]?.phase = .ready
        instances[instance]?.readyAt = now
        instances[instance]?.lastUse = now
        if let memory { measure(instance, memory) }
        return settle(now)
    }

    /// A request was turned away at its socket: nobody else is sent there.
    mutating func lost(_ instance: Int, now: Double) -> [Action] {
        guard instances[instance]?.phase == .ready else { return [] }
        instances[instance]?.phase = .lost
        return settle(now)
    }

    /// What it takes now. The most that was seen counts.
    mutating func measured(_ instance: Int, memory: Int64, now: Double) -> [Action] {
        measure(instance, memory)
        return settle(now)
    }

    private mutating func measure(_ instance: Int, _ memory: Int64) {
        guard var known = instances[instance], known.phase != .loading, memory > 0 else { return }
        let key = known.key.model + known.key.engine
        let most = max(memory, measured[key] ?? 0)
        if measured.count >= WarmPool.knownBound, measured[key] == nil { measured.removeAll() }
        measured[key] = most
        known.need.memory = most
        instances[instance] = known
    }

    /// It is gone. `failure`: what it said, unless it was asked to stop.
    mutating func ended(_ instance: Int, failure: String?, now: Double) -> [Action] {
        guard let gone = instances.removeValue(forKey: instance) else { return [] }
        var actions: [Action] = []
        if let failure, gone.phase != .stopping {
            var known = failures[gone.key] ?? Failures()
            known.count += 1
            known.message = failure
            // One that answered before is started again at once, the first time.
            let free = gone.readyAt == nil ? 0 : 1
            known.until = known.count <= free ? now : now + min(WarmPool.longestRest, 0.5 * Double(1 << min(10, known.count)))
            failures[gone.key] = known
            if gone.readyAt == nil {
                for request in waiting where request.key == gone.key {
                    actions.append(.refuse(request: request.id, .failed(failure)))
                }
                waiting.removeAll { $0.key == gone.key }
            }
        }
        return actions + settle(now)
    }

    /// A request has its answer, or has given up.
    mutating func release(_ request: UInt64, succeeded: Bool, now: Double) -> [Action] {
        waiting.removeAll { $0.id == request }
        for (number, instance) in instances where instance.active.contains(request) {
            instances[number]?.active.remove(request)
            instances[number]?.lastUse = now
            if succeeded { failures[instance.key] = nil }
        }
        return settle(now)
    }

    /// Time has passed: idle models go, waits end.
    mutating func tick(now: Double) -> [Action] {
        var actions: [Action] = []
        for request in waiting where now - request.since >= limits.wait {
            actions.append(.refuse(request: request.id, .busy))
        }
        waiting.removeAll { now - $0.since >= limits.wait }
        let stuck = waiting.filter { request in
            guard let patience = request.patience, now - request.since >= patience else { return false }
            return !isComing(request.key)
        }
        for request in stuck { actions.append(.refuse(request: request.id, .noRoom)) }
        waiting.removeAll { request in stuck.contains { $0.id == request.id } }
        if let idle = limits.idle {
            for (number, instance) in instances
            where instance.phase == .ready && instance.active.isEmpty && now - instance.lastUse >= idle {
                actions.append(stop(number))
            }
        }
        failures = failures.filter { now - $0.value.until < 10 * WarmPool.longestRest }
        return actions + settle(now)
    }

    // MARK: Decisions

    /// Gives models to requests, and room to models, as far as it goes now.
    private mutating func settle(_ now: Double) -> [Action] {
        var actions = admit(now)
        for (number, instance) in instances.sorted(by: { $0.key < $1.key })
        where instance.phase == .draining && instance.active.isEmpty { actions.append(stop(number)) }
        var seen: Set<Key> = []
        for request in waiting where seen.insert(request.key).inserted {
            guard let need = needs[request.key], !isComing(request.key) else { continue }
            if let rest = failures[request.key], rest.until > now { continue }
            let isOverdue = now - request.since >= limits.patience
            if fits(need, request.key, counting: { _ in true }) {
                actions.append(start(request.key, need, now))
            } else {
                actions += makeRoom(need, request.key, drains: isOverdue)
                // Others may pass while there is room for them, until this one has waited for long.
                if isOverdue { break }
            }
        }
        needs = needs.filter { key, _ in waiting.contains { $0.key == key } }
        return actions
    }

    private mutating func admit(_ now: Double) -> [Action] {
        var actions: [Action] = []
        var left: [Waiting] = []
        for request in waiting {
            let open = instances.first { $0.value.key == request.key && $0.value.phase == .ready && hasSlot($0.value) }
            guard let number = open?.key else {
                left.append(request)
                continue
            }
            instances[number]?.active.insert(request.id)
            instances[number]?.lastUse = now
            actions.append(.admit(request: request.id, instance: number))
        }
        waiting = left
        return actions
    }

    private func hasSlot(_ instance: Instance) -> Bool { instance.active.count < instance.need.slots }

    /// Whether an instance serves it or will.
    private func isComing(_ key: Key) -> Bool {
        instances.values.contains { $0.key == key && ($0.phase == .loading || $0.phase == .ready) }
    }

    private mutating func start(_ key: Key, _ need: Need, _ now: Double) -> Action {
        defer { next += 1 }
        instances[next] = Instance(key: key, need: need, lastUse: now)
        return .start(next, key)
    }

    private mutating func stop(_ number: Int) -> Action {
        instances[number]?.phase = .stopping
        return .stop(number)
    }

    /// Whether it fits beside those instances that count.
    private func fits(_ need: Need, _ key: Key, counting: (Int) -> Bool) -> Bool {
        let others = instances.filter { counting($0.key) }.values
        guard others.reduce(need.memory, { $0 + $1.need.memory }) <= limits.memory else { return false }
        for gpu in need.gpus {
            let beside = others.filter { $0.need.gpus.contains(gpu) }
            guard gpu < limits.vram.count, beside.reduce(need.vram, { $0 + $1.need.vram }) <= limits.vram[gpu] else {
                return false
            }
            // One account at a time on a GPU.
            guard beside.allSatisfy({ $0.key.account == key.account }) else { return false }
        }
        return true
    }

    private func tooLarge(_ need: Need) -> Refused? {
        if need.memory > limits.memory { return .tooLarge(need.memory, of: limits.memory) }
        for gpu in need.gpus {
            let there = gpu < limits.vram.count ? limits.vram[gpu] : 0
            if need.vram > there { return .tooLarge(need.vram, of: there) }
        }
        return nil
    }

    /// Stops idle models, the least recently used first, until it would fit; where that is not enough and it has waited for
    /// long, models in use take no more requests.
    private mutating func makeRoom(_ need: Need, _ key: Key, drains: Bool) -> [Action] {
        var going = Set(instances.filter { [.stopping, .draining, .lost].contains($0.value.phase) }.map(\.key))
        var chosen: [Int] = []
        let byUse = instances.filter { $0.value.phase == .ready }.sorted {
            ($0.value.lastUse, $0.key) < ($1.value.lastUse, $1.key)
        }
        let idle = byUse.filter { $0.value.active.isEmpty }.map(\.key)
        let busy = byUse.filter { !$0.value.active.isEmpty }.map(\.key)
        for number in idle + (drains ? busy : []) {
            if fits(need, key, counting: { !going.contains($0) }) { break }
            going.insert(number)
            chosen.append(number)
        }
        // Nobody loses a loaded model for one that still would not fit.
        guard fits(need, key, counting: { !going.contains($0) }) else { return [] }
        // The last ones chosen may have made the first ones needless.
        for number in chosen where fits(need, key, counting: { $0 == number || !going.contains($0) }) {
            going.remove(number)
        }
        return chosen.filter(going.contains).compactMap { number in
            if instances[number]?.active.isEmpty == true { return stop(number) }
            instances[number]?.phase = .draining
            return nil
        }
    }
}
