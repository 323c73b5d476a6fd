public import CargoWire

/// Takes the bytes of one answer as its host sends them: readers have them at once, the disk in its own time.
public struct AnswerIntake: Sendable {
    private let queue: JobQueue
    private let id: JobID
    private let lease: Lease
    private let segment: LogSegment

    /// Begins with a heartbeat that says how the answer begins.
    /// - Parameter base: where the part of the log that is kept here begins.
    public init(_ queue: JobQueue, _ id: JobID, _ beat: Heartbeat, base: Int64) async throws {
        (self.queue, self.id, lease) = (queue, id, beat.lease)
        _ = try await queue.store.renew(id, beat.lease)
        segment = try queue.logs.segment(id, beat.lease.epoch, base: base)
        // Once more: a lease that ended before the segment was there would not have sealed it.
        _ = try await queue.store.renew(id, beat.lease)
        if let answer = beat.answer { queue.begin(answer, of: id, beat.lease) }
        for chunk in beat.logs ?? [] {
            try append(LogPiece(stream: chunk.stream, offset: chunk.offset, bytes: chunk.bytes))
        }
    }

    /// Bytes that follow the last.
    public func take(_ bytes: [UInt8]) throws {
        try append(LogPiece(stream: .answer, offset: segment.end, bytes: bytes))
    }

    private func append(_ piece: LogPiece) throws {
        guard piece.end <= JobQueue.largestLog else { throw StoreError.unavailable("An answer has at most 1 GiB.") }
        _ = try segment.append([piece])
        queue.signals.ring(id, .logs)
    }

    /// The bytes are on their way to who asked before the row that says so.
    public func started() async throws { _ = try await queue.store.report(id, lease, .started, AttemptEnd()) }

    /// How much is here, and how much of it survives a power cut.
    public var end: Int64 { segment.end }
    public var durable: Int64 { segment.durable }

    /// Waits until all that is here is on disk; answers how much that is.
    public func flushed() async throws -> Int64 { try await queue.logs.flushed(segment) }
}

extension JobQueue {
    /// A host says how an answer begins: whoever waits for it may have it.
    func begin(_ answer: AnswerHead, of id: JobID, _ lease: Lease) {
        answers.begin(id, attempt: lease.epoch, answer)
        scheduler.answered(id, by: lease.host)
        signals.ring(id, .logs)
    }
}
