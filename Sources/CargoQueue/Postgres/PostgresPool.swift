import Foundation

/// Threads with a connection each: what is performed waits its turn in order and runs on one of them.
///
/// As many can wait as requests are open: the server's bound on connections is theirs.
final class PostgresPool: @unchecked Sendable {
    // @unchecked: `queue`, `stopped` and `running` are touched only between `condition.lock()` and `unlock()`.

    private typealias Item = (inout PostgresConnection?) -> Void

    private let condition = NSCondition()
    private var queue: [Item] = []
    private var stopped = false
    private var running: Int
    private let url: String
    /// How long a transaction is tried again while the server is away: a restart or a failover takes that long.
    private let patience: Double

    init(url: String, connections: Int = 12, patience: Double = 20) {
        self.url = url
        self.patience = patience
        running = connections
        for number in 0..<connections {
            let thread = Thread { [self] in work() }
            thread.name = "postgres \(number)"
            thread.start()
        }
    }

    private func work() {
        var connection: PostgresConnection?
        while true {
            condition.lock()
            while queue.isEmpty, !stopped { condition.wait() }
            guard !queue.isEmpty else {
                running -= 1
                condition.broadcast()
                condition.unlock()
                return
            }
            let item = queue.removeFirst()
            condition.unlock()
            item(&connection)
        }
    }

    /// Ends what waits, then the threads.
    func stop() {
        condition.lock()
        stopped = true
        condition.broadcast()
        while running > 0 { condition.wait() }
        condition.unlock()
    }

    /// Runs `body` in one transaction, and again when the server was away or asked for it.
    ///
    /// When the connection breaks in the middle of COMMIT nobody knows whether it took effect. `body` then runs again and
    /// must find out by reading the rows that it had written: every body here locks its job's row or inserts under its
    /// unique id first, and so waits until the broken transaction's fate is settled.
    func transaction<Value: Sendable>(_ body: @escaping @Sendable (PostgresConnection) throws -> Value) async throws -> Value {
        try await perform(in: true, body)
    }

    /// Runs `body`, which only reads, outside of a transaction.
    func read<Value: Sendable>(_ body: @escaping @Sendable (PostgresConnection) throws -> Value) async throws -> Value {
        try await perform(in: false, body)
    }

    private func perform<Value: Sendable>(
        in transaction: Bool, _ body: @escaping @Sendable (PostgresConnection) throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Value, any Error>) in
            let item: Item = { [self] connection in
                continuation.resume(with: Result { try attempt(&connection, transaction, body) })
            }
            condition.lock()
            let accepted = !stopped
            if accepted { queue.append(item) }
            condition.signal()
            condition.unlock()
            if !accepted { continuation.resume(throwing: StoreError.unavailable("The coordinator is shutting down.")) }
        }
    }

    private func attempt<Value>(
        _ connection: inout PostgresConnection?, _ transaction: Bool, _ body: (PostgresConnection) throws -> Value
    ) throws -> Value {
        let end = Uptime.now().advanced(bySeconds: patience)
        var pause = 0.02
        while true {
            do {
                let open = try connection ?? PostgresConnection(url)
                connection = open
                return transaction ? try Self.transact(open, body) : try body(open)
            } catch let error as PostgresError {
                if error.isLost { connection = nil }
                guard error.mayRetry, Uptime.now() < end, !isStopped else {
                    throw StoreError.unavailable("The database refused: \(error)")
                }
                Thread.sleep(forTimeInterval: pause * Double.random(in: 0.5...1))
                pause = min(pause * 2, 1)
            }
        }
    }

    private var isStopped: Bool {
        condition.lock()
        defer { condition.unlock() }
        return stopped
    }

    private static func transact<Value>(_ connection: PostgresConnection, _ body: (PostgresConnection) throws -> Value) throws
        -> Value
    {
        try connection.run("BEGIN")
        do {
            let value = try body(connection)
            try connection.run("COMMIT")
            return value
        } catch {
            if (error as? PostgresError)?.isLost != true { try connection.run("ROLLBACK") }
            throw error
        }
    }
}
