internal import CargoArtifact
internal import CargoFiles
internal import Glibc

/// The SHA-256 of a stretch of a file that grows: a second thread hashes what is whole while the rest still comes.
final class FollowingHash: @unchecked Sendable {
    // `@unchecked`: `mutex` guards the four variables; both C objects live until `deinit`, at addresses that never move.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let wake = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var available: Int64 = 0
    private var isStopped = false
    private var result: Result<Digest, any Error>?

    private let file: File
    private let base: Int64
    private let size: Int64
    /// Read at once, bytes.
    private static let step: Int64 = 4 << 20

    /// Starts the thread.
    init(_ file: File, at base: Int64, size: Int64) throws {
        self.file = file
        self.base = base
        self.size = size
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(wake, nil)
        // The thread holds `self` until it ends, which `stop` or the last byte makes it do.
        try TransferThread { self.follow() }.detach()
    }

    deinit {
        pthread_mutex_destroy(mutex)
        pthread_cond_destroy(wake)
        mutex.deallocate()
        wake.deallocate()
    }

    private func locked<Value>(_ body: () -> Value) -> Value {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }

    /// The first `prefix` bytes of the stretch are final.
    func advance(to prefix: Int64) {
        locked {
            guard prefix > available else { return }
            available = prefix
            pthread_cond_broadcast(wake)
        }
    }

    func stop() {
        locked {
            isStopped = true
            pthread_cond_broadcast(wake)
        }
    }

    /// Waits for the digest of the whole file; all of it must have been announced.
    func digest() throws -> Digest {
        try locked {
            while result == nil { pthread_cond_wait(wake, mutex) }
            return result ?? .failure(CancellationError())
        }.get()
    }

    private func follow() {
        var hash = ContentHash()
        var done: Int64 = 0
        var outcome: Result<Digest, any Error> = .failure(CancellationError())
        do {
            while done < size {
                let end = locked { () -> Int64? in
                    while available == done, !isStopped { pthread_cond_wait(wake, mutex) }
                    return isStopped ? nil : available
                }
                guard let end else { break }
                while done < end {
                    let count = min(Self.step, end - done)
                    try file.read(from: base + done, count: count) { hash.update($0) }
                    done += count
                    if locked({ isStopped }) { break }
                }
            }
            if done == size { outcome = .success(hash.digest()) }
        } catch {
            outcome = .failure(error)
        }
        let final = outcome
        locked {
            result = final
            pthread_cond_broadcast(wake)
        }
    }
}
