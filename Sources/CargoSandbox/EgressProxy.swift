import CLinux
import Glibc
import Synchronization

/// The one way out of a job that may reach single targets: a CONNECT proxy (RFC 9110, section 9.3.6) that listens on the
/// sandbox's own loopback and connects from the host.
///
/// It resolves the name itself, connects to the very address that it checked, and passes bytes on. Threads of its own do
/// it: one that accepts and one a connection, at most `most` at once.
final class EgressProxy: Sendable {
    static let port = 3128
    /// Connections of one job at once; more wait in the kernel's queue.
    static let most = 32
    /// Most bytes of a request's head, and milliseconds until it must have come and the target must have answered.
    private static let headBytes = 8192
    private static let patience: Int32 = 15_000
    /// Milliseconds without a byte in either direction after which a connection is given up.
    private static let idle: Int32 = 300_000

    private let listener: Descriptor
    private let targets: Set<EgressTarget>
    private let privateAddresses: Bool
    /// Readable once the job has ended: every wait here watches it.
    private let ended: Descriptor
    private let running = Atomic<Int>(0)

    init(listener: Descriptor, targets: [EgressTarget], privateAddresses: Bool) throws {
        self.listener = listener
        self.targets = Set(targets)
        self.privateAddresses = privateAddresses
        ended = Descriptor(try check("make an event descriptor") { eventfd(0, Int32(EFD_CLOEXEC)) })
        OwnThread.start(name: "egress") { [self] in accept() }
    }

    /// Ends every connection.
    func stop() {
        var one: UInt64 = 1
        _ = write(ended.number, &one, 8)
    }

    private func accept() {
        while wait(for: [(listener, POLLIN)], milliseconds: -1) != nil {
            if running.load(ordering: .relaxed) >= EgressProxy.most {
                if wait(for: [], milliseconds: 50) == nil { return }
                continue
            }
            let number = Glibc.accept(listener.number, nil, nil)
            guard number >= 0 else { continue }
            let client = Descriptor(number)
            _ = fcntl(number, F_SETFD, FD_CLOEXEC)
            running.add(1, ordering: .relaxed)
            OwnThread.start(name: "egress") { [self] in
                serve(client)
                running.subtract(1, ordering: .relaxed)
            }
        }
    }

    private func serve(_ client: Descriptor) {
        guard (try? client.setNonblocking()) != nil, let (head, early) = head(from: client) else { return }
        guard let target = EgressProxy.target(of: head) else {
            return answer(client, "405 Method Not Allowed", "this proxy knows CONNECT host:port alone")
        }
        guard targets.contains(target) else {
            return answer(client, "403 Forbidden", "\(target) is not among the targets of this cargo")
        }
        guard let server = connect(to: target) else {
            return answer(client, "502 Bad Gateway", "\(target) has no public address that answers")
        }
        guard send("HTTP/1.1 200 Connection established\r\n\r\n", to: client), send(early, to: server) else { return }
        relay(client, server)
    }

    /// The target of a request line, or nil.
    static func target(of head: String) -> EgressTarget? {
        let words = head.prefix { $0 != "\r\n" && $0 != "\n" }.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, words[0] == "CONNECT", words[2].hasPrefix("HTTP/1.") else { return nil }
        return EgressTarget(words[1])
    }

    /// The request's head and what came with it, or nil when it does not come in time or is too long.
    private func head(from client: Descriptor) -> (head: String, early: [UInt8])? {
        var bytes: [UInt8] = []
        let end: [UInt8] = [13, 10, 13, 10]
        while bytes.count < EgressProxy.headBytes {
            guard wait(for: [(client, POLLIN)], milliseconds: EgressProxy.patience) == [0],
                let more = try? client.read(upTo: 4096),
                !more.isEmpty
            else { return nil }
            bytes += more
            if let start = (0...max(0, bytes.count - 4)).first(where: { Array(bytes[$0..<min($0 + 4, bytes.count)]) == end }) {
                return (String(decoding: bytes[..<start], as: UTF8.self), Array(bytes[(start + 4)...]))
            }
        }
        return nil
    }

    /// Connects to the first acceptable address of the name.
    private func connect(to target: EgressTarget) -> Descriptor? {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(target.host, String(target.port), &hints, &list) == 0 else { return nil }
        defer { freeaddrinfo(list) }
        var next = list
        while let entry = next?.pointee {
            next = entry.ai_next
            guard let address = entry.ai_addr, privateAddresses || EgressProxy.isPublic(address, entry.ai_family) else {
                continue
            }
            let number = socket(
                entry.ai_family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
            guard number >= 0 else { continue }
            let server = Descriptor(number)
            if Glibc.connect(number, address, entry.ai_addrlen) != 0 {
                guard errno == EINPROGRESS, wait(for: [(server, POLLOUT)], milliseconds: EgressProxy.patience) == [0] else {
                    continue
                }
                var failure: Int32 = 0
                var size = socklen_t(4)
                guard getsockopt(number, SOL_SOCKET, SO_ERROR, &failure, &size) == 0, failure == 0 else { continue }
            }
            return server
        }
        return nil
    }

    private static func isPublic(_ address: UnsafeMutablePointer<sockaddr>, _ family: Int32) -> Bool {
        switch family {
        case AF_INET:
            address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { name in
                withUnsafeBytes(of: name.pointee.sin_addr) { PublicAddress.isPublic(v4: Array($0)) }
            }
        case AF_INET6:
            address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { name in
                withUnsafeBytes(of: name.pointee.sin6_addr) { PublicAddress.isPublic(v6: Array($0)) }
            }
        default: false
        }
    }

    /// Passes bytes both ways until both sides have ended, one fails, nothing moves for long, or the job is over.
    private func relay(_ client: Descriptor, _ server: Descriptor) {
        var open = [(from: client, to: server), (from: server, to: client)]
        while !open.isEmpty {
            guard let ready = wait(for: open.map { ($0.from, POLLIN) }, milliseconds: EgressProxy.idle), !ready.isEmpty else {
                return
            }
            for index in ready.reversed() {
                let (from, to) = open[index]
                guard let bytes = try? from.read(upTo: 65536) else { return }
                if bytes.isEmpty {
                    shutdown(to.number, Int32(SHUT_WR))
                    open.remove(at: index)
                } else if !send(bytes, to: to) {
                    return
                }
            }
        }
    }

    /// Indices of those that are ready (empty: time is over), or nil when the job has ended.
    private func wait(for watched: [(descriptor: Descriptor, events: Int32)], milliseconds: Int32) -> [Int]? {
        var list = watched.map { pollfd(fd: $0.descriptor.number, events: Int16($0.events), revents: 0) }
        list.append(pollfd(fd: ended.number, events: Int16(POLLIN), revents: 0))
        let count = nfds_t(list.count)
        while poll(&list, count, milliseconds) < 0 {
            if errno != EINTR { return nil }
        }
        if list[watched.count].revents != 0 { return nil }
        return watched.indices.filter { list[$0].revents != 0 }
    }

    private func send(_ text: String, to descriptor: Descriptor) -> Bool { send(Array(text.utf8), to: descriptor) }

    private func send(_ bytes: [UInt8], to descriptor: Descriptor) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let sent = rest.withUnsafeBytes { Glibc.send(descriptor.number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if sent > 0 {
                rest = rest.dropFirst(sent)
            } else {
                guard errno == EAGAIN || errno == EINTR else { return false }
                guard wait(for: [(descriptor, POLLOUT)], milliseconds: EgressProxy.idle) == [0] else { return false }
            }
        }
        return true
    }

    private func answer(_ client: Descriptor, _ status: String, _ sentence: String) {
        let body = sentence + "\n"
        _ = send(
            "HTTP/1.1 \(status)\r\nContent-Type: text/plain\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n\(body)",
            to: client)
    }
}
