internal import Glibc
internal import Synchronization

/// Runs blocking work (file system, C libraries) on this room's own threads and waits without holding
/// a thread of the cooperative pool.
///
/// At most 64 such threads exist; work beyond that waits its turn in order. Cancelling the task does not
/// interrupt the work.
public func blocking<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        BlockingThreads.shared.submit {
            continuation.resume(with: Result { try work() })
        }
    }
}

/// Calls `body` for 0 ..< count on at most `threads` threads, the caller's among them; the first error is thrown
/// after all have ended.
public func inParallel(_ count: Int, threads: Int, _ body: @escaping @Sendable (Int) throws -> Void) throws {
    let state = Mutex<(next: Int, failure: (any Error)?)>((0, nil))
    let work: @Sendable () -> Void = {
        while let index = state.withLock({ state -> Int? in
            guard state.failure == nil, state.next < count else { return nil }
            defer { state.next += 1 }
            return state.next
        }) {
            do { try body(index) } catch { state.withLock { $0.failure = $0.failure ?? error } }
        }
    }
    let others = (0..<max(0, min(threads, count) - 1)).map { _ in JoinedThread(work) }
    work()
    for other in others { other.join() }
    if let failure = state.withLock({ $0.failure }) { throw failure }
}

/// Runs `companion` on a thread of its own while `body` runs on this one, and waits for both.
///
/// Nil, and neither has run, when no thread could be made. `companion` must end once `body` has returned or thrown.
public func runBeside<Value>(_ companion: @escaping @Sendable () -> Void, _ body: () throws -> Value) rethrows -> Value? {
    var thread = pthread_t()
    guard startThread(&thread, companion) else { return nil }
    defer { pthread_join(thread, nil) }
    return try body()
}

/// A thread with a start and an end that its maker waits for.
private final class JoinedThread {
    private var thread = pthread_t()
    private let started: Bool

    init(_ body: @escaping @Sendable () -> Void) {
        started = startThread(&thread, body)
        if !started { body() }
    }

    func join() {
        if started { pthread_join(thread, nil) }
    }
}

private final class ThreadBody: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

private func startThread(_ thread: inout pthread_t, _ body: @escaping @Sendable () -> Void) -> Bool {
    let box = Unmanaged.passRetained(ThreadBody(body))
    let result = pthread_create(
        &thread, nil,
        { argument in
            if let argument { Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().body() }
            return nil
        }, box.toOpaque())
    if result != 0 { box.release() }
    return result == 0
}

/// Threads that are made when work waits and none is idle, and end after ten idle seconds.
private final class BlockingThreads: @unchecked Sendable {
    static let shared = BlockingThreads()

    private static let limit = 64
    // `@unchecked`: `mutex` guards `waiting`, `idle` and `count`; both C objects live as long as the
    // process, at addresses that never move.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let wake = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var waiting: [@Sendable () -> Void] = []
    private var head = 0
    private var idle = 0
    private var count = 0

    private init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(wake, nil)
    }

    func submit(_ work: @escaping @Sendable () -> Void) {
        pthread_mutex_lock(mutex)
        waiting.append(work)
        let needed = idle < waiting.count - head && count < BlockingThreads.limit
        if needed { count += 1 } else { pthread_cond_signal(wake) }
        pthread_mutex_unlock(mutex)
        guard needed else { return }
        var thread = pthread_t()
        if startThread(&thread, { self.serve() }) {
            pthread_detach(thread)
        } else {
            // No thread to be had: the caller's does the work, which is late but never lost.
            pthread_mutex_lock(mutex)
            count -= 1
            let own = take()
            pthread_mutex_unlock(mutex)
            own?()
        }
    }

    private func serve() {
        pthread_mutex_lock(mutex)
        while true {
            if let work = take() {
                pthread_mutex_unlock(mutex)
                work()
                pthread_mutex_lock(mutex)
                continue
            }
            var until = timespec()
            clock_gettime(CLOCK_REALTIME, &until)
            until.tv_sec += 10
            idle += 1
            let result = pthread_cond_timedwait(wake, mutex, &until)
            idle -= 1
            if result == ETIMEDOUT, head == waiting.count { break }
        }
        count -= 1
        pthread_mutex_unlock(mutex)
    }

    /// The caller holds `mutex`.
    private func take() -> (@Sendable () -> Void)? {
        guard head < waiting.count else { return nil }
        let work = waiting[head]
        head += 1
        if head == waiting.count {
            waiting.removeAll(keepingCapacity: true)
            head = 0
        } else if head >= 1024 {
            waiting.removeFirst(head)
            head = 0
        }
        return work
    }
}
