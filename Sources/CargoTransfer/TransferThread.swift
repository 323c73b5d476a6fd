internal import Glibc
internal import Synchronization

/// A thread of its own for work that blocks, so that no thread of the cooperative pool waits for the network.
struct TransferThread: ~Copyable {
    private var thread = pthread_t()

    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    /// Starts at once; throws when the system has no thread left.
    init(_ body: @escaping @Sendable () -> Void) throws(TransferFailure) {
        let box = Unmanaged.passRetained(Body(body))
        let result = pthread_create(
            &thread, nil,
            { argument in
                // TLS writes to closed sockets without MSG_NOSIGNAL: such a signal stays with this thread and ends with it.
                var signals = sigset_t()
                sigemptyset(&signals)
                sigaddset(&signals, SIGPIPE)
                pthread_sigmask(SIG_BLOCK, &signals, nil)
                if let argument { Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run() }
                return nil
            }, box.toOpaque())
        guard result == 0 else {
            box.release()
            throw TransferFailure(.unavailable, "the system has no thread left for a transfer; try again later")
        }
    }

    consuming func join() { pthread_join(thread, nil) }
    consuming func detach() { pthread_detach(thread) }
}
