public import CargoWire
import FoundationEssentials
import Synchronization

/// Who used how much of which model: counted in memory, added to the store each few seconds, and held against what the
/// key may use.
public final class UsageMeter: Sendable {
    /// A key has used up what its policy allows.
    public struct Exceeded: Error, Hashable, Sendable {
        /// What is used up, as a person says it.
        public let limit: String
        /// Seconds until it is worth another try.
        public let retryAfter: Double
    }

    private struct Name: Hashable {
        var day: Int64
        var key: String
        var model: String
    }

    private struct Spent {
        var day: Int64
        var tokens = 0
        var credits = 0.0
        /// When the store was last asked: others that share it let the same key in.
        var asked: Uptime?
    }

    /// Tokens that a request may yet take, held back from its key's bounds until it has ended: of fifty that come at once, as
    /// many are let in as one after the other.
    public struct Hold: Hashable, Sendable {
        fileprivate let key: String
        fileprivate let number: UInt64
    }

    private struct Held {
        var tokens: Int
        var until: Uptime
    }

    private struct State {
        /// Not in the store yet. Its bound: models of one key beyond `mostModels` a day are one.
        var pending: [Name: (account: Int64, tally: UsageTally)] = [:]
        var models: [String: Set<String>] = [:]
        var modelsDay: Int64 = 0
        var gates: [String: RateGate] = [:]
        /// Of keys with a daily bound, as far as this coordinator knows.
        var spent: [String: Spent] = [:]
        /// By key and number; each as long as a request may last.
        var held: [String: [UInt64: Held]] = [:]
        var lastHold: UInt64 = 0

        mutating func release(_ hold: Hold) {
            held[hold.key]?[hold.number] = nil
            if held[hold.key]?.isEmpty == true { held[hold.key] = nil }
        }
    }

    private static let kind = "usage"
    /// Names of models come from clients: beyond so many a day a key's usage is counted together.
    private static let mostModels = 200
    private static let otherModels = "(other)"
    /// Seconds after which a request is over, whatever became of it.
    private static let longestHold = 3600.0
    /// Seconds for which what a key has spent elsewhere may be unknown here.
    private static let askedAgain = 5.0

    private let store: any RecordStore
    private let clocks: Clocks
    private let state = Mutex(State())

    init(store: any RecordStore, clocks: Clocks) {
        self.store = store
        self.clocks = clocks
    }

    private var today: Int64 { clocks.wall().milliseconds / 86_400_000 }

    /// Lets one request of a key in, or says when to come again. What it is let in with is given back to `record`, or to
    /// `release` where nothing came of it.
    /// - Parameter tokens: what it will take, as far as its client has said.
    public func admit(_ principal: Principal, expecting tokens: Int = 0) async throws -> Hold? {
        let policy = principal.policy
        guard policy.isLimited else { return nil }
        if policy.tokensPerDay != nil || policy.creditsPerDay != nil { try await learn(principal) }
        let (now, day) = (clocks.uptime(), today)
        let left = Double(86_400_000 - clocks.wall().milliseconds % 86_400_000) / 1000
        return try state.withLock { state in
            let spent = state.spent[principal.keyID].flatMap { $0.day == day ? $0 : nil }
            state.held[principal.keyID] = state.held[principal.keyID]?.filter { $0.value.until > now }
            let held = state.held[principal.keyID]?.values.reduce(0) { $0 + $1.tokens } ?? 0
            if let most = policy.tokensPerDay, (spent?.tokens ?? 0) + held >= most {
                // What others hold may come back in a moment.
                throw Exceeded(limit: "\(most) tokens a day", retryAfter: spent?.tokens ?? 0 >= most ? left : 1)
            }
            if let most = policy.creditsPerDay, spent?.credits ?? 0 >= most {
                throw Exceeded(limit: "\(most) credits a day", retryAfter: left)
            }
            var gate = state.gates[principal.keyID] ?? RateGate()
            let wait = gate.admit(
                requestsPerMinute: policy.requestsPerMinute, tokensPerMinute: policy.tokensPerMinute, held: held, now: now)
            state.gates[principal.keyID] = gate
            if let wait {
                let limits = [
                    policy.requestsPerMinute.map { "\($0) requests a minute" },
                    policy.tokensPerMinute.map { "\($0) tokens a minute" },
                ].compactMap(\.self)
                throw Exceeded(limit: limits.joined(separator: ", "), retryAfter: wait)
            }
            guard policy.tokensPerDay != nil || policy.tokensPerMinute != nil else { return nil }
            state.lastHold += 1
            state.held[principal.keyID, default: [:]][state.lastHold] =
                Held(tokens: max(0, tokens), until: now.advanced(bySeconds: Self.longestHold))
            return Hold(key: principal.keyID, number: state.lastHold)
        }
    }

    /// Nothing came of a request that was let in.
    public func release(_ hold: Hold?) {
        if let hold { state.withLock { $0.release(hold) } }
    }

    /// Counts one request that was answered. `model` is the name that was served, not whatever a client wrote.
    public func record(
        _ principal: Principal, model: String, promptTokens: Int, completionTokens: Int, milliseconds: Double, failed: Bool,
        credits: Double = 0, hold: Hold? = nil
    ) {
        let day = today
        state.withLock { state in
            if let hold { state.release(hold) }
            if state.modelsDay != day { (state.models, state.modelsDay) = ([:], day) }
            var model = String(model.prefix(200))
            if state.models[principal.keyID]?.contains(model) != true {
                if state.models[principal.keyID]?.count ?? 0 >= Self.mostModels {
                    model = Self.otherModels
                } else {
                    state.models[principal.keyID, default: []].insert(model)
                }
            }
            var one = UsageTally()
            one.requests = 1
            one.failed = failed ? 1 : 0
            one.promptTokens = max(0, promptTokens)
            one.completionTokens = max(0, completionTokens)
            one.credits = credits
            one.latency.add(milliseconds: milliseconds)
            let name = Name(day: day, key: principal.keyID, model: model)
            state.pending[name, default: (principal.account, UsageTally())].tally.add(one)
            state.gates[principal.keyID]?.spend(tokens: one.tokens)
            if var spent = state.spent[principal.keyID] {
                if spent.day != day { spent = Spent(day: day, asked: spent.asked) }
                spent.tokens += one.tokens
                spent.credits += credits
                state.spent[principal.keyID] = spent
            }
        }
    }

    /// What a key with a daily bound had today, before this coordinator knew it and with others that share the store.
    private func learn(_ principal: Principal) async throws {
        let (key, day, now) = (principal.keyID, today, clocks.uptime())
        let isKnown = state.withLock { state in
            guard let spent = state.spent[key], spent.day == day, let asked = spent.asked else { return false }
            return asked.advanced(bySeconds: Self.askedAgain) > now
        }
        if isKnown { return }
        let stored = try await tallies(account: principal.account, days: day...day).filter { $0.name.key == key }
        state.withLock { state in
            var spent = Spent(day: day, asked: now)
            let waiting = state.pending.filter { $0.key.key == key && $0.key.day == day }.map(\.value.tally)
            for tally in stored.map(\.tally) + waiting {
                spent.tokens += tally.tokens
                spent.credits += tally.credits
            }
            // What is on its way to the store is in neither.
            if let known = state.spent[key], known.day == day {
                spent.tokens = max(spent.tokens, known.tokens)
                spent.credits = max(spent.credits, known.credits)
            }
            state.spent[key] = spent
        }
    }

    /// Adds what was counted since the last time to the store; what fails is added the next time.
    public func flush() async {
        let pending = state.withLock { state in
            defer { state.pending = [:] }
            return state.pending
        }
        for (name, (account, tally)) in pending {
            let flush = UUIDv7.make()
            do {
                try await store.change(Self.kind, Self.id(name), account: account) { old in
                    var sum = try old.map { try JSONDecoder().decode(UsageTally.self, from: $0) } ?? UsageTally()
                    if sum.flush != flush { sum.add(tally) }
                    sum.flush = flush
                    return try JSONEncoder().encode(sum)
                }
            } catch {
                state.withLock { $0.pending[name, default: (account, UsageTally())].tally.add(tally) }
            }
        }
    }

    /// Sums of an account's days, by key and model; what is not in the store yet included.
    public func report(account: Int64, key: String? = nil, days: ClosedRange<Int64>) async throws -> [ModelUse] {
        var sums: [Name: UsageTally] = [:]
        for (name, tally) in try await tallies(account: account, days: days) where key == nil || name.key == key {
            sums[Name(day: 0, key: name.key, model: name.model), default: UsageTally()].add(tally)
        }
        let waiting = state.withLock { $0.pending }
        for (name, (owner, tally)) in waiting where owner == account && days.contains(name.day) && (key == nil || name.key == key)
        {
            sums[Name(day: 0, key: name.key, model: name.model), default: UsageTally()].add(tally)
        }
        return sums.map { name, tally in
            ModelUse(
                key: name.key, model: name.model, requests: tally.requests, failed: tally.failed,
                promptTokens: tally.promptTokens, completionTokens: tally.completionTokens, credits: tally.credits,
                latency: ModelUse.Latency(
                    p50: tally.latency.quantile(0.5), p95: tally.latency.quantile(0.95), p99: tally.latency.quantile(0.99)))
        }.sorted { ($0.key, $0.model) < ($1.key, $1.model) }
    }

    private func tallies(account: Int64?, days: ClosedRange<Int64>) async throws -> [(name: Name, tally: UsageTally)] {
        let from = Self.dayText(days.lowerBound)
        let until = Self.dayText(days.upperBound + 1)
        return try await store.records(Self.kind, account: account, from: from, until: until).compactMap { record in
            let parts = record.id.split(separator: "|", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 3, let day = Int64(parts[0]) else { return nil }
            return (
                Name(day: day, key: parts[1], model: parts[2]), try JSONDecoder().decode(UsageTally.self, from: record.value)
            )
        }
    }

    private static func id(_ name: Name) -> String { "\(dayText(name.day))|\(name.key)|\(name.model)" }

    /// Seven digits, so that ids are in the order of days.
    private static func dayText(_ day: Int64) -> String {
        let digits = String(day)
        return String(repeating: "0", count: max(0, 7 - digits.count)) + digits
    }
}
