import Synchronization

/// Keeps a blob that is about to be named from being removed as unused.
///
/// Whoever finishes a blob and then writes the row that names it does both under `naming`; whoever looks whether a blob is
/// still named and removes it does both under `collecting`, alone. Bodies are received before either.
public final class BlobGuard: Sendable {
    private struct State {
        var naming = 0
        var collecting = false
        /// In the order in which they came, so that neither side starves; as many as requests are open.
        var waiting: [(collects: Bool, continuation: CheckedContinuation<Void, Never>)] = []
    }

    private let state = Mutex(State())

    public init() {}

    public func naming<Value>(_ body: () async throws -> Value) async rethrows -> Value {
        await enter(collects: false)
        defer { leave(collects: false) }
        return try await body()
    }

    public func collecting<Value>(_ body: () async throws -> Value) async rethrows -> Value {
        await enter(collects: true)
        defer { leave(collects: true) }
        return try await body()
    }

    private func enter(collects: Bool) async {
        await withCheckedContinuation { continuation in
            let free = state.withLock { state -> Bool in
                guard state.waiting.isEmpty, !state.collecting, !collects || state.naming == 0 else {
                    state.waiting.append((collects, continuation))
                    return false
                }
                if collects { state.collecting = true } else { state.naming += 1 }
                return true
            }
            if free { continuation.resume() }
        }
    }

    private func leave(collects: Bool) {
        let next = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            if collects { state.collecting = false } else { state.naming -= 1 }
            var next: [CheckedContinuation<Void, Never>] = []
            while let first = state.waiting.first, !state.collecting, !first.collects || state.naming == 0 {
                state.waiting.removeFirst()
                if first.collects { state.collecting = true } else { state.naming += 1 }
                next.append(first.continuation)
            }
            return next
        }
        for continuation in next { continuation.resume() }
    }
}
