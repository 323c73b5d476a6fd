import Foundation
import GRDB
import Synchronization

/// The one thread that writes to a database: what waits when it is free shares one COMMIT, so that one fsync serves many.
///
/// An item that refuses takes nothing of the others back: most refuse before they write anything; when one refuses
/// after a write, the batch is rolled back and run again with a savepoint for each. Callers go on only after the COMMIT; when it fails, or a statement's failure ended the transaction, every item of the batch fails and
/// nothing of it was kept (docs/rules.md 13).
final class GroupCommit: @unchecked Sendable {
    // @unchecked: `queue` and `stopped` are touched only between `condition.lock()` and `unlock()`.

    /// What to do after the COMMIT, in order, on the writing thread, before any caller goes on.
    typealias Effects = [() -> Void]

    private struct Item {
        var run: (Database, inout Effects) throws -> Void
        /// Called once, after the fate of the batch is known.
        var finish: ((any Error)?) -> Void
    }

    /// Items of one COMMIT at most; the others wait for the next.
    private let largestBatch = 1024
    private let database: DatabasePool
    private let condition = NSCondition()
    private var queue: [Item] = []
    private var stopped = false
    private let finished = DispatchSemaphore(value: 0)
    /// Told how many items each COMMIT carried.
    private let onCommit: @Sendable (Int) -> Void

    init(database: DatabasePool, onCommit: @escaping @Sendable (Int) -> Void = { _ in }) {
        self.database = database
        self.onCommit = onCommit
        let thread = Thread { [self] in
            while let batch = nextBatch() { commit(batch) }
            finished.signal()
        }
        thread.name = "group commit"
        thread.stackSize = 2 << 20
        thread.start()
    }

    /// Runs `body` in the next batch; returns once it is on disk.
    /// As many can wait as requests are open: the server's bound on connections is theirs.
    func perform<Value: Sendable>(
        _ body: @escaping @Sendable (Database, inout Effects) throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Value, any Error>) in
            perform(body) { continuation.resume(with: $0) }
        }
    }

    /// The same without a task that waits: `then` is called once, on the writing thread, where it must not block.
    func perform<Value: Sendable>(
        _ body: @escaping @Sendable (Database, inout Effects) throws -> Value,
        then: @escaping @Sendable (Result<Value, any Error>) -> Void
    ) {
        var outcome: Value?
        let item = Item(
            run: { database, effects in outcome = try body(database, &effects) },
            finish: { error in
                if let error {
                    then(.failure(error))
                } else if let outcome {
                    then(.success(outcome))
                } else {
                    then(.failure(StoreError.unavailable("The write did not run.")))
                }
            })
        condition.lock()
        let accepted = !stopped
        if accepted { queue.append(item) }
        condition.signal()
        condition.unlock()
        if !accepted { item.finish(StoreError.unavailable("The coordinator is shutting down.")) }
    }

    /// The same from a thread that may block.
    func performAndWait(_ body: @escaping (Database) throws -> Void) throws {
        let done = DispatchSemaphore(value: 0)
        let failure = Mutex<(any Error)?>(nil)
        let item = Item(
            run: { database, _ in try body(database) },
            finish: { error in
                failure.withLock { $0 = error }
                done.signal()
            })
        condition.lock()
        let accepted = !stopped
        if accepted { queue.append(item) }
        condition.signal()
        condition.unlock()
        guard accepted else { return }
        done.wait()
        if let error = failure.withLock({ $0 }) { throw error }
    }

    /// Commits what waits, then ends the thread.
    func stop() {
        condition.lock()
        let first = !stopped
        stopped = true
        condition.signal()
        condition.unlock()
        if first { finished.wait() }
    }

    private func nextBatch() -> [Item]? {
        condition.lock()
        defer { condition.unlock() }
        while queue.isEmpty {
            if stopped { return nil }
            condition.wait()
        }
        if queue.count <= largestBatch {
            defer { queue = [] }
            return queue
        }
        defer { queue.removeFirst(largestBatch) }
        return Array(queue.prefix(largestBatch))
    }

    /// An item refused after it had changed rows: only savepoints tell its changes from the others'.
    private struct NeedsSavepoints: Error {}

    private func commit(_ batch: [Item]) {
        var refusals: [Int: any Error] = [:]
        var effects: Effects = []
        var failure: (any Error)?
        do {
            try database.writeWithoutTransaction { database in
                do {
                    try run(batch, database, savepoints: false, &refusals, &effects)
                } catch is NeedsSavepoints {
                    (refusals, effects) = ([:], [])
                    try run(batch, database, savepoints: true, &refusals, &effects)
                }
            }
        } catch {
            failure = StoreError.unavailable("The database refused the write: \(error)")
        }
        if failure == nil {
            for effect in effects { effect() }
            onCommit(batch.count)
        }
        for (index, item) in batch.enumerated() { item.finish(failure ?? refusals[index]) }
    }

    /// One transaction over the batch; when it throws, nothing of it was kept.
    private func run(
        _ batch: [Item], _ database: Database, savepoints: Bool, _ refusals: inout [Int: any Error], _ effects: inout Effects
    ) throws {
        try database.cachedStatement(sql: "BEGIN IMMEDIATE").execute()
        do {
            for (index, item) in batch.enumerated() {
                if savepoints { try database.cachedStatement(sql: "SAVEPOINT item").execute() }
                let changes = database.totalChangesCount
                var own: Effects = []
                do {
                    try item.run(database, &own)
                    effects += own
                } catch let error as DatabaseError where !database.isInsideTransaction || error.resultCode != .SQLITE_CONSTRAINT {
                    throw error
                } catch {
                    guard savepoints || database.totalChangesCount == changes else { throw NeedsSavepoints() }
                    if savepoints { try database.cachedStatement(sql: "ROLLBACK TO item").execute() }
                    refusals[index] = error
                }
                if savepoints { try database.cachedStatement(sql: "RELEASE item").execute() }
            }
            try database.cachedStatement(sql: "COMMIT").execute()
        } catch {
            if database.isInsideTransaction { try? database.execute(sql: "ROLLBACK") }
            throw error
        }
    }
}
