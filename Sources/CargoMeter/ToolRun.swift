internal import Glibc

/// Runs one of the drivers' tools to its end, within a time and a size, and gives what it printed.
///
/// Blocks: for threads that may.
enum ToolRun {
    /// Bytes of output that are read.
    static let mostBytes = 1 << 20
    /// Milliseconds: a driver that hangs must not hold up the metrics of everything else for longer.
    static let patience: Int32 = 3000

    /// The absolute path of a program in the folders where systems keep them; never a folder that the environment names.
    static func find(
        _ name: String, in folders: [String] = ["/usr/bin", "/usr/local/bin", "/bin", "/opt/rocm/bin", "/usr/lib/wsl/lib"]
    ) -> String? {
        folders.map { $0 + "/" + name }.first { access($0, X_OK) == 0 }
    }

    /// Nil when it cannot be run, fails, takes too long or says too much.
    static func output(_ program: String, _ arguments: [String], patience: Int32 = patience) -> [UInt8]? {
        var ends: [Int32] = [0, 0]
        // A pair of sockets, because they can be closed to other children from their making on.
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else { return nil }
        defer { close(ends[0]) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        let words: [UnsafeMutablePointer<CChar>?] = copies([program] + arguments)
        let environment: [UnsafeMutablePointer<CChar>?] = copies(["PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C"])
        defer { for word in words + environment { free(word) } }
        var process = pid_t()
        let failed = posix_spawn(&process, program, &actions, nil, words, environment) != 0
        close(ends[1])
        guard !failed else { return nil }
        let bytes = read(ends[0], within: patience)
        if bytes == nil { kill(process, SIGKILL) }
        var status: Int32 = 0
        while waitpid(process, &status, 0) == -1, errno == EINTR {}
        return status == 0 ? bytes : nil
    }

    /// Strings of C's, with nothing behind the last.
    private static func copies(_ texts: [String]) -> [UnsafeMutablePointer<CChar>?] {
        var copies: [UnsafeMutablePointer<CChar>?] = []
        for text in texts { copies.append(strdup(text)) }
        copies.append(nil)
        return copies
    }

    private static func read(_ descriptor: Int32, within patience: Int32) -> [UInt8]? {
        let deadline = ContinuousClock.now + .milliseconds(Int(patience))
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65536)
        while true {
            let left = deadline - .now
            guard left > .zero, bytes.count < mostBytes else { return nil }
            var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let milliseconds = Int32(
                clamping: left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000 + 1)
            guard poll(&wanted, 1, milliseconds) != 0 else { return nil }
            let count = Glibc.read(descriptor, &piece, piece.count)
            if count == 0 { return bytes }
            if count > 0 { bytes += piece[..<count] } else if errno != EINTR { return nil }
        }
    }
}
