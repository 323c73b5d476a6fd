internal import CargoArtifact
public import CargoFiles
internal import Dispatch
internal import Synchronization

extension BlobWriter {
    /// Appends a range of a file, read and written on a second thread while this one hashes.
    ///
    /// What is hashed is what is written: both take the same buffers. Four buffers of 1 MiB are used. Holes of the
    /// source stay holes. No other call may write to this blob meanwhile.
    public func copy(from source: File, at offset: Int64, count: Int64) throws {
        guard count >= CopyPipeline.worthwhile else {
            try source.read(from: offset, count: count) { try write($0) }
            return
        }
        let start = size
        let pipeline = CopyPipeline(source: source, offset: offset, count: count, target: file, start: start)
        let hashed: Void? = try runBeside({ pipeline.fill() }) {
            try pipeline.drain { bytes in append(hashing: bytes) }
        }
        if hashed == nil {
            try source.read(from: offset, count: count) { try write($0) }
        } else {
            // A hole at the end has written nothing.
            try file.truncate(to: start + count)
        }
    }
}

/// Pieces of a file on their way through a small ring: one thread reads and writes them, the other hashes them.
private final class CopyPipeline: @unchecked Sendable {
    static let worthwhile: Int64 = 4 << 20
    private static let slots = 4
    private static let piece = 1 << 20

    private let source: File
    private let offset: Int64
    private let count: Int64
    private let target: File
    private let start: Int64
    // `@unchecked`: a slot belongs to the filler between a wait on `free` and a signal of `filled`, and to the
    // drainer between a wait on `filled` and a signal of `free`; each takes the slots in turn.
    private let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: slots * piece, alignment: 4096)
    private let free = DispatchSemaphore(value: slots)
    private let filled = DispatchSemaphore(value: 0)
    private let failure = Mutex<(any Error)?>(nil)

    init(source: File, offset: Int64, count: Int64, target: File, start: Int64) {
        self.source = source
        self.offset = offset
        self.count = count
        self.target = target
        self.start = start
    }

    deinit { memory.deallocate() }

    private func slot(_ number: Int64, _ size: Int) -> UnsafeMutableRawBufferPointer {
        let base = Int(number % Int64(CopyPipeline.slots)) * CopyPipeline.piece
        return UnsafeMutableRawBufferPointer(rebasing: memory[base..<base + size])
    }

    private func sizeOfPiece(at done: Int64) -> Int { Int(min(Int64(CopyPipeline.piece), count - done)) }

    /// Reads every piece and writes it where it holds data.
    func fill() {
        var done: Int64 = 0
        var number: Int64 = 0
        var data: Range<Int64> = 0..<0
        while done < count {
            free.wait()
            if failure.withLock({ $0 != nil }) { return }
            let bytes = slot(number, sizeOfPiece(at: done))
            let here = offset + done
            do {
                if data.upperBound <= here { data = try source.nextData(from: here, end: offset + count) }
                if data.lowerBound >= here + Int64(bytes.count) {
                    _ = bytes.initializeMemory(as: UInt8.self, repeating: 0)
                } else {
                    guard try source.read(into: bytes, at: here) == bytes.count else {
                        throw Refusal("archive", "the archive became shorter while it was read")
                    }
                    try target.write(UnsafeRawBufferPointer(bytes), at: start + done)
                }
            } catch {
                failure.withLock { $0 = $0 ?? error }
                filled.signal()
                return
            }
            done += Int64(bytes.count)
            number += 1
            filled.signal()
        }
    }

    /// Hands every piece to `body` in order.
    func drain(_ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        var done: Int64 = 0
        var number: Int64 = 0
        while done < count {
            filled.wait()
            if let failure = failure.withLock({ $0 }) { throw failure }
            let bytes = slot(number, sizeOfPiece(at: done))
            do { try body(UnsafeRawBufferPointer(bytes)) } catch {
                failure.withLock { $0 = $0 ?? error }
                free.signal()
                throw error
            }
            done += Int64(bytes.count)
            number += 1
            free.signal()
        }
    }
}
