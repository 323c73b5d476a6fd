import CLinux
import CSeccomp
import Glibc
import Synchronization

/// Counts what a job's filter denies, by answering each denied call in the filter's place.
///
/// The answer is the one that the filter would have given. A thread of its own waits; it ends when the last process
/// under the filter is gone.
final class CallTracer: Sendable {
    private let listener: Descriptor
    private let counted = Mutex<[Int32: Int]>([:])

    init(listener: Descriptor) {
        self.listener = listener
        OwnThread.start(name: "call-tracer") { [self] in run() }
    }

    /// Denials by the call's name.
    var counts: [String: Int] {
        let counted = self.counted.withLock { $0 }
        return Dictionary(uniqueKeysWithValues: counted.map { (CallTracer.name(of: $0.key), $0.value) })
    }

    private static func name(of number: Int32) -> String {
        guard let text = seccomp_syscall_resolve_num_arch(seccomp_arch_native(), number) else { return "call \(number)" }
        defer { free(text) }
        return String(cString: text)
    }

    private func run() {
        while true {
            var watched = pollfd(fd: listener.number, events: Int16(POLLIN), revents: 0)
            guard poll(&watched, 1, -1) >= 0 || errno == EINTR else { return }
            if watched.revents & Int16(POLLIN) == 0, watched.revents != 0 { return }
            var notification = clinux_notification()
            guard clinux_notification_receive(listener.number, &notification) == 0 else { continue }
            counted.withLock { $0[notification.number, default: 0] += 1 }
            let absent = notification.number > SeccompFilter.newestKnownCall
            _ = clinux_notification_refuse(listener.number, notification.id, absent ? ENOSYS : EPERM)
        }
    }
}
