import Foundation
import Synchronization

/// The system's random source, asked for 4 KiB at a time: one system call for hundreds of ids, salts and tokens, where the
/// system's own generator makes one for each eight bytes. What was handed out is wiped from the pool.
struct PooledRandom: RandomNumberGenerator {
    private static let words = 512
    private static let pool = Mutex<[UInt64]>([])

    mutating func next() -> UInt64 {
        Self.pool.withLock { pool in
            if pool.isEmpty { pool = Self.fresh() }
            defer {
                pool[pool.count - 1] = 0
                pool.removeLast()
            }
            return pool[pool.count - 1]
        }
    }

    private static func fresh() -> [UInt64] {
        var fresh = [UInt64](repeating: 0, count: words)
        let isFilled = fresh.withUnsafeMutableBytes { bytes in
            // At most 256 bytes a call (getentropy(3)).
            stride(from: 0, to: bytes.count, by: 256).allSatisfy { start in
                let part = UnsafeMutableRawBufferPointer(rebasing: bytes[start..<min(start + 256, bytes.count)])
                return part.baseAddress.map { getentropy($0, part.count) } == 0
            }
        }
        guard !isFilled else { return fresh }
        var system = SystemRandomNumberGenerator()
        return fresh.map { _ in system.next() }
    }

    static func bytes(_ count: Int) -> [UInt8] {
        var random = PooledRandom()
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 8)
        while bytes.count < count {
            withUnsafeBytes(of: random.next()) { bytes.append(contentsOf: $0) }
        }
        bytes.removeLast(bytes.count - count)
        return bytes
    }
}
