import Synchronization

/// A door that opens once: everyone who waits, and everyone who comes later, goes through.
final class Gate: Sendable {
    private struct State {
        var isOpen = false
        var next = 0
        /// One for each task that waits; bounded by the agent's slots and its few loops.
        var waiters: [Int: CheckedContinuation<Void, Never>] = [:]
    }

    private let state = Mutex(State())

    var isOpen: Bool { state.withLock { $0.isOpen } }

    func open() {
        let waiters = state.withLock { state in
            state.isOpen = true
            defer { state.waiters = [:] }
            return state.waiters.values.map { $0 }
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Returns when the gate is open or the task is cancelled.
    func wait() async {
        let id = state.withLock { state in
            state.next += 1
            return state.next
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let through = state.withLock { state in
                    if state.isOpen || Task.isCancelled { return true }
                    state.waiters[id] = continuation
                    return false
                }
                if through { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.waiters.removeValue(forKey: id) }?.resume()
        }
    }
}

/// A bell for one listener: a ring while nobody listens is kept, many rings are one.
final class Bell: Sendable {
    private struct State {
        var rung = false
        var listener: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())

    func ring() {
        let listener = state.withLock { state in
            guard let listener = state.listener else {
                state.rung = true
                return nil as CheckedContinuation<Void, Never>?
            }
            state.listener = nil
            return listener
        }
        listener?.resume()
    }

    /// Returns at a ring or when the task is cancelled.
    func wait() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let through = state.withLock { state in
                    if state.rung || Task.isCancelled {
                        state.rung = false
                        return true
                    }
                    state.listener = continuation
                    return false
                }
                if through { continuation.resume() }
            }
        } onCancel: {
            let listener = state.withLock { state in
                defer { state.listener = nil }
                return state.listener
            }
            listener?.resume()
        }
    }

    /// Returns at a ring, at `deadline`, or when the task is cancelled.
    func wait(until deadline: ContinuousClock.Instant) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { try? await Task.sleep(until: deadline, clock: .continuous) }
            group.addTask { await self.wait() }
            await group.next()
            group.cancelAll()
        }
    }
}
