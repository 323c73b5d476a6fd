import CargoArtifact
import CargoFiles
import CargoWire
import FoundationEssentials

/// One reader's way along the log of one attempt, whichever coordinators keep its parts.
struct LogTail: Sendable {
    let key: JobKey
    let attempt: Int
    private let queue: JobQueue
    private let bell: Doorbell
    /// Whether it waits for what is still to come.
    private let follows: Bool
    private var position: LogPosition
    /// Given back by the reader, to be read again.
    private var held: [LogPiece] = []
    /// Nil: to be asked for.
    private var parts: [LogPart]?
    private var current: LogPart?
    private var remote: RemoteLog?

    /// - Parameter bell: rung when bytes come from elsewhere; who appends here rings those that listen to the job.
    init(_ queue: JobQueue, _ key: JobKey, attempt: Int, from offset: Int64 = 0, bell: Doorbell, follows: Bool = true) {
        self.queue = queue
        self.key = key
        self.attempt = attempt
        self.bell = bell
        self.follows = follows
        position = LogPosition(offset: offset)
    }

    /// The attempt's host may have gone on with another coordinator.
    mutating func moved() { if queue.peers != nil { parts = nil } }

    /// How the answer begins, where another coordinator says so.
    var remoteHead: AnswerHead? { remote?.head }
    var remoteProgress: (version: UInt64, value: JSONValue)? { remote?.progress }

    /// To be read again, before anything else.
    mutating func putBack(_ piece: LogPiece) { if !piece.bytes.isEmpty { held.insert(piece, at: 0) } }

    /// The next piece of one stream that is at hand, at most some 64 KiB more than what was put back; nil when there is none now.
    mutating func read() async throws -> LogPiece? {
        guard attempt > 0 else { return nil }
        guard !held.isEmpty else { return try await fresh() }
        var piece = held.removeFirst()
        if held.isEmpty, let more = try await fresh() {
            if more.stream == piece.stream { piece.bytes += more.bytes } else { held.append(more) }
        }
        return piece
    }

    /// After the attempt's end, when `read` gave nothing new: whether nothing is left to come.
    /// - Parameter bytes: how long the log is, where the attempt's end says so.
    mutating func isDrained(_ bytes: Int64?) throws -> Bool {
        guard let remote else { return parts != nil || queue.peers == nil || attempt == 0 }
        if let bytes, position.offset >= bytes { return true }
        switch remote.end {
        case nil: return false
        case .failed: throw StoreError.unavailable("The coordinator that keeps this log cannot be reached now.")
        case .whole, .lost: return true
        }
    }

    private mutating func fresh() async throws -> LogPiece? {
        while true {
            if parts == nil { parts = try await queue.logParts(key.id, attempt: attempt) }
            guard let parts, let part = LogPart.holding(position.offset, of: parts) else { return nil }
            if part != current {
                current = part
                remote = nil
                position.file = 0
            }
            if queue.keeps(part) {
                // Who wants a whole log at once reads many bytes: not on the thread of a connection.
                guard !follows else { return try queue.logs.read(key.id, attempt: attempt, base: part.base, from: &position) }
                let (logs, id, attempt, from) = (queue.logs, key.id, attempt, position)
                let (piece, next) = try await blocking { () -> (LogPiece?, LogPosition) in
                    var position = from
                    let piece = try logs.read(id, attempt: attempt, base: part.base, from: &position)
                    return (piece, position)
                }
                position = next
                return piece
            }
            guard let peers = queue.peers else { return nil }
            let remote = remote ?? open(peers, part)
            if let piece = remote.take() {
                // What lies between was on a disk that is gone.
                position.offset = piece.end
                return piece
            }
            // One that is gone for good, or lacks its last bytes, has no more for us; the next part may.
            guard let end = remote.end, end != .failed, let next = parts.first(where: { $0.base > position.offset }) else {
                return nil
            }
            position.offset = next.base
        }
    }

    private mutating func open(_ peers: Peers, _ part: LogPart) -> RemoteLog {
        let opened = RemoteLog(
            peers,
            RemoteLog.Ask(key: key, attempt: attempt, part: part, after: max(position.offset, part.base), follows: follows),
            bell: bell)
        remote = opened
        return opened
    }
}
