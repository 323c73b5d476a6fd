import CargoArtifact
import CargoWire
import FoundationEssentials
import Synchronization

/// An attempt's log as another coordinator reads it here: frames, until the attempt is over or, where it does not follow, until now.
public struct ServedLog {
    /// Seconds after which silence is said.
    private static let idleSeconds = 5.0

    /// Listens for as long as it is read.
    private final class Listening: Sendable {
        let queue: JobQueue
        let key: JobKey
        let bell = Doorbell()

        init(_ queue: JobQueue, _ key: JobKey) {
            self.queue = queue
            self.key = key
            queue.signals.listen(key, bell)
        }

        deinit { queue.signals.leave(key, bell) }
    }

    private let listening: Listening
    private let attempt: Int
    private let base: Int64
    private let follows: Bool
    private var position: LogPosition
    private var isHeadKnown = false
    private var progressSeen: UInt64 = 0
    /// Nil: to be asked of the store.
    private var isOver: Bool?
    private var hasEnded = false
    private var isFirst = true

    /// - Parameters:
    ///   - base: where the part that is read begins.
    ///   - after: the first byte that is wanted.
    public init(_ queue: JobQueue, _ key: JobKey, attempt: Int, base: Int64, after: Int64, follows: Bool) {
        listening = Listening(queue, key)
        self.attempt = attempt
        self.base = base
        self.follows = follows
        position = LogPosition(offset: max(after, base))
    }

    /// The next frames, some 64 KiB at most beyond one; nil after the last.
    public mutating func next() async throws -> [UInt8]? {
        let (queue, key) = (listening.queue, listening.key)
        var out: [UInt8] = []
        // So that the other side knows at once that somebody is there.
        if isFirst { try PeerFrame.idle.write(into: &out) }
        isFirst = false
        while !hasEnded {
            // Asked before the log is read: what was written before the end is then read too.
            let over = try await isOver(queue, key)
            if !isHeadKnown, let (now, head) = queue.answers[key.id], now == attempt {
                isHeadKnown = true
                try PeerFrame.head(head).write(into: &out)
            }
            while out.count < LogSegment.largestRecord,
                let piece = try queue.logs.read(key.id, attempt: attempt, base: base, from: &position)
            {
                try PeerFrame.piece(piece).write(into: &out)
            }
            if out.count >= LogSegment.largestRecord { return out }
            if let (version, value) = queue.progress.withLock({ $0[key.id] }), version != progressSeen {
                progressSeen = version
                try PeerFrame.progress(value).write(into: &out)
            }
            if over || !follows {
                try PeerFrame.end.write(into: &out)
                hasEnded = true
            }
            if !out.isEmpty { return out }
            let cause = await listening.bell.wait(seconds: Self.idleSeconds)
            if cause.contains(.closing) || Task.isCancelled { return nil }
            if cause.isEmpty { try PeerFrame.idle.write(into: &out) }
            if cause.isEmpty || cause.contains(.rows) { isOver = nil }
        }
        return nil
    }

    private mutating func isOver(_ queue: JobQueue, _ key: JobKey) async throws -> Bool {
        if let isOver { return isOver }
        let over: Bool
        do {
            let (record, _, _) = try await queue.store.job(key)
            let runs = record.state.status == .provisioning || record.state.status == .processing
            over = record.state.attempt > attempt || !runs
        } catch StoreError.notFound {
            over = true
        }
        isOver = over
        return over
    }
}
