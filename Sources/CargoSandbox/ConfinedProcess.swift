import CLinux
import Glibc
import Synchronization

/// How a confined process ended and what it used.
public struct ProcessEnding: Hashable, Sendable {
    /// Nil when a signal killed it.
    public var exitCode: Int?
    public var signal: Int?
    public var timedOut: Bool
    /// Processes that the kernel killed because the job was out of memory.
    public var outOfMemoryKills: Int
    public var wallSeconds: Double
    public var cpuSeconds: Double
    /// The largest of its processes.
    public var maxRSSBytes: Int64
}

/// A process in its sandbox, from its start to the removal of the last trace of it.
///
/// Whoever launched it reads `nextOutput` until it gives nil and awaits `wait`, side by side; both always end, because
/// pid 1 of the sandbox ends, at the latest when it is killed, and everything inside with it.
public final class ConfinedProcess: Sendable {
    public enum Stream: Sendable { case standardOutput, standardError }

    /// Most bytes of one piece of output.
    public static let pieceBytes = 65536

    /// Of pid 1 of the sandbox, as this host sees it.
    public let processID: Int32
    private let handle: Descriptor
    private let standardOutput: Descriptor
    private let standardError: Descriptor
    private let status: Descriptor
    /// Closing it, or the supervisor's end, ends everything inside.
    private let control: Descriptor
    private let stopRequest: Descriptor
    private let output: Descriptor
    private let life: Descriptor
    private let timer: Descriptor
    private let cgroup: (any Cgroup)?
    private let user: JobUser
    private let proxy: EgressProxy?
    private let tracer: CallTracer?
    private let started: UInt64
    private let open = Mutex<(output: Bool, error: Bool)>((true, true))
    private let ended = Atomic(false)

    init(
        processID: Int32, handle: Descriptor, standardOutput: Descriptor, standardError: Descriptor, status: Descriptor,
        control: Descriptor, cgroup: (any Cgroup)?, user: JobUser,
        proxy: EgressProxy?, tracer: CallTracer?, started: UInt64
    ) throws(SystemError) {
        self.processID = processID
        self.handle = handle
        self.standardOutput = standardOutput
        self.standardError = standardError
        self.status = status
        self.control = control
        self.cgroup = cgroup
        self.user = user
        self.proxy = proxy
        self.tracer = tracer
        self.started = started
        stopRequest = Descriptor(try check("make an event descriptor") { eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK)) })
        timer = Descriptor(
            try check("make a timer") { timerfd_create(CLOCK_BOOTTIME, Int32(TFD_CLOEXEC) | Int32(TFD_NONBLOCK)) })
        try standardOutput.setNonblocking()
        try standardError.setNonblocking()
        output = try ConfinedProcess.watching([standardOutput, standardError])
        life = try ConfinedProcess.watching([handle, timer, stopRequest])
    }

    /// An epoll descriptor over several others, which the reactor watches as one.
    private static func watching(_ descriptors: [Descriptor]) throws(SystemError) -> Descriptor {
        let epoll = Descriptor(try check("make an epoll descriptor") { epoll_create1(Int32(EPOLL_CLOEXEC)) })
        for descriptor in descriptors {
            var event = epoll_event()
            event.events = EPOLLIN.rawValue
            event.data.fd = descriptor.number
            _ = try check("watch a descriptor") { epoll_ctl(epoll.number, EPOLL_CTL_ADD, descriptor.number, &event) }
        }
        return epoll
    }

    /// The next bytes that the job wrote, in the order in which they are found; nil when both streams have ended.
    /// Nothing is read ahead, so a caller that waits makes the job wait once its pipe is full.
    public func nextOutput() async throws -> (stream: Stream, bytes: [UInt8])? {
        while true {
            let open = self.open.withLock { $0 }
            if open.output, let bytes = try standardOutput.read(upTo: ConfinedProcess.pieceBytes) {
                if !bytes.isEmpty { return (.standardOutput, bytes) }
                self.open.withLock { $0.output = false }
                epoll_ctl(output.number, EPOLL_CTL_DEL, standardOutput.number, nil)
                continue
            }
            if open.error, let bytes = try standardError.read(upTo: ConfinedProcess.pieceBytes) {
                if !bytes.isEmpty { return (.standardError, bytes) }
                self.open.withLock { $0.error = false }
                epoll_ctl(output.number, EPOLL_CTL_DEL, standardError.number, nil)
                continue
            }
            if !open.output, !open.error { return nil }
            await Reactor.shared.readable(output)
        }
    }

    /// Whether everything inside has ended; its output may still stand in the pipes.
    public var isOver: Bool { ended.load(ordering: .relaxed) }

    /// Processor time of everything inside so far, or nil where no cgroup counts it.
    public func cpuSeconds() -> Double? { isOver ? nil : cgroup?.cpuSeconds() }

    /// Bytes that everything inside holds, or nil where no cgroup counts them.
    public func memoryBytes() -> Int64? { isOver ? nil : cgroup?.memoryBytes() }

    /// Whether a process of this host is one of those inside: by the job's cgroup, and where there is none by its
    /// namespace of process ids, which no one outside can enter.
    public func contains(_ process: Int32) -> Bool {
        guard !isOver, process > 0 else { return false }
        if let cgroup { return cgroup.contains(process) }
        func namespace(_ process: Int32) -> [UInt8]? {
            var bytes = [UInt8](repeating: 0, count: 64)
            let path = "/proc/\(process)/ns/pid"
            let count = bytes.withUnsafeMutableBytes { buffer in
                buffer.bindMemory(to: CChar.self).baseAddress.map { readlink(path, $0, buffer.count) } ?? -1
            }
            return count > 0 ? Array(bytes.prefix(count)) : nil
        }
        guard let own = namespace(processID) else { return false }
        return namespace(process) == own
    }

    /// The system calls that the filter denied, by name, where they are traced.
    public var deniedCalls: [String: Int] { tracer?.counts ?? [:] }

    /// Asks for the end: SIGTERM now, SIGKILL after the grace that `wait` was given. May be called at any time.
    public func stop() {
        var one: UInt64 = 1
        _ = write(stopRequest.number, &one, 8)
    }

    /// Kills everything inside at once.
    public func kill() { _ = clinux_pidfd_signal(handle.number, SIGKILL) }

    /// Waits for the end of everything inside and removes its cgroup.
    /// - Parameters:
    ///   - timeout: seconds of wall time until SIGTERM; nil is none.
    ///   - grace: seconds between SIGTERM and SIGKILL; 0 kills at once.
    public func wait(timeout: Double?, grace: Double) async throws -> ProcessEnding {
        var timedOut = false
        var stopping = false
        if let timeout { arm(seconds: timeout) }
        var rawStatus: Int32 = 0
        var usage = rusage()
        waiting: while true {
            await withTaskCancellationHandler {
                await Reactor.shared.readable(life)
            } onCancel: {
                stop()
            }
            switch clinux_pidfd_reap(handle.number, &rawStatus, &usage) {
            case 1: break waiting
            case 0: break
            default: throw SystemError("wait for the job")
            }
            let expired = drain(timer)
            let asked = drain(stopRequest)
            if stopping, expired {
                kill()
            } else if !stopping, expired || asked {
                stopping = true
                timedOut = expired
                if grace <= 0 {
                    kill()
                } else {
                    try? control.send(UInt8(SIGTERM))
                    arm(seconds: grace)
                }
            }
        }
        ended.store(true, ordering: .relaxed)
        let wall = Double(Clock.nanoseconds() - started) / 1e9
        // Pid 1 writes how the command ended before it ends itself; silence means that pid 1 was killed.
        let said = try status.read(upTo: 4) ?? []
        if said.count == 4 {
            rawStatus = Int32(
                bitPattern: said.enumerated().reduce(0 as UInt32) { $0 | UInt32($1.element) << (8 * UInt32($1.offset)) })
        }
        proxy?.stop()
        let killed = clinux_term_signal(rawStatus)
        let exact = cgroup?.cpuSeconds()
        let kills = cgroup?.outOfMemoryKills() ?? 0
        let (cgroup, user) = (cgroup, user)
        if let cgroup, !cgroup.removeEmpty() {
            // Waiting for the kernel is the launching thread's to do.
            try? await WorkThread.launching.run { cgroup.remove() }
        }
        withExtendedLifetime(user) {}
        return ProcessEnding(
            exitCode: killed != 0 || timedOut ? nil : Int(clinux_exit_code(rawStatus)), signal: killed == 0 ? nil : Int(killed),
            timedOut: timedOut, outOfMemoryKills: kills, wallSeconds: wall,
            cpuSeconds: exact ?? ConfinedProcess.seconds(usage.ru_utime) + ConfinedProcess.seconds(usage.ru_stime),
            maxRSSBytes: Int64(usage.ru_maxrss) * 1024)
    }

    private func arm(seconds: Double) {
        var time = itimerspec()
        let nanoseconds = max(1, min(seconds, 1e9) * 1e9)
        time.it_value.tv_sec = Int(nanoseconds / 1e9)
        time.it_value.tv_nsec = Int(nanoseconds.truncatingRemainder(dividingBy: 1e9))
        if time.it_value.tv_sec == 0, time.it_value.tv_nsec == 0 { time.it_value.tv_nsec = 1 }
        timerfd_settime(timer.number, 0, &time, nil)
    }

    private func drain(_ descriptor: Descriptor) -> Bool {
        var count: UInt64 = 0
        return read(descriptor.number, &count, 8) == 8
    }

    private static func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
}

/// Time since boot, sleep included.
enum Clock {
    static func nanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
