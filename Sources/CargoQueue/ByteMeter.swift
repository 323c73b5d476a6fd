import Synchronization

/// How many bytes each account keeps: what its jobs say, upload, log and leave behind, until retention removes it.
///
/// Totals are rows of the store, written once a second with what was added since: a hot row of each commit would make
/// submits wait for each other. A crash forgets the last second's additions, nobody's data. As many as there are accounts.
final class ByteMeter: Sendable {
    private struct State {
        var totals: [Int64: Int64] = [:]
        /// Not written yet.
        var added: [Int64: Int64] = [:]
        var lastFlush: Uptime?
    }

    /// Rows of a job besides what it says, roughly.
    static let perJob: Int64 = 1024

    private let state = Mutex(State())
    private let most: Int64

    /// - Parameter most: bytes of one account at most.
    init(most: Int64) { self.most = most }

    /// Throws where so many bytes more would be over the account's quota.
    func admit(_ bytes: Int64, account: Int64) throws(StoreError) {
        let kept = state.withLock { ($0.totals[account] ?? 0) + ($0.added[account] ?? 0) }
        guard kept + bytes <= most else { throw .byteQuotaExceeded(most) }
    }

    /// - Parameter bytes: negative for what was removed.
    func add(_ bytes: Int64, account: Int64) { state.withLock { $0.added[account, default: 0] += bytes } }

    /// What to write now; nothing more often than once a second, unless it is the last time.
    func due(at now: Uptime, isLast: Bool = false) -> [Int64: Int64] {
        state.withLock { state in
            if !isLast, let last = state.lastFlush, now < last.advanced(bySeconds: 1) { return [:] }
            state.lastFlush = now
            return state.added.filter { $0.value != 0 }
        }
    }

    /// These additions are on disk now, and the accounts' totals are these.
    func wrote(_ additions: [Int64: Int64], totals: [Int64: Int64]) {
        state.withLock { state in
            for (account, bytes) in additions {
                let rest = (state.added[account] ?? 0) - bytes
                state.added[account] = rest == 0 ? nil : rest
            }
            for (account, total) in totals { state.totals[account] = total }
        }
    }
}

extension NewJob {
    /// What it takes of its account's quota.
    var keptBytes: Int64 { ByteMeter.perJob + Int64(spec.count + (metadata?.count ?? 0)) }
}
