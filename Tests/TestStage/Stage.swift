public import Foundation
import Synchronization

/// A folder of its own for one test: store, configuration, scratch; and the programs run in it.
public final class Stage: Sendable {
    public let folder: URL
    /// What was started and may run still.
    private let started = Mutex<[RunningProgram]>([])

    public init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "longshore-test-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    /// A test that failed half-way leaves nothing running.
    deinit {
        for program in started.withLock({ $0 }) where program.isRunning { program.send(SIGKILL) }
        try? FileManager.default.removeItem(at: folder)
    }

    /// Where the build put the programs: beside the test bundle.
    public static let programs: URL = {
        let own = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        return own.deletingLastPathComponent()
    }()

    public static let repository: URL = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    public func path(_ name: String) -> String { folder.appending(path: name).path }

    public func write(_ text: String, to name: String) throws {
        let file = folder.appending(path: name)
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
    }

    public func environment(_ more: [String: String] = [:]) -> [String: String] {
        [
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": folder.path, "LONGSHORE_HOME": path("home"),
            "LONGSHORE_CONFIG": path("config"), "SECRET_OF_THE_HOST": "do-not-leak",
        ].merging(more) { $1 }
    }

    /// Starts one of our programs (`longshore …`) or one of the system's (`/usr/bin/skopeo …`).
    public func start(_ command: [String], environment more: [String: String] = [:]) throws -> RunningProgram {
        let program = command[0]
        let executable: URL
        if program.hasPrefix("/") {
            executable = URL(fileURLWithPath: program)
        } else {
            executable = Stage.programs.appending(path: program)
        }
        let running = try RunningProgram(
            executable, Array(command.dropFirst()), environment: environment(more), folder: folder, in: folder)
        started.withLock { started in
            started.removeAll { !$0.isRunning }
            started.append(running)
        }
        return running
    }

    public func run(_ command: String..., environment more: [String: String] = [:]) async throws -> Finished {
        try await start(command, environment: more).finish()
    }

    /// A cargo whose whole behaviour is its shell script.
    @discardableResult
    public func cargo(_ name: String, script: String, yaml: String = "") throws -> String {
        let folder = "src-" + name.replacing("/", with: "-")
        try write(
            """
            name: \(name)
            version: 1.0.0
            kind: process
            command: [sh, main.sh]
            \(yaml)
            """, to: folder + "/cargo.yaml")
        try write(script, to: folder + "/main.sh")
        return path(folder)
    }
}
