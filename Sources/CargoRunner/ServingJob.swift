internal import CLinux
internal import CargoFiles
internal import CargoSandbox
internal import Glibc
internal import Synchronization
internal import SystemPackage

/// A serving cargo while it runs: how it is reached, measured and ended.
public final class ServingJob: Sendable {
    private let process: ConfinedProcess
    /// The folder on this host that is `/job/run` inside; whoever is inside may put anything there.
    private let folder: Folder
    private let job: JobFolder

    init(process: ConfinedProcess, folder: JobFolder) throws {
        self.process = process
        job = folder
        self.folder = try Folder.open(folder.socketFolder)
    }

    /// Whether everything inside has ended.
    public var isOver: Bool { process.isOver }

    /// Bytes of memory that are in use inside, weights that are mapped from files included; nil where nothing counts them.
    public func memoryBytes() -> Int64? { process.memoryBytes() }

    /// The listening socket by which it asks models of this host, where its request said that it does: the caller's from now
    /// on, who closes it. Nil the second time.
    public func takeModelSocket() -> CInt? {
        job.modelSocket.withLock { socket in
            defer { socket = nil }
            return socket
        }
    }

    /// Whether a process of this host is one of those inside.
    public func contains(_ process: Int32) -> Bool { self.process.contains(process) }

    /// Asks for the end: SIGTERM now, SIGKILL after the request's grace.
    public func stop() { process.stop() }

    /// Kills everything inside at once.
    public func kill() { process.kill() }

    /// A new connection to the socket that the cargo listens on, non-blocking and close-on-exec; the caller closes it. Nil while nobody listens.
    ///
    /// The socket is opened at its folder without following a link, and whoever listens must be a process of this very job
    /// (docs/rules.md 19): a name that leads anywhere else, or a socket that someone else listens on, is refused.
    public func connect() throws -> CInt? {
        var peer: CInt = 0
        let line = clinux_connect_beside(folder.descriptor.rawValue, JobEnvironment.socketName, &peer)
        guard line >= 0 else {
            switch errno {
            // Not listening yet, or its queue is full.
            case ENOENT, ECONNREFUSED, EAGAIN: return nil
            case ENOTSOCK: throw RunFailure(.runtime, "the cargo put something else than a socket where it should listen")
            case let reason:
                throw RunFailure(.runtime, "the cargo's socket cannot be reached: \(Errno(rawValue: reason))")
            }
        }
        guard process.contains(peer) else {
            close(line)
            throw RunFailure(.runtime, "another process than the cargo's own listens on its socket")
        }
        return line
    }
}
