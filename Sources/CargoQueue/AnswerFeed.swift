public import CargoWire
import Foundation
import Synchronization

/// One piece of the answer to a model request.
public enum AnswerEvent: Sendable {
    case head(AnswerHead)
    /// Bytes of the body, in order.
    case body([UInt8])
    /// Nothing came for as long as the reader waits.
    case idle
    /// The request is over: nothing follows.
    case ended(JobStatus, JobError?, ModelUsage?)
    /// The coordinator is going: the request goes on without this reader.
    case closing
}

/// How the answers that are under way begin: one for each model request that runs.
final class LiveAnswers: Sendable {
    private let heads = Mutex<[JobID: (attempt: Int, head: AnswerHead)]>([:])

    subscript(_ id: JobID) -> (attempt: Int, head: AnswerHead)? { heads.withLock { $0[id] } }

    func begin(_ id: JobID, attempt: Int, _ head: AnswerHead) { heads.withLock { $0[id] = (attempt, head) } }

    func end(_ id: JobID) { heads.withLock { _ = $0.removeValue(forKey: id) } }
}

/// Whose key asked what, of the requests that have not ended: a key is charged for what its request took, also when nobody
/// waits for the answer any more. In memory only, at most 100,000.
final class OpenRequests: Sendable {
    struct Open: Sendable {
        var principal: Principal
        var model: String
        /// Of the request.
        var bytes: Int
        var begun: Uptime
        var hold: UsageMeter.Hold?
    }

    private static let most = 100_000
    private let open = Mutex<[JobID: Open]>([:])

    func begin(_ id: JobID, _ request: Open) {
        open.withLock { open in
            if open.count >= OpenRequests.most { open = [:] }
            open[id] = request
        }
    }

    func end(_ id: JobID) -> Open? { open.withLock { $0.removeValue(forKey: id) } }

    var keys: Set<JobKey> {
        open.withLock { Set($0.map { JobKey(account: $0.value.principal.account, id: $0.key) }) }
    }
}

/// Requests that came to their end, some by no word of a host: its lease ran out, or nobody waited for them any more. As many as
/// end between two rounds of `settleEnded`, at most 100,000.
final class EndedRequests: Sendable {
    /// A host's own report of the end, which says what it took, has been counted by then.
    static let delay = 1000
    private let ended = Mutex<[(id: JobID, at: Uptime)]>([])

    private static let most = 100_000

    func note(_ id: JobID, at time: Uptime) {
        ended.withLock { ended in
            if ended.count >= EndedRequests.most { ended = [] }
            ended.append((id, time))
        }
    }

    /// Those that ended a while ago, once.
    func due(at time: Uptime) -> [JobID] {
        ended.withLock { ended in
            let count = ended.prefix { time.milliseconds - $0.at.milliseconds >= Int64(EndedRequests.delay) }.count
            defer { ended.removeFirst(count) }
            return ended.prefix(count).map(\.id)
        }
    }
}

extension ModelUsage {
    /// Tokens that a chat template may put around a prompt, beyond what the request's own bytes allow.
    private static let template = 1024

    /// What a host says that an answer took, as far as it can be true: no token is less than a byte of what was asked or of
    /// what came, and none is negative.
    public func held(to request: Int, answer: Int) -> ModelUsage {
        ModelUsage(
            promptTokens: max(0, min(promptTokens ?? 0, request + ModelUsage.template)),
            completionTokens: max(0, min(completionTokens ?? 0, answer)))
    }
}

extension JobQueue {
    /// Charges what no host reported: a request whose host was lost is a request all the same. Called every few seconds.
    public func settleEnded() {
        for id in endedRequests.due(at: settings.clocks.uptime()) { settle(id, nil, bytes: 0, failed: true) }
    }

    /// A request of this key is on its way: what it takes is the key's.
    /// - Parameters:
    ///   - bytes: of the request.
    ///   - hold: what it was let in with.
    public func charge(_ id: JobID, to principal: Principal, model: String, bytes: Int, hold: UsageMeter.Hold?) {
        openRequests.begin(
            id, .init(principal: principal, model: model, bytes: bytes, begun: settings.clocks.uptime(), hold: hold))
    }

    /// The request has ended. A host's word for its tokens holds up to what went through here (docs/rules.md 3).
    func settle(_ id: JobID, _ took: ModelUsage?, bytes: Int64, failed: Bool) {
        guard let request = openRequests.end(id) else { return }
        let time = settings.clocks.uptime().milliseconds - request.begun.milliseconds
        let held = (took ?? ModelUsage()).held(to: request.bytes, answer: Int(bytes))
        usage.record(
            request.principal, model: request.model, promptTokens: held.promptTokens ?? 0,
            completionTokens: held.completionTokens ?? 0, milliseconds: Double(time), failed: failed,
            hold: request.hold)
    }
}

/// The answer to one model request as it comes; one task reads it.
///
/// Bytes are read as soon as the coordinator has them, before they are on disk: a reader's answer is of one attempt, and
/// an attempt whose bytes somebody may have seen is never tried again.
public struct AnswerFeed: Sendable {
    /// Listens for as long as any copy of the feed lives.
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
    private var attempt = 0
    private var tail: LogTail
    private var sequence: Int64
    private var rowsKnown: Bool
    private var headSent = false
    private var end: (status: JobStatus, detail: TransitionDetail)?

    /// - Parameter sequence: the last transition that the reader knows; 1 right after the submit.
    public init(_ queue: JobQueue, _ key: JobKey, after sequence: Int64 = 0) {
        let listening = Listening(queue, key)
        self.listening = listening
        tail = LogTail(queue, key, attempt: 0, bell: listening.bell)
        self.sequence = sequence
        rowsKnown = sequence > 0
    }

    /// The next event; waits at most `patience` seconds.
    public mutating func next(patience: Double) async throws -> AnswerEvent {
        while true {
            if let event = try await live() { return event }
            if !rowsKnown {
                try await readRows()
                continue
            }
            if let end, try attempt == 0 || tail.isDrained(end.detail.logBytes) {
                return .ended(end.status, end.detail.error, end.detail.usage)
            }
            let cause = await listening.bell.wait(seconds: max(0.001, patience))
            if cause.contains(.rows) {
                rowsKnown = false
                tail.moved()
            }
            if cause.isEmpty { return .idle }
            if cause.contains(.closing) { return .closing }
        }
    }

    /// What can be said without asking for the job's rows.
    private mutating func live() async throws -> AnswerEvent? {
        let (queue, id) = (listening.queue, listening.key.id)
        if !headSent {
            if let (now, _) = queue.answers[id] { attempt = now }
            follow()
            // Whoever keeps the log knows how the answer begins: it is asked as soon as a host has the request.
            if queue.peers != nil, attempt > 0, let piece = try await tail.read() { tail.putBack(piece) }
            guard let head = queue.answers[id]?.head ?? tail.remoteHead ?? ended() else { return nil }
            headSent = true
            return .head(head)
        }
        while let piece = try await tail.read() {
            if piece.stream == .answer { return .body(piece.bytes) }
        }
        return nil
    }

    private mutating func follow() {
        guard attempt != tail.attempt else { return }
        tail = LogTail(listening.queue, listening.key, attempt: attempt, bell: listening.bell)
    }

    private func ended() -> AnswerHead? { end?.detail.answer }

    private mutating func readRows() async throws {
        let rows = try await listening.queue.store.transitions(of: listening.key, after: sequence, limit: 100)
        rowsKnown = rows.count < 100
        for row in rows {
            sequence = row.sequence
            if !headSent { attempt = row.attempt }
            end = row.status.isFinal ? (row.status, try JSONDecoder().decode(TransitionDetail.self, from: row.detail)) : nil
        }
        if sequence == 0 { throw StoreError.notFound }
    }
}
