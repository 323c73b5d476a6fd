internal import CLinux
internal import CargoFiles
internal import SystemPackage

/// Who listens on this machine's TCP ports, as the kernel's socket diagnostics say (sock_diag(7)), or, where it has none,
/// `/proc/net/tcp` and `tcp6` (proc(5)), which name every other socket too.
struct ListeningSockets: Sendable {
    struct Listener: Hashable, Sendable {
        /// User id of whoever opened the socket.
        let owner: UInt32
        let inode: UInt64
    }

    /// By port, those that a connection to 127.0.0.1 may reach.
    private(set) var byPort: [Int: Set<Listener>] = [:]

    /// Bytes of each table that are read; a machine with more sockets than that is not scanned further.
    private static let limit = 8 << 20

    /// Sockets that listen, at most; a machine with more is asked by its tables.
    private static let most = 4096

    static func current() -> ListeningSockets { diagnosed() ?? tabled() }

    /// Nil where the kernel tells nothing.
    static func diagnosed() -> ListeningSockets? {
        var count = CInt(-1)
        let told = [clinux_listener](unsafeUninitializedCapacity: most) { room, filled in
            count = clinux_listeners(room.baseAddress, CInt(most))
            filled = Int(max(0, min(count, CInt(most))))
        }
        guard (0...CInt(most)).contains(count) else { return nil }
        var sockets = ListeningSockets()
        for listener in told where takesLoopback(listener) {
            sockets.byPort[Int(listener.port), default: []].insert(
                Listener(owner: listener.user, inode: UInt64(listener.inode)))
        }
        return sockets
    }

    static func tabled() -> ListeningSockets {
        var sockets = ListeningSockets()
        for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
            if let table = try? text(of: FilePath(path)) { sockets.take(table: table) }
        }
        return sockets
    }

    /// These files have no size and come in pieces.
    private static func text(of path: FilePath) throws -> String {
        let file = try File.open(path)
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 64 << 10)
        while bytes.count < limit {
            let count = try piece.withUnsafeMutableBytes { try file.readNext(into: $0) }
            guard count > 0 else { break }
            bytes += piece[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    mutating func take(table: String) {
        for line in table.split(separator: "\n").dropFirst() {
            let fields = line.split(separator: " ", maxSplits: 10)
            // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …; state 0A is LISTEN.
            guard fields.count >= 10, fields[3] == "0A", let colon = fields[1].lastIndex(of: ":"),
                let port = Int(fields[1][fields[1].index(after: colon)...], radix: 16), let owner = UInt32(fields[7]),
                let inode = UInt64(fields[9]), ListeningSockets.takesLoopback(fields[1][..<colon])
            else { continue }
            byPort[port, default: []].insert(Listener(owner: owner, inode: inode))
        }
    }

    /// Any address, 127.0.0.0/8, and both as IPv6 writes them; ::1 is not reached through 127.0.0.1.
    private static func takesLoopback(_ address: Substring) -> Bool {
        switch address.count {
        case 8: address == "00000000" || address.hasSuffix("7F")
        case 32: address.allSatisfy { $0 == "0" } || (address.hasPrefix("0000000000000000FFFF0000") && address.hasSuffix("7F"))
        default: false
        }
    }

    private static func takesLoopback(_ listener: clinux_listener) -> Bool {
        withUnsafeBytes(of: listener.address) { address in
            if listener.is_ipv6 == 0 { return address[0] == 127 || address.prefix(4).allSatisfy { $0 == 0 } }
            let isMapped = address[..<10].allSatisfy { $0 == 0 } && address[10] == 255 && address[11] == 255
            return address.allSatisfy { $0 == 0 } || (isMapped && address[12] == 127)
        }
    }

    /// Everyone who may answer on the port is one of `trusted`, and there is somebody.
    func isOwned(_ port: Int, by trusted: Set<UInt32>) -> Bool {
        guard let listeners = byPort[port], !listeners.isEmpty else { return false }
        return listeners.allSatisfy { trusted.contains($0.owner) }
    }
}
