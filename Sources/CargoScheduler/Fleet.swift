import CargoArtifact
public import CargoWire

/// Every host that was heard of lately, indexed by the models that it has: who should get a job. Pure: no clock, no
/// socket, and the same fleet gives the same answer.
///
/// A request to a model looks at the hosts that have it, at most `mostLooked` of them, those that have it in memory first.
public struct Fleet: Sendable {
    /// What a host has of one model.
    struct Holding: Sendable {
        var host: Int
        var isLoaded: Bool
        var active: Int
        var slots: Int
        var price: Double
        /// Seconds to the first token as the host says of itself: counts until something was observed.
        var said: Double?
        var breaker = Breaker()
    }

    struct Host: Sendable {
        var id: String
        var capabilities: HostCapabilities
        var report: HostReport?
        /// Milliseconds of a clock that only rises.
        var heard: Int64
        /// Where its models stand in the index: model number, place in that model's list.
        var places: [(model: Int, place: Int)] = []
        var isGone = false
    }

    /// Hosts that one decision scores at most: beyond that a random part is as good.
    static let mostLooked = 512
    /// A host that has said nothing for so long gets nothing.
    public static let silentAfter: Int64 = 45_000
    private static let mostBreakers = 200_000
    /// Models of one host that are remembered at once; names are the host's own choice.
    private static let mostBreakersOfAHost = 2000

    public var weights: Weights
    private(set) var hosts: [Host] = []
    private var numbers: [String: Int] = [:]
    private var models: [String: Int] = [:]
    /// The name of each number in `models`; nil: free for the next one. Hosts choose the names, so one that nobody has goes.
    private var modelNames: [String?] = []
    private var freeModels: [Int] = []
    /// Places in `hosts` of those that were forgotten.
    private var freeHosts: [Int] = []
    private var hot: [[Holding]] = []
    private var cold: [[Holding]] = []
    /// Requests by host and model that were given past the queue and have not ended: hosts leave them out of what they report.
    private var direct: [String: [String: Int]] = [:]
    /// By host and model, where there is anything to remember.
    private var breakers: [String: [String: Breaker]] = [:]
    private var random = SplitMix(state: 0x9E37_79B9_7F4A_7C15)

    public init(weights: Weights = Weights()) { self.weights = weights }

    public var count: Int { numbers.count }
    /// What its index has room for: hosts and models that there are or that there were at once.
    var indexed: (hosts: Int, models: Int) { (hosts.count, hot.count) }

    /// Whether any host has the model, in memory or on disk.
    public func knows(model: String) -> Bool {
        models[model].map { !hot[$0].isEmpty || !cold[$0].isEmpty } ?? false
    }

    /// Whether a host has the model, in memory or on disk.
    public func has(_ id: String, model: String) -> Bool {
        guard let number = numbers[id], let known = models[model] else { return false }
        return hosts[number].places.contains { $0.model == known }
    }

    // MARK: What is heard

    /// A host said what it is. What it leaves out (nil) stays as it was.
    public mutating func heard(_ id: String, _ capabilities: HostCapabilities?, _ report: HostReport?, at now: Int64) {
        let number: Int
        if let known = numbers[id] {
            number = known
        } else {
            let new = Host(id: id, capabilities: HostCapabilities(), heard: now)
            if let free = freeHosts.popLast() {
                number = free
                hosts[free] = new
            } else {
                number = hosts.count
                hosts.append(new)
            }
            numbers[id] = number
        }
        hosts[number].heard = now
        if let capabilities { hosts[number].capabilities = capabilities }
        if let report { hosts[number].report = report }
        index(number)
    }

    public mutating func forget(_ id: String) {
        guard let number = numbers.removeValue(forKey: id) else { return }
        let left = hosts[number].places.map(\.model)
        unindex(number)
        release(left)
        hosts[number] = Host(id: id, capabilities: HostCapabilities(), heard: 0, isGone: true)
        freeHosts.append(number)
        breakers[id] = nil
    }

    /// How an answer came out: seconds to its first token, or nil for a failure.
    public mutating func observed(_ id: String, model: String, seconds: Double?, at now: Int64) {
        guard let number = numbers[id] else { return }
        if breakers.count > Fleet.mostBreakers { breakers = [:] }
        var breaker = breakers[id]?[model] ?? Breaker()
        if let seconds { breaker.succeeded(seconds: seconds) } else { breaker.failed(at: now) }
        if breakers[id]?.count ?? 0 >= Fleet.mostBreakersOfAHost { breakers[id] = nil }
        breakers[id, default: [:]][model] = breaker
        index(number)
    }

    /// A request was given to a host (`change` 1), or has ended there (-1): until it says itself how busy it is, this counts.
    public mutating func gave(_ id: String, model: String, _ change: Int = 1) {
        guard let number = numbers[id], let known = models[model] else { return }
        for place in hosts[number].places where place.model == known {
            if place.place >= 0 {
                hot[known][place.place].active = max(0, hot[known][place.place].active + change)
            } else {
                cold[known][-1 - place.place].active = max(0, cold[known][-1 - place.place].active + change)
            }
        }
    }

    /// A request was given to a host past the queue (`change` 1), or has ended there (-1).
    public mutating func direct(_ id: String, model: String, _ change: Int) {
        let count = max(0, (direct[id]?[model] ?? 0) + change)
        direct[id, default: [:]][model] = count > 0 ? count : nil
        if direct[id]?.isEmpty == true { direct[id] = nil }
        gave(id, model: model, change)
    }

    private mutating func index(_ number: Int) {
        let host = hosts[number]
        var wanted: [(Int, Holding)] = []
        let served = host.capabilities.models ?? []
        let stored = host.report?.models ?? []
        wanted.reserveCapacity(served.count + stored.count)
        var seen: Set<String> = []
        for (list, mayServe) in [(served, true), (stored, false)] {
            for model in list.prefix(1000) where seen.insert(model.id).inserted {
                wanted.append(
                    (
                        self.number(of: model.id),
                        Holding(
                            host: number, isLoaded: mayServe && model.presence == .loaded,
                            active: model.active + (direct[host.id]?[model.id] ?? 0),
                            slots: mayServe ? model.slots : 0, price: host.report?.asked(for: model.id) ?? 0,
                            said: host.capabilities.metrics?.models[model.id]?.firstTokenMS.map { $0 / 1000 },
                            breaker: breakers[host.id]?[model.id] ?? Breaker())
                    ))
            }
        }
        // The same models in the same places, as nearly always: the numbers alone change.
        if wanted.count == host.places.count,
            zip(wanted, host.places).allSatisfy({ $0.0 == $1.model && $0.1.isLoaded == ($1.place >= 0) })
        {
            for (entry, place) in zip(wanted, host.places) {
                if place.place >= 0 { hot[entry.0][place.place] = entry.1 } else { cold[entry.0][-1 - place.place] = entry.1 }
            }
            return
        }
        let left = hosts[number].places.map(\.model)
        unindex(number)
        for (model, holding) in wanted {
            if holding.isLoaded {
                hot[model].append(holding)
                hosts[number].places.append((model, hot[model].count - 1))
            } else {
                cold[model].append(holding)
                hosts[number].places.append((model, -cold[model].count))
            }
        }
        release(left)
    }

    /// Models that no host has any more.
    private mutating func release(_ left: [Int]) {
        for model in left where hot[model].isEmpty && cold[model].isEmpty {
            guard let name = modelNames[model] else { continue }
            models[name] = nil
            modelNames[model] = nil
            freeModels.append(model)
        }
    }

    private mutating func unindex(_ number: Int) {
        while let (model, place) = hosts[number].places.popLast() {
            // The last one of the list takes the place of the one that goes.
            let isHot = place >= 0
            let gap = isHot ? place : -1 - place
            let last = (isHot ? hot[model].count : cold[model].count) - 1
            let moved = isHot ? hot[model][last].host : cold[model][last].host
            if isHot {
                hot[model].swapAt(gap, last)
                hot[model].removeLast()
            } else {
                cold[model].swapAt(gap, last)
                cold[model].removeLast()
            }
            guard gap != last else { continue }
            let old = isHot ? last : -1 - last
            for index in hosts[moved].places.indices where hosts[moved].places[index] == (model, old) {
                hosts[moved].places[index].place = place
            }
        }
    }

    private mutating func number(of model: String) -> Int {
        if let known = models[model] { return known }
        if let free = freeModels.popLast() {
            (models[model], modelNames[free]) = (free, model)
            return free
        }
        models[model] = hot.count
        modelNames.append(model)
        hot.append([])
        cold.append([])
        return hot.count - 1
    }

    // MARK: Decisions

    /// The best host for a request to a model, and the second best.
    /// - Parameter isAllowed: a last filter, of hosts that can be reached in the way that the caller needs.
    public mutating func place(
        _ need: Need, excluding: Set<String> = [], at now: Int64, where isAllowed: (String) -> Bool = { _ in true }
    ) -> Placement {
        guard let model = need.model, let number = models[model] else { return Placement(choices: []) }
        var best: [Placement.Choice] = []
        for isHot in [true, false] {
            let count = isHot ? hot[number].count : cold[number].count
            guard count > 0 else { continue }
            let start = count > Fleet.mostLooked ? Int(random.next() % UInt64(count)) : 0
            for step in 0..<min(count, Fleet.mostLooked) {
                let place = (start + step) % count
                let holding = isHot ? hot[number][place] : cold[number][place]
                guard filter(need, hosts[holding.host], holding, at: now) == nil else { continue }
                let id = hosts[holding.host].id
                if !excluding.isEmpty, excluding.contains(id) { continue }
                guard isAllowed(id) else { continue }
                let total = score(holding, isStored: true).total
                if best.count < 2 {
                    best.append(.init(host: id, score: total, isHot: isHot))
                } else if total > best[1].score {
                    best[1] = .init(host: id, score: total, isHot: isHot)
                } else {
                    continue
                }
                if best.count == 2, best[1].score > best[0].score { best.swapAt(0, 1) }
            }
            // Nobody who would have to load it beats a free one that has it loaded.
            if let first = best.first, first.score >= weights.stored + weights.free { break }
        }
        return Placement(choices: best)
    }

    /// How good a host is for a job; nil where a filter leaves it out, or nothing is known of it.
    public func score(_ id: String, for need: Need, at now: Int64) -> Double? {
        guard let number = numbers[id] else { return nil }
        let (leftOutBy, score) = assess(need, hosts[number], at: now)
        return leftOutBy == nil ? score?.total : nil
    }

    /// Every host of `visible` in words.
    public func explain(_ need: Need, visible: (String) -> Bool, at now: Int64) -> [Assessment] {
        numbers.filter { visible($0.key) }.map { id, number in
            let (leftOutBy, score) = assess(need, hosts[number], at: now)
            return Assessment(host: id, leftOutBy: leftOutBy, score: leftOutBy == nil ? score : nil)
        }.sorted { ($0.score?.total ?? -.infinity, $1.host) > ($1.score?.total ?? -.infinity, $0.host) }
    }

    private func assess(_ need: Need, _ host: Host, at now: Int64) -> (Filter?, Score?) {
        let holding = need.model.flatMap { models[$0] }.flatMap { model in
            host.places.first { $0.model == model }.map { $0.place >= 0 ? hot[model][$0.place] : cold[model][-1 - $0.place] }
        }
        if let left = filter(need, host, holding, at: now) { return (left, nil) }
        let stored = need.image.map { host.capabilities.images?.contains($0) == true } ?? (holding != nil)
        let slots = host.report?.slots ?? 1
        let own = Holding(
            host: 0, isLoaded: false, active: host.report?.activeJobs ?? 0, slots: slots,
            price: host.report?.asked(for: nil) ?? 0)
        return (nil, score(holding ?? own, isStored: stored))
    }

    /// Layer 1.
    private func filter(_ need: Need, _ host: Host, _ holding: Holding?, at now: Int64) -> Filter? {
        let capabilities = host.capabilities
        if let circles = capabilities.circles {
            guard let own = need.circles, own.contains(where: { circles.contains($0) }) else { return .group }
        } else if need.isExact {
            return .group
        }
        if host.isGone || now - host.heard > Fleet.silentAfter { return .health }
        if need.avoided.contains(host.id) { return .avoided }
        if need.model != nil {
            guard let holding, holding.slots > 0 else { return .model }
            if holding.active >= holding.slots { return .slots }
            if holding.breaker.isOpen(at: now) { return .breaker }
        } else if need.kind == "image" {
            if capabilities.docker != true { return .docker }
        } else if !(capabilities.kinds ?? ["process"]).contains(need.kind) {
            return .kind
        }
        if need.tier > host.report?.maxContextTier ?? capabilities.maxContextTier ?? 4 { return .tier }
        if let region = need.region, capabilities.region != region { return .region }
        if let law = need.jurisdiction, capabilities.jurisdiction != law { return .jurisdiction }
        let asked = holding?.price ?? host.report?.asked(for: need.model) ?? 0
        if let left = need.room?.leftOut(capabilities, host.report, asked: asked) { return left }
        if let format = need.format, host.report?.formats?.contains(format) != true { return .format }
        return nil
    }

    /// Layer 2.
    private func score(_ holding: Holding, isStored: Bool) -> Score {
        let free = holding.slots > 0 ? Double(max(0, holding.slots - holding.active)) / Double(holding.slots) : 0
        var score = Score(
            total: 0, hot: holding.isLoaded ? weights.hot : 0, stored: isStored ? weights.stored : 0, free: weights.free * free,
            price: -weights.price * holding.price,
            latency: -weights.latency * min(5, holding.breaker.latency ?? holding.said ?? 0),
            failures: -weights.failure * Double(min(5, holding.breaker.failures)))
        score.total = score.hot + score.stored + score.free + score.price + score.latency + score.failures
        return score
    }
}

/// A small generator of its own, so that a fleet stays a value (SplitMix64).
struct SplitMix: RandomNumberGenerator, Sendable {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

extension Fleet {
    /// Whether any host has the model in memory and a free slot for it: what a decision is measured against.
    public func hasFreeHot(_ need: Need, at now: Int64) -> Bool {
        guard let number = need.model.flatMap({ models[$0] }) else { return false }
        return hot[number].contains { filter(need, hosts[$0.host], $0, at: now) == nil }
    }
}
