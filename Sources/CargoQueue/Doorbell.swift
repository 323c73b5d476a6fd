import CargoWire
import Dispatch
import Synchronization

/// What a ring is about; several rings before an answer add up.
public struct RingCause: OptionSet, Sendable {
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }

    public static let rows = RingCause(rawValue: 1)
    public static let logs = RingCause(rawValue: 2)
    public static let progress = RingCause(rawValue: 4)
    public static let work = RingCause(rawValue: 8)
    /// The coordinator is going: whoever waits should answer now.
    public static let closing = RingCause(rawValue: 16)
}

/// Wakes one waiting task; a ring while nobody waits is kept, not counted.
public final class Doorbell: Sendable {
    private struct State {
        var pending: RingCause = []
        var waiter: CheckedContinuation<RingCause, Never>?
        /// Until when the waiter waits.
        var deadline = ContinuousClock.Instant.now
        /// When the alarm looks at this bell next; one at a time, so that a wait for each word of an answer costs no timer.
        var lookAt: ContinuousClock.Instant?
    }

    private let state = Mutex(State())

    public init() {}

    public func ring(_ cause: RingCause) {
        let waiter = state.withLock { state -> CheckedContinuation<RingCause, Never>? in
            state.pending.formUnion(cause)
            guard let waiter = state.waiter else { return nil }
            state.waiter = nil
            return waiter
        }
        waiter?.resume(returning: take())
    }

    /// Waits for a ring; empty when the time was over or the task was cancelled. One task waits at a time.
    public func wait(seconds: Double) async -> RingCause {
        let deadline = ContinuousClock.now + .seconds(seconds)
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let (immediate, lookAt) = state.withLock { state -> (RingCause?, ContinuousClock.Instant?) in
                    if !state.pending.isEmpty || Task.isCancelled || seconds <= 0 {
                        defer { state.pending = [] }
                        return (state.pending, nil)
                    }
                    state.waiter = continuation
                    state.deadline = deadline
                    if let known = state.lookAt, known <= deadline { return (nil, nil) }
                    state.lookAt = deadline
                    return (nil, deadline)
                }
                if let immediate { continuation.resume(returning: immediate) }
                if let lookAt { Alarm.shared.set(self, at: lookAt) }
            }
        } onCancel: {
            let waiter = state.withLock { state in
                defer { state.waiter = nil }
                return state.waiter
            }
            waiter?.resume(returning: [])
        }
    }

    private func take() -> RingCause {
        state.withLock { state in
            defer { state.pending = [] }
            return state.pending
        }
    }

    /// The alarm's look: ends a wait that is over, and answers when to look again.
    fileprivate func look(at time: ContinuousClock.Instant) -> ContinuousClock.Instant? {
        let (waiter, next) = state.withLock { state -> (CheckedContinuation<RingCause, Never>?, ContinuousClock.Instant?) in
            // A later one was set since, for a shorter wait.
            if let known = state.lookAt, known > time { return (nil, nil) }
            state.lookAt = nil
            guard let waiter = state.waiter else { return (nil, nil) }
            guard state.deadline <= time else {
                state.lookAt = state.deadline
                return (nil, state.deadline)
            }
            state.waiter = nil
            return (waiter, nil)
        }
        waiter?.resume(returning: [])
        return next
    }
}

/// Ends the waits at bells that nobody rings: one timer for all of them, set to the earliest.
private final class Alarm: @unchecked Sendable {
    // @unchecked: `timer` is set up in `init` and from then on touched under the lock of `state` alone.

    static let shared = Alarm()

    private struct State {
        /// By the tick in which they are looked at; each bell stands in one or two of them.
        var bells: [Int64: [Doorbell]] = [:]
        var next: Int64?
    }

    private static let tick = 0.005
    private let begun = ContinuousClock.now
    private let state = Mutex(State())
    private let timer = DispatchSource.makeTimerSource(queue: .global(qos: .userInitiated))

    private init() {
        timer.setEventHandler { [unowned self] in ring() }
        timer.resume()
    }

    private func tick(of time: ContinuousClock.Instant) -> Int64 { Int64(((time - begun) / .seconds(1)) / Self.tick) + 1 }

    func set(_ bell: Doorbell, at time: ContinuousClock.Instant) {
        let tick = tick(of: time)
        state.withLock { state in
            state.bells[tick, default: []].append(bell)
            guard state.next.map({ tick < $0 }) ?? true else { return }
            state.next = tick
            wake(at: tick)
        }
    }

    /// Under the lock: whoever sets it last sets the earliest.
    private func wake(at tick: Int64) {
        let left = begun + .seconds(Double(tick) * Self.tick) - .now
        timer.schedule(deadline: .now() + max(0, left / .seconds(1)), leeway: .milliseconds(1))
    }

    private func ring() {
        let now = ContinuousClock.now
        let current = tick(of: now) - 1
        let due = state.withLock { state in
            let ticks = state.bells.keys.filter { $0 <= current }
            let due = ticks.flatMap { state.bells.removeValue(forKey: $0) ?? [] }
            state.next = state.bells.keys.min()
            if let next = state.next { wake(at: next) }
            return due
        }
        for bell in due {
            if let again = bell.look(at: now) { set(bell, at: again) }
        }
    }
}

/// Tells the readers of a job that something of it changed. Holds nothing for jobs that nobody reads.
public final class JobSignals: Sendable {
    private let listeners = Mutex<[JobID: (account: Int64, bells: [ObjectIdentifier: Doorbell])]>([:])
    private let closing = Mutex(false)

    public init() {}

    /// Rings everyone, now and from now on: open streams must not hold up a shutdown.
    func close() {
        closing.withLock { $0 = true }
        let bells = listeners.withLock { $0.values.flatMap { Array($0.bells.values) } }
        for bell in bells { bell.ring(.closing) }
    }

    public func ring(_ id: JobID, _ cause: RingCause) {
        let bells = listeners.withLock { $0[id].map { Array($0.bells.values) } } ?? []
        for bell in bells { bell.ring(cause) }
    }

    /// The jobs that somebody reads here.
    var keys: [JobKey] { listeners.withLock { $0.map { JobKey(account: $0.value.account, id: $0.key) } } }

    func listen(_ key: JobKey, _ bell: Doorbell) {
        listeners.withLock { $0[key.id, default: (key.account, [:])].bells[ObjectIdentifier(bell)] = bell }
        if closing.withLock({ $0 }) { bell.ring(.closing) }
    }

    func leave(_ key: JobKey, _ bell: Doorbell) {
        listeners.withLock { listeners in
            listeners[key.id]?.bells[ObjectIdentifier(bell)] = nil
            if listeners[key.id]?.bells.isEmpty == true { listeners[key.id] = nil }
        }
    }
}
