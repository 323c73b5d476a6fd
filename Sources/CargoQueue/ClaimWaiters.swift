import CargoWire
import Synchronization

/// Hosts that wait for work, in the order in which they came; a job that becomes ready wakes one that it fits.
///
/// They are found by their number and by what they serve, so that one of twenty thousand enters, leaves and is woken for a
/// model without a look at all the others.
final class ClaimWaiters: Sendable {
    private final class Waiter: Sendable {
        let bell: Doorbell
        let host: String
        let capabilities: HostCapabilities

        init(_ bell: Doorbell, _ host: String, _ capabilities: HostCapabilities) {
            self.bell = bell
            self.host = host
            self.capabilities = capabilities
        }
    }

    /// Numbers in the order in which they came. Who has left is passed over, and swept out when most of a line has left.
    private struct Line {
        private var numbers: [UInt64] = []
        private var first = 0
        private(set) var living = 0

        var inOrder: ArraySlice<UInt64> { numbers[first...] }

        mutating func append(_ number: UInt64) {
            numbers.append(number)
            living += 1
        }

        /// One of the line is in `waiting` no more.
        mutating func left(_ waiting: [UInt64: Waiter]) {
            living -= 1
            while first < numbers.count, waiting[numbers[first]] == nil { first += 1 }
            guard numbers.count > 2 * living + 16 else { return }
            numbers = numbers[first...].filter { waiting[$0] != nil }
            first = 0
        }
    }

    private struct State {
        var next: UInt64 = 0
        var waiting: [UInt64: Waiter] = [:]
        var line = Line()
        var byModel: [String: Line] = [:]
        var closing = false

        mutating func remove(_ number: UInt64) -> Waiter? {
            guard let waiter = waiting.removeValue(forKey: number) else { return nil }
            line.left(waiting)
            for model in waiter.capabilities.models ?? [] {
                byModel[model.id]?.left(waiting)
                if byModel[model.id]?.living == 0 { byModel[model.id] = nil }
            }
            return waiter
        }
    }

    /// Waiters that one wake compares at most.
    private static let mostCompared = 64
    /// How often a waiting host looks again without a ring, and how many of them do so in a second at most.
    private static let look = 2.0
    private static let looksPerSecond = 500.0

    private let state = Mutex(State())
    /// How good a host is for a job; nil when nothing is known of it.
    private let rank: @Sendable (String, Requirement) -> Double?

    init(rank: @escaping @Sendable (String, Requirement) -> Double? = { _, _ in nil }) { self.rank = rank }

    /// Seconds after which whoever waits looks again: a job that was kept for another host is anyone's when that host is gone.
    /// Where many wait it is longer, and there are as many looks as before.
    var patience: Double { max(Self.look, Double(state.withLock { $0.waiting.count }) / Self.looksPerSecond) }

    /// Everyone answers now, and nobody waits any more.
    func close() {
        let bells = state.withLock { state in
            state.closing = true
            defer { (state.waiting, state.line, state.byModel) = ([:], Line(), [:]) }
            return state.waiting.values.map(\.bell)
        }
        for bell in bells { bell.ring(.closing) }
    }

    func enter(_ bell: Doorbell, _ host: String, _ capabilities: HostCapabilities) -> UInt64 {
        state.withLock { state in
            if state.closing { bell.ring(.closing) }
            state.next += 1
            state.waiting[state.next] = Waiter(bell, host, capabilities)
            state.line.append(state.next)
            for model in capabilities.models ?? [] { state.byModel[model.id, default: Line()].append(state.next) }
            return state.next
        }
    }

    /// - Returns: whether it was still waiting; if not, a wake is on its way to it and must be used or handed on.
    func leave(_ number: UInt64) -> Bool { state.withLock { $0.remove(number) != nil } }

    func wake(_ requirement: Requirement) {
        let bell = state.withLock { state in choice(for: requirement, state).flatMap { state.remove($0)?.bell } }
        bell?.ring(.work)
    }

    /// The best of those that fit, among equals who came first; before them one that has the job's image. The others ask again
    /// in a while, should it not take it.
    private func choice(for requirement: Requirement, _ state: State) -> UInt64? {
        let line = requirement.model.map { state.byModel[$0] ?? Line() } ?? state.line
        func fits(_ number: UInt64) -> Bool { state.waiting[number].map { requirement.fits($0.capabilities) } ?? false }
        if requirement.image != nil {
            // At most 256 images a host: this pass is for the few jobs that name an image.
            let atHand = line.inOrder.first { number in
                state.waiting[number].map { requirement.isAtHand($0.capabilities) && requirement.fits($0.capabilities) } ?? false
            }
            if let atHand { return atHand }
        }
        let fitting = Array(line.inOrder.lazy.filter(fits).prefix(Self.mostCompared))
        guard fitting.count > 1 else { return fitting.first }
        var best: (number: UInt64, score: Double)?
        for number in fitting {
            let score = state.waiting[number].flatMap { rank($0.host, requirement) } ?? 0
            if best == nil || score > best?.score ?? 0 { best = (number, score) }
        }
        return best?.number
    }

    /// Any one, whatever it can run: to hand on a wake that was not used.
    func wakeAny() {
        let bell = state.withLock { state in
            state.line.inOrder.first { state.waiting[$0] != nil }.flatMap { state.remove($0)?.bell }
        }
        bell?.ring(.work)
    }
}
