import CargoWire
import Foundation
import Synchronization

/// Hints between the coordinators of one database by LISTEN and NOTIFY, on two connections of their own, away from
/// every transaction: NOTIFY inside one would make all commits wait for each other. A hint may be lost; polling finds
/// what it would have told.
final class PostgresBulletin: @unchecked Sendable {
    // @unchecked: `waiting` and `stopped` are touched only between `condition.lock()` and `unlock()`.

    /// What happened, as one word of a payload.
    enum Change: Hashable, Sendable {
        case ready(String)
        case changed(JobID)
        case ended(JobID, Int)
        case webhook
        /// Keys, hosts or groups.
        case accounts

        var text: String {
            switch self {
            case .ready(let requirement): "r \(requirement)"
            case .changed(let id): "c \(id)"
            case .ended(let id, let attempt): "e \(id) \(attempt)"
            case .webhook: "w"
            case .accounts: "a"
            }
        }

        init?(_ text: Substring) {
            let words = text.split(separator: " ", maxSplits: 2).map(String.init)
            switch (words.first, words.count) {
            case ("r", 2): self = .ready(words[1])
            case ("c", 2):
                guard let id = JobID(words[1]) else { return nil }
                self = .changed(id)
            case ("e", 3):
                guard let id = JobID(words[1]), let attempt = Int(words[2]) else { return nil }
                self = .ended(id, attempt)
            case ("w", 1): self = .webhook
            case ("a", 1): self = .accounts
            default: return nil
            }
        }

        func tell(_ hooks: StoreHooks) {
            switch self {
            case .ready(let requirement): hooks.onReady(Requirement(stored: requirement, avoided: []))
            case .changed(let id): hooks.onChange(id)
            case .ended(let id, let attempt): hooks.onLeaseEnding(id, attempt)
            case .webhook: hooks.onWebhook()
            case .accounts: hooks.onAccounts()
            }
        }
    }

    private static let channel = "longshore"
    /// Bytes of one payload; PostgreSQL takes less than 8000.
    private static let longest = 7000
    /// Hints that wait to be sent; more are dropped, because polling finds what they tell.
    private static let most = 10_000

    private let url: String
    private let hooks: StoreHooks
    /// Whose hints these are: a coordinator has told its own waiters already.
    private let name = RandomText.hexadecimal(bytes: 8)
    private let condition = NSCondition()
    private var waiting: [Change] = []
    private var stopped = false
    private var threads = 2

    init(url: String, hooks: StoreHooks) {
        self.url = url
        self.hooks = hooks
        for (title, body) in [("postgres notify", send), ("postgres listen", listen)] {
            let thread = Thread { [self] in
                body()
                condition.lock()
                threads -= 1
                condition.broadcast()
                condition.unlock()
            }
            thread.name = title
            thread.start()
        }
    }

    func post(_ change: Change) {
        condition.lock()
        if waiting.count < Self.most { waiting.append(change) }
        condition.broadcast()
        condition.unlock()
    }

    func stop() {
        condition.lock()
        stopped = true
        condition.broadcast()
        while threads > 0 { condition.wait() }
        condition.unlock()
    }

    /// What to send next, each hint once; nil at the end.
    private func batch() -> [String]? {
        condition.lock()
        defer { condition.unlock() }
        while waiting.isEmpty, !stopped { condition.wait() }
        guard !stopped else { return nil }
        var payloads: [String] = []
        var payload = name
        var seen: Set<Change> = []
        for change in waiting where seen.insert(change).inserted {
            if payload.utf8.count + change.text.utf8.count > Self.longest {
                payloads.append(payload)
                payload = name
            }
            payload += "\n" + change.text
        }
        waiting = []
        return payloads + [payload]
    }

    private func send() {
        var connection: PostgresConnection?
        while let payloads = batch() {
            do {
                let open = try connection ?? PostgresConnection(url)
                connection = open
                for payload in payloads { try open.run("SELECT pg_notify($1, $2)", [.text(Self.channel), .text(payload)]) }
            } catch {
                connection = nil
                pause(seconds: 0.5)
            }
        }
    }

    private func listen() {
        var connection: PostgresConnection?
        while !isStopped {
            do {
                let open: PostgresConnection
                if let connection {
                    open = connection
                } else {
                    open = try PostgresConnection(url)
                    try open.run("LISTEN \(Self.channel)")
                    connection = open
                }
                for payload in try open.notifications(waiting: 50) { tell(payload) }
            } catch {
                connection = nil
                pause(seconds: 0.5)
            }
        }
    }

    private func tell(_ payload: String) {
        let lines = payload.split(separator: "\n")
        guard let first = lines.first, first != name else { return }
        for line in lines.dropFirst() { Change(line)?.tell(hooks) }
    }

    private var isStopped: Bool {
        condition.lock()
        defer { condition.unlock() }
        return stopped
    }

    private func pause(seconds: Double) {
        let end = Date(timeIntervalSinceNow: seconds * Double.random(in: 0.5...1))
        condition.lock()
        while !stopped, condition.wait(until: end) {}
        condition.unlock()
    }
}
