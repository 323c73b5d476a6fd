import CLinux
import Glibc
import Synchronization

/// Waits for descriptors on a thread of its own, so that no wait for a job ever holds a thread of the cooperative pool.
///
/// One a process; it lives as long as the process. A waiter registers one descriptor for one event; every descriptor
/// here ends in an event of its own (a pipe's end, a process's death), so no wait needs to be taken back.
final class Reactor: Sendable {
    static let shared = Reactor()

    private struct Waiting {
        var next: UInt64 = 1
        var continuations: [UInt64: CheckedContinuation<Void, Never>] = [:]
    }

    private let epoll: Int32
    private let waiting = Mutex(Waiting())

    private init() {
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        precondition(epoll >= 0, "the kernel gave no epoll descriptor: \(SystemError.text(errno))")
        OwnThread.start(name: "reactor") { [self] in run() }
    }

    /// Returns when the descriptor has something to read or its other end is gone.
    func readable(_ descriptor: Descriptor) async {
        await withCheckedContinuation { continuation in
            let token = waiting.withLock { state in
                let token = state.next
                state.next += 1
                state.continuations[token] = continuation
                return token
            }
            var event = epoll_event()
            event.events = EPOLLIN.rawValue | EPOLLRDHUP.rawValue | EPOLLONESHOT.rawValue
            event.data.u64 = token
            if epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor.number, &event) == 0 { return }
            if errno == EEXIST, epoll_ctl(epoll, EPOLL_CTL_MOD, descriptor.number, &event) == 0 { return }
            // What cannot be watched (a plain file) is always ready.
            resume(token)
        }
    }

    private func resume(_ token: UInt64) {
        waiting.withLock { $0.continuations.removeValue(forKey: token) }?.resume()
    }

    private func run() {
        withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: 64) { events in
            while true {
                let count = epoll_wait(epoll, events.baseAddress, 64, -1)
                for index in 0..<max(0, Int(count)) { resume(events[index].data.u64) }
            }
        }
    }
}

/// Threads that live as long as the process.
enum OwnThread {
    static func start(name: String, _ body: @escaping @Sendable () -> Void) {
        final class Box {
            let body: @Sendable () -> Void
            init(_ body: @escaping @Sendable () -> Void) { self.body = body }
        }
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setstacksize(&attributes, 512 * 1024)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        var thread = pthread_t()
        let box = Unmanaged.passRetained(
            Box {
                clinux_name_thread(name)
                body()
            }
        ).toOpaque()
        let result = pthread_create(
            &thread, &attributes,
            { argument in
                if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body() }
                return nil
            }, box)
        precondition(result == 0, "the kernel gave no thread: \(SystemError.text(result))")
    }
}

/// A thread that runs blocking work in order. Processes are started on one such thread because a child's parent-death
/// signal fires when the *thread* that started it ends: this one never does.
final class WorkThread: Sendable {
    /// Starts and ends of jobs. Its queue is bounded by its callers, each of whom waits for its own piece of work.
    static let launching = WorkThread(name: "launching")

    private let queue = Mutex<[@Sendable () -> Void]>([])
    private let signal: Descriptor

    init(name: String) {
        let event = eventfd(0, Int32(EFD_CLOEXEC))
        precondition(event >= 0, "the kernel gave no event descriptor: \(SystemError.text(errno))")
        signal = Descriptor(event)
        OwnThread.start(name: name) { [self] in run() }
    }

    /// Runs `work` on the thread and gives its result.
    func run<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            queue.withLock { $0.append { continuation.resume(with: Result(catching: work)) } }
            var one: UInt64 = 1
            _ = write(signal.number, &one, 8)
        }
    }

    private func run() {
        while true {
            var count: UInt64 = 0
            if read(signal.number, &count, 8) < 0 { continue }
            let work = queue.withLock { work in
                defer { work.removeAll() }
                return work
            }
            for piece in work { piece() }
        }
    }
}
