import CargoQueue
import Synchronization

/// The requests that no store sees: how many are open, and who waits for a host of its model to have room.
public final class DirectRequests: Sendable {
    private struct State {
        var open = 0
        var begun = 0
        var failed = 0
        /// In the order in which they came, by model.
        var waiting: [String: [Doorbell]] = [:]
        var waitingCount = 0
        var bytes = 0
        var accounts: [Int64: Share] = [:]
    }

    /// What one account has of what is everyone's.
    private struct Share {
        var bytes = 0
        var waiting = 0
    }

    /// Requests that wait for room at most: beyond that a client hears at once that it is too much.
    static let mostWaiting = 1000
    /// Bytes of all requests together, which memory alone holds.
    static let mostBytes = 1 << 30
    /// How long one waits at most before it looks again: a host that comes or reports rings nobody.
    private static let look = 0.25

    private let state = Mutex(State())

    init() {}

    /// Requests that were asked and have not ended; what a drain waits for.
    public var open: Int { state.withLock { $0.open } }
    var counts: (open: Int, begun: Int, failed: Int) { state.withLock { ($0.open, $0.begun, $0.failed) } }

    /// Whether an account that has `own` of what is everyone's may have more: as much as the others leave it twice over, so
    /// that something is left for whoever comes.
    static func leaves(_ own: Int, of all: Int, most: Int) -> Bool { own <= most - all }

    func begin(account: Int64, bytes: Int) throws {
        let fits = state.withLock { state in
            let own = state.accounts[account]?.bytes ?? 0
            guard Self.leaves(own + bytes, of: state.bytes + bytes, most: Self.mostBytes) else { return false }
            state.open += 1
            state.begun += 1
            state.bytes += bytes
            state.accounts[account, default: Share()].bytes += bytes
            return true
        }
        guard fits else {
            throw GatewayError(503, "overloaded", "Too much is asked at once; ask again in a moment.", retryAfter: 1)
        }
    }

    func end(account: Int64, bytes: Int, failed: Bool) {
        state.withLock { state in
            state.open -= 1
            if failed { state.failed += 1 }
            state.bytes -= bytes
            state.accounts[account]?.bytes -= bytes
            Self.tidy(account, &state)
        }
    }

    private static func tidy(_ account: Int64, _ state: inout State) {
        guard let share = state.accounts[account], share.bytes <= 0, share.waiting <= 0 else { return }
        state.accounts[account] = nil
    }

    /// Waits until a request for this model has ended, for a moment at most.
    func wait(for model: String, account: Int64, seconds: Double) async throws {
        let bell = Doorbell()
        let fits = state.withLock { state in
            let own = state.accounts[account]?.waiting ?? 0
            guard Self.leaves(own + 1, of: state.waitingCount + 1, most: Self.mostWaiting) else { return false }
            state.waiting[model, default: []].append(bell)
            state.waitingCount += 1
            state.accounts[account, default: Share()].waiting += 1
            return true
        }
        guard fits else {
            throw GatewayError(503, "overloaded", "Every host of '\(model)' is busy and too many wait; ask again.", retryAfter: 1)
        }
        _ = await bell.wait(seconds: min(seconds, Self.look))
        leave(model, bell)
        state.withLock { state in
            state.accounts[account]?.waiting -= 1
            Self.tidy(account, &state)
        }
    }

    /// A host of this model has room for one more.
    func freed(_ model: String) {
        // It leaves the line with its ring: the next room is for the next one.
        let bell = state.withLock { state -> Doorbell? in
            guard let bell = state.waiting[model]?.removeFirst() else { return nil }
            if state.waiting[model]?.isEmpty == true { state.waiting[model] = nil }
            state.waitingCount -= 1
            return bell
        }
        bell?.ring(.work)
    }

    private func leave(_ model: String, _ bell: Doorbell) {
        state.withLock { state in
            guard let place = state.waiting[model]?.firstIndex(where: { $0 === bell }) else { return }
            state.waiting[model]?.remove(at: place)
            if state.waiting[model]?.isEmpty == true { state.waiting[model] = nil }
            state.waitingCount -= 1
        }
    }
}
