import CLinux
import Glibc
import Synchronization

/// An open file descriptor, closed when its last owner lets go or by `closeNow`.
final class Descriptor: Sendable {
    private let state: Atomic<Int32>

    /// The descriptor, or -1 after `closeNow`.
    var number: Int32 { state.load(ordering: .relaxed) }

    init(_ number: Int32) { state = Atomic(number) }

    deinit { closeNow() }

    /// For ends of pipes, whose other side must see the end at this moment and not when ARC comes to it.
    func closeNow() {
        let number = state.exchange(-1, ordering: .relaxed)
        if number >= 0 { close(number) }
    }

    /// Both ends of a pipe, close-on-exec.
    static func pipe() throws(SystemError) -> (read: Descriptor, write: Descriptor) {
        var ends: (Int32, Int32) = (-1, -1)
        let result = withUnsafeMutableBytes(of: &ends) { clinux_pipe($0.bindMemory(to: Int32.self).baseAddress) }
        guard result == 0 else { throw SystemError("make a pipe") }
        return (Descriptor(ends.0), Descriptor(ends.1))
    }

    /// Two connected stream sockets, close-on-exec.
    static func socketPair() throws(SystemError) -> (Descriptor, Descriptor) {
        var ends: (Int32, Int32) = (-1, -1)
        let result = withUnsafeMutableBytes(of: &ends) { clinux_socket_pair($0.bindMemory(to: Int32.self).baseAddress) }
        guard result == 0 else { throw SystemError("make a pair of sockets") }
        return (Descriptor(ends.0), Descriptor(ends.1))
    }

    static func open(_ path: String, _ flags: Int32, mode: mode_t = 0) throws(SystemError) -> Descriptor {
        Descriptor(try check("open \(path)") { Glibc.open(path, flags | O_CLOEXEC, mode) })
    }

    /// A copy whose number no renumbering of the low descriptors can overwrite.
    func raised() throws(SystemError) -> Descriptor {
        Descriptor(try check("duplicate a descriptor") { clinux_duplicate_high(number) })
    }

    func setNonblocking() throws(SystemError) {
        _ = try check("make a descriptor non-blocking") { fcntl(number, F_SETFL, O_NONBLOCK) }
    }

    /// Sends one byte over a socket. A reader that is gone is an error here, never a SIGPIPE of the whole program.
    func send(_ byte: UInt8) throws(SystemError) {
        var byte = byte
        _ = try check("send a word to cargo-init") { Int32(Glibc.send(number, &byte, 1, Int32(MSG_NOSIGNAL))) }
    }

    /// At most `limit` bytes; empty at the end; nil when nothing is there now.
    func read(upTo limit: Int) throws(SystemError) -> [UInt8]? {
        while true {
            var failure: Int32 = 0
            let bytes = [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
                let result = Glibc.read(number, buffer.baseAddress, limit)
                if result < 0 { failure = errno }
                count = max(0, result)
            }
            switch failure {
            case 0: return bytes
            case EINTR: continue
            case EAGAIN: return nil
            default: throw SystemError("read", failure)
            }
        }
    }
}

/// Small files of `/proc` and cgroup hierarchies, read and written whole.
enum SmallFile {
    /// The text of a file of at most `limit` bytes, or nil when it cannot be read.
    static func text(_ path: String, limit: Int = 1 << 20) -> String? {
        guard let file = try? Descriptor.open(path, O_RDONLY) else { return nil }
        var bytes: [UInt8] = []
        while bytes.count < limit, let more = try? file.read(upTo: 65536), !more.isEmpty { bytes += more }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func write(_ text: String, to path: String) throws(SystemError) {
        let file = try Descriptor.open(path, O_WRONLY)
        let bytes = Array(text.utf8)
        let count = bytes.withUnsafeBytes { Glibc.write(file.number, $0.baseAddress, bytes.count) }
        guard count == bytes.count else { throw SystemError("write '\(text)' to \(path)") }
    }
}
