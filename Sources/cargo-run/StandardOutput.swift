import Dispatch
import Glibc

/// Writes to this program's own standard streams from a thread of its own, so that a reader who pauses holds up the job
/// and nothing else: time-outs and signals go on.
struct StandardOutput: Sendable {
    /// Somebody closed the other end.
    struct Closed: Error {}

    private let queue = DispatchQueue(label: "standard output")

    /// Returns when all bytes are taken. Throws `Closed` when nobody reads any more.
    func write(_ bytes: [UInt8], to descriptor: Int32) async throws(Closed) {
        let complete = await withCheckedContinuation { (continuation: CheckedContinuation<Bool, Never>) in
            queue.async { continuation.resume(returning: StandardOutput.writeAll(bytes, to: descriptor)) }
        }
        if !complete { throw Closed() }
    }

    private static func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        bytes.withUnsafeBytes { all in
            var rest = all[...]
            while !rest.isEmpty {
                let count = Glibc.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
                if count > 0 {
                    rest = rest.dropFirst(count)
                } else if errno == EAGAIN {
                    // The caller's descriptor does not block: wait until it takes more.
                    var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                    poll(&ready, 1, -1)
                } else if errno != EINTR {
                    return false
                }
            }
            return true
        }
    }
}
