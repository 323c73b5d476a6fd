internal import CargoArtifact
internal import CargoFiles
internal import Glibc
internal import SystemPackage

/// Pieces of a file on their way to a hash, which needs them in order, and to a disk, which does not.
///
/// A few threads read each the next piece and write it, several writes at a time, because one alone leaves a fast disk
/// idle; the caller's thread hashes. A buffer is free again when both are done with it. Holes are not written.
final class PiecePipeline: @unchecked Sendable {
    private static let piece = 1 << 20
    /// 8 MiB for each blob that is copied at a time.
    private static let slots = 8
    private static let writers = 4
    /// Offset, address and length of what goes past the page cache are multiples of this.
    private static let alignment = 4096
    /// Memory in pages of this size is found by the disk's driver in a third of the time.
    private static let largePage = 2 << 20

    private let source: File
    private let offset: Int64
    private let count: Int64
    private let target: File?
    private let direct: File?

    // `@unchecked`: `mutex` guards every variable below. A slot's memory belongs to the writer that claimed it until it
    // is `filled`, and is only read from then on until both readers have let go of it.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: slots * piece, alignment: largePage)
    private let zeros = [UInt8](repeating: 0, count: piece)
    private var free = Array(0..<slots)
    private var users = [Int](repeating: 0, count: slots)
    private var next: Int64 = 0
    private var data: Range<Int64>
    private var filled: [Int64: Filled] = [:]
    private var failure: (any Error)?

    /// A piece that is ready to be hashed.
    private enum Filled {
        case slot(Int)
        case hole
    }

    /// A piece that a writer is to bring.
    private struct Claim {
        var number: Int64
        var slot: Int
        var isHole: Bool
    }

    /// `count` bytes of `source` from `offset`; with a target they are put there from its beginning on.
    init(reading source: File, offset: Int64, count: Int64, writing target: File? = nil, direct: File? = nil) {
        self.source = source
        self.offset = offset
        self.count = count
        self.target = target
        self.direct = direct
        data = offset..<offset
        // A wish: small pages do as well.
        madvise(memory.baseAddress, memory.count, MADV_HUGEPAGE)
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(changed, nil)
    }

    deinit {
        pthread_cond_destroy(changed)
        pthread_mutex_destroy(mutex)
        changed.deallocate()
        mutex.deallocate()
        memory.deallocate()
    }

    /// Hands every piece to `hash` in order; returns when all of it is hashed and written. Use once.
    func run(_ hash: (UnsafeRawBufferPointer) -> Void) throws {
        let hashed: Void? = try runBeside({ [self] in
            // Nothing is thrown: failures travel through `failure`.
            try? inParallel(PiecePipeline.writers, threads: PiecePipeline.writers) { [self] _ in fill() }
        }) { try drain(hash) }
        guard hashed != nil else { return try runAlone(hash) }
        if let failure = locked({ failure }) { throw failure }
    }

    /// The same where no other thread is to be had.
    private func runAlone(_ hash: (UnsafeRawBufferPointer) -> Void) throws {
        var position: Int64 = 0
        try source.read(from: offset, count: count) { bytes in
            try target?.write(bytes, at: position)
            hash(bytes)
            position += Int64(bytes.count)
        }
    }

    private func locked<Value>(_ body: () throws -> Value) rethrows -> Value {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body()
    }

    private func bytes(_ slot: Int, of number: Int64) -> UnsafeMutableRawBufferPointer {
        let base = slot * PiecePipeline.piece
        return UnsafeMutableRawBufferPointer(rebasing: memory[base..<base + length(of: number)])
    }

    private func start(of number: Int64) -> Int64 { number * Int64(PiecePipeline.piece) }
    private func length(of number: Int64) -> Int { Int(min(Int64(PiecePipeline.piece), count - start(of: number))) }

    // MARK: Writers

    private func fill() {
        do {
            while let claim = try locked({ try claim() }) {
                if !claim.isHole { try bring(claim) }
            }
        } catch {
            locked {
                failure = failure ?? error
                _ = pthread_cond_broadcast(changed)
            }
        }
    }

    /// The next piece with a slot for it; nil at the end. The caller holds `mutex`.
    ///
    /// Numbers are given in the order of slots, so the piece that the hash waits for always has one.
    private func claim() throws -> Claim? {
        while free.isEmpty, failure == nil, start(of: next) < count { pthread_cond_wait(changed, mutex) }
        guard failure == nil, start(of: next) < count, let slot = free.last else { return nil }
        let number = next
        let here = offset + start(of: number)
        if data.upperBound <= here { data = try findData(from: here) }
        let isHole = data.lowerBound >= here + Int64(length(of: number))
        next += 1
        free.removeLast()
        users[slot] = isHole || target == nil ? 1 : 2
        if isHole {
            filled[number] = .hole
            users[slot] = 0
            free.append(slot)
            _ = pthread_cond_broadcast(changed)
            // The hash is a bound here too: holes wait for it like slots do.
            while filled.count > PiecePipeline.slots, failure == nil { pthread_cond_wait(changed, mutex) }
        }
        return Claim(number: number, slot: slot, isHole: isHole)
    }

    /// The next range that holds data, its blocks in the target reserved.
    private func findData(from here: Int64) throws -> Range<Int64> {
        let range = try source.nextData(from: here, end: offset + count)
        if let target, !range.isEmpty {
            // Pieces are written whole.
            let piece = Int64(PiecePipeline.piece)
            let low = (range.lowerBound - offset) / piece * piece
            let high = min(count, (range.upperBound - offset + piece - 1) / piece * piece)
            try target.reserve(at: low, count: high - low)
        }
        return range
    }

    private func bring(_ claim: Claim) throws {
        let buffer = bytes(claim.slot, of: claim.number)
        guard try source.read(into: buffer, at: offset + start(of: claim.number)) == buffer.count else {
            throw Refusal("archive", "the archive became shorter while it was read")
        }
        locked {
            filled[claim.number] = .slot(claim.slot)
            _ = pthread_cond_broadcast(changed)
        }
        guard let target else { return }
        let position = start(of: claim.number)
        let wentDirect = try buffer.count % PiecePipeline.alignment == 0 && writeDirectly(buffer, at: position)
        if !wentDirect { try target.write(UnsafeRawBufferPointer(buffer), at: position) }
        locked { letGo(of: claim.slot) }
    }

    /// False where the file system asks for something else; what else is wrong the usual way says too.
    private func writeDirectly(_ bytes: UnsafeMutableRawBufferPointer, at position: Int64) throws -> Bool {
        guard let direct else { return false }
        do {
            try direct.write(UnsafeRawBufferPointer(bytes), at: position)
            return true
        } catch let failure as FileFailure where failure.errno == .invalidArgument { return false }
    }

    /// The caller holds `mutex`.
    private func letGo(of slot: Int) {
        users[slot] -= 1
        guard users[slot] == 0 else { return }
        free.append(slot)
        _ = pthread_cond_broadcast(changed)
    }

    // MARK: Hash

    private func drain(_ hash: (UnsafeRawBufferPointer) -> Void) throws {
        var number: Int64 = 0
        while start(of: number) < count {
            let piece = try locked { () throws -> Filled in
                while true {
                    if let failure { throw failure }
                    if let piece = filled.removeValue(forKey: number) { return piece }
                    pthread_cond_wait(changed, mutex)
                }
            }
            switch piece {
            case .slot(let slot):
                hash(UnsafeRawBufferPointer(bytes(slot, of: number)))
                locked { letGo(of: slot) }
            case .hole:
                zeros.withUnsafeBytes { hash(UnsafeRawBufferPointer(rebasing: $0[..<length(of: number)])) }
                locked { _ = pthread_cond_broadcast(changed) }
            }
            number += 1
        }
    }
}
