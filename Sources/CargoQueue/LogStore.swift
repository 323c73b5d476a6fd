import CargoWire
import Foundation
import Synchronization
public import SystemPackage

/// The logs of all attempts: one segment file each, written at once, flushed to disk in batches by one thread.
public final class LogStore: @unchecked Sendable {
    // @unchecked: `waiting` and `stopped` are touched only between `condition.lock()` and `unlock()`.

    private struct Name: Hashable {
        var id: JobID
        var attempt: Int
    }

    private struct Flush {
        var segment: LogSegment
        var done: CheckedContinuation<Void, any Error>
    }

    private let root: FilePath
    /// Segments of attempts that run; as many as there are leases.
    private let open = Mutex<[Name: LogSegment]>([:])
    private let condition = NSCondition()
    private var waiting: [Flush] = []
    private var stopped = false

    /// Opens the folder and the segments of the attempts that were running.
    public init(root: FilePath, running: [RunningAttempt]) throws {
        self.root = root
        for shard in 0..<256 {
            try FileManager.default.createDirectory(
                atPath: root.appending(hexadecimal([UInt8(shard)])).string, withIntermediateDirectories: true)
        }
        for one in running { _ = try segment(one.id, one.attempt, base: one.base) }
        let thread = Thread { [self] in
            while let batch = nextBatch() { flush(batch) }
        }
        thread.name = "log flush"
        thread.start()
    }

    public func stop() {
        condition.lock()
        stopped = true
        condition.signal()
        condition.unlock()
    }

    private func path(_ name: Name, base: Int64) -> FilePath {
        let part = base == 0 ? "" : ".\(base)"
        return folder(name.id).appending("\(name.id).\(name.attempt)\(part).log")
    }

    private func folder(_ id: JobID) -> FilePath { root.appending(hexadecimal([UInt8(truncatingIfNeeded: id.low)])) }

    /// The segment that grows: the last part of the attempt's log, where that is here.
    func segment(_ id: JobID, _ attempt: Int, base: Int64) throws -> LogSegment {
        let name = Name(id: id, attempt: attempt)
        if let known = open.withLock({ $0[name] }), known.base == base { return known }
        let path = path(name, base: base)
        let made = try LogSegment(path: path, base: base)
        return open.withLock { open in
            if let other = open[name], other.base == base { return other }
            open.updateValue(made, forKey: name)?.seal()
            return made
        }
    }

    /// Appends what is new; readers see it at once. Returns where the log ends.
    func append(_ pieces: [LogPiece], to id: JobID, attempt: Int, base: Int64 = 0) throws -> Int64 {
        try segment(id, attempt, base: base).append(pieces)
    }

    /// Waits until all that was appended before is on disk; many waits share one flush. Answers the durable offset.
    func flushed(_ id: JobID, attempt: Int) async throws -> Int64 {
        guard let segment = open.withLock({ $0[Name(id: id, attempt: attempt)] }) else { return 0 }
        return try await flushed(segment)
    }

    /// The same of one segment that is at hand.
    func flushed(_ segment: LogSegment) async throws -> Int64 {
        if segment.durable == segment.end { return segment.durable }
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            condition.lock()
            let accepted = !stopped
            if accepted { waiting.append(Flush(segment: segment, done: continuation)) }
            condition.signal()
            condition.unlock()
            if !accepted { continuation.resume(throwing: StoreError.unavailable("The coordinator is shutting down.")) }
        }
        return segment.durable
    }

    /// Whether all that was appended is on disk.
    func isFlushed(_ id: JobID, attempt: Int) -> Bool {
        guard let segment = open.withLock({ $0[Name(id: id, attempt: attempt)] }) else { return true }
        return segment.durable == segment.end
    }

    /// Length and SHA-256 of a running attempt's log; both of nothing when it has none.
    func summary(_ id: JobID, attempt: Int) -> (bytes: Int64, sha256: String?)? {
        open.withLock { $0[Name(id: id, attempt: attempt)] }?.summary
    }

    /// How much of a running attempt's log survives a power cut.
    func durable(_ id: JobID, attempt: Int) -> Int64 {
        open.withLock { $0[Name(id: id, attempt: attempt)] }?.durable ?? 0
    }

    /// No byte is appended under this attempt from now on.
    func seal(_ id: JobID, attempt: Int) {
        open.withLock { $0.removeValue(forKey: Name(id: id, attempt: attempt)) }?.seal()
    }

    /// Deletes the logs of all attempts of a job that ended.
    func remove(_ id: JobID, attempts: Int) {
        for attempt in stride(from: 1, through: max(attempts, 0), by: 1) {
            _ = try? FileManager.default.removeItem(atPath: path(Name(id: id, attempt: attempt), base: 0).string)
        }
    }

    /// The jobs that have logs in one of the 256 folders, at most `most` of them; those whose names are read as others are left out.
    func jobs(inFolder shard: UInt8, most: Int) throws -> Set<JobID> {
        let names = try FileManager.default.contentsOfDirectory(atPath: root.appending(hexadecimal([shard])).string)
        // Not always the same ones.
        return Set(names.shuffled().lazy.compactMap { $0.split(separator: ".").first.flatMap { JobID($0) } }.prefix(most))
    }

    /// Deletes every part of these jobs' logs in one of the folders.
    func remove(_ ids: Set<JobID>, fromFolder shard: UInt8) throws {
        guard !ids.isEmpty else { return }
        let folder = root.appending(hexadecimal([shard]))
        for name in try FileManager.default.contentsOfDirectory(atPath: folder.string) {
            guard let id = name.split(separator: ".").first.flatMap({ JobID($0) }), ids.contains(id) else { continue }
            try? FileManager.default.removeItem(atPath: folder.appending(name).string)
        }
    }

    /// The next bytes of one stream from a position, at most `limit`; nil where the log ends for now.
    /// - Parameter base: where the part that is read begins.
    func read(
        _ id: JobID, attempt: Int, base: Int64 = 0, from position: inout LogPosition, limit: Int = LogSegment.largestRecord
    ) throws -> LogPiece? {
        let name = Name(id: id, attempt: attempt)
        if let live = open.withLock({ $0[name] }), live.base == base {
            // Only what `append` has finished: a record is never read while it is being written.
            guard position.offset < live.end else { return nil }
            return try LogStore.read(live.descriptor, from: &position, limit: limit, end: live.end)
        }
        let descriptor: FileDescriptor
        do {
            descriptor = try FileDescriptor.open(path(name, base: base), .readOnly, options: [.closeOnExec])
        } catch Errno.noSuchFileOrDirectory {
            return nil
        }
        defer { try? descriptor.close() }
        return try LogStore.read(descriptor, from: &position, limit: limit, end: .max)
    }

    private static func read(
        _ descriptor: FileDescriptor, from position: inout LogPosition, limit: Int, end: Int64
    ) throws -> LogPiece? {
        var piece: LogPiece?
        while position.offset < end, piece.map({ $0.bytes.count < limit }) ?? true,
            let record = try LogSegment.record(at: position.file, in: descriptor, check: false)
        {
            let length = Int64(LogSegment.headLength + record.bytes.count)
            if record.end <= position.offset {
                position.file += length
                continue
            }
            if let begun = piece, begun.stream != record.stream { break }
            let skipped = Int(position.offset - record.offset)
            let room = limit - (piece?.bytes.count ?? 0)
            let part = record.bytes[skipped...].prefix(room)
            if piece == nil { piece = LogPiece(stream: record.stream, offset: position.offset, bytes: []) }
            piece?.bytes += part
            position.offset += Int64(part.count)
            if position.offset == record.end { position.file += length } else { break }
        }
        return piece
    }

    // MARK: The flushing thread

    private func nextBatch() -> [Flush]? {
        condition.lock()
        defer { condition.unlock() }
        while waiting.isEmpty {
            if stopped { return nil }
            condition.wait()
        }
        defer { waiting = [] }
        return waiting
    }

    private func flush(_ batch: [Flush]) {
        var fates: [ObjectIdentifier: Result<Void, any Error>] = [:]
        for item in batch where fates[ObjectIdentifier(item.segment)] == nil {
            fates[ObjectIdentifier(item.segment)] = Result { try item.segment.flush() }
        }
        for item in batch { item.done.resume(with: fates[ObjectIdentifier(item.segment)] ?? .success(())) }
    }
}
