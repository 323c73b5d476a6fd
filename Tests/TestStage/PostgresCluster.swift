internal import Foundation
import Synchronization

/// A private PostgreSQL of this test process: a cluster in a folder of its own under an unprivileged user, ended with the process.
public final class PostgresCluster: Sendable {
    /// Where the server's programs are; nil when it is not installed.
    public static let programs: String? = {
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: "/usr/lib/postgresql")) ?? []
        let newest = versions.compactMap(Int.init).max()
        return newest.map { "/usr/lib/postgresql/\($0)/bin" }
    }()

    public static let shared = Result { try PostgresCluster() }

    public struct Failed: Error, CustomStringConvertible {
        public let description: String
    }

    let folder: String
    private let number = Mutex(0)
    private let programs: String
    /// The watchdog: it stops the server when this process ends, however it ends.
    private let watchdog: Process

    private init() throws {
        guard let programs = Self.programs else {
            throw Failed(description: "PostgreSQL is not installed: apt-get install postgresql")
        }
        self.programs = programs
        var template = Array("/tmp/longshore-pg-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Failed(description: "no folder: \(errno)") }
        folder = String(cString: made)
        // Sockets alone: no port that two runs could fight for. No test here cuts the power, so nothing waits for a disk.
        let script = """
            folder=$1; bin=$2
            user=""
            if [ "$(id -u)" = 0 ]; then user="setpriv --reuid=nobody --regid=nogroup --clear-groups"; chown nobody:nogroup "$folder"; fi
            cd /
            $user "$bin/initdb" -D "$folder/data" -U test -A trust -N >"$folder/log" 2>&1 || exit 1
            $user "$bin/postgres" -D "$folder/data" -k "$folder" -c listen_addresses= -c fsync=off -c max_connections=400 >>"$folder/log" 2>&1 &
            server=$!
            read -r _
            kill -INT $server
            wait $server
            rm -rf "$folder"
            """
        watchdog = Process()
        watchdog.executableURL = URL(fileURLWithPath: "/bin/sh")
        watchdog.arguments = ["-c", script, "sh", folder, programs]
        watchdog.standardInput = Pipe()
        try watchdog.run()
        try waitUntilReady()
    }

    private func waitUntilReady() throws {
        let end = Date(timeIntervalSinceNow: 60)
        while Date() < end {
            guard watchdog.isRunning else { throw Failed(description: "initdb failed; see \(folder)/log") }
            if try run("pg_isready", "-q", "-h", folder, "-U", "test", "-d", "postgres") == 0 { return }
            usleep(50_000)
        }
        throw Failed(description: "PostgreSQL did not start; see \(folder)/log")
    }

    @discardableResult
    private func run(_ program: String, _ arguments: String...) throws -> Int32 {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: programs + "/" + program)
        process.arguments = arguments
        try process.run()
        process.waitUntilExit()
        return process.terminationStatus
    }

    /// A fresh database; its URL.
    public func database() throws -> String {
        let name = number.withLock { number in
            number += 1
            return "t\(number)"
        }
        guard try run("createdb", "-h", folder, "-U", "test", name) == 0 else { throw Failed(description: "no database \(name)") }
        return "postgresql://test@/\(name)?host=\(folder)"
    }

    /// Ends every connection to a database at once, as a restart of the server does.
    public func disconnectAll(_ url: String) throws {
        try run(
            "psql", "-q", "-d", url, "-c",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    }
}
