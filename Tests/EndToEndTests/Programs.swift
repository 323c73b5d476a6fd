import Foundation
import SystemPackage

/// What a finished program left behind.
struct Finished {
    /// The exit code, or 128 + the signal that ended it.
    let code: Int32
    let stdout: Data
    let stderr: String

    var text: String { String(decoding: stdout, as: UTF8.self) }
}

/// A running program of this package, or of the system, with its output in files: nothing can block on a pipe.
final class RunningProgram: Sendable {
    let stdoutFile: URL
    let stderrFile: URL
    private let process: Process
    private let ended: AsyncStream<Int32>

    fileprivate init(_ executable: URL, _ arguments: [String], environment: [String: String], folder: URL, in scratch: URL) throws
    {
        let stem = scratch.appending(path: UUID().uuidString)
        stdoutFile = stem.appendingPathExtension("out")
        stderrFile = stem.appendingPathExtension("err")
        _ = FileManager.default.createFile(atPath: stdoutFile.path, contents: nil)
        _ = FileManager.default.createFile(atPath: stderrFile.path, contents: nil)
        let process = Process()
        process.executableURL = executable
        process.arguments = arguments
        process.environment = environment
        process.currentDirectoryURL = folder
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = try FileHandle(forWritingTo: stdoutFile)
        process.standardError = try FileHandle(forWritingTo: stderrFile)
        let (stream, continuation) = AsyncStream.makeStream(of: Int32.self, bufferingPolicy: .bufferingNewest(1))
        process.terminationHandler = { ended in
            let signalled = ended.terminationReason == .uncaughtSignal
            continuation.yield(signalled ? 128 + ended.terminationStatus : ended.terminationStatus)
            continuation.finish()
        }
        ended = stream
        self.process = process
        try process.run()
    }

    var pid: pid_t { process.processIdentifier }
    var isRunning: Bool { process.isRunning }
    var stdout: Data { (try? Data(contentsOf: stdoutFile)) ?? Data() }
    var stderr: String { String(decoding: (try? Data(contentsOf: stderrFile)) ?? Data(), as: UTF8.self) }

    func send(_ signal: Int32) { kill(pid, signal) }

    /// Waits for the end. Called once.
    func finish() async -> Finished {
        var code: Int32 = -1
        for await status in ended { code = status }
        return Finished(code: code, stdout: stdout, stderr: stderr)
    }

    /// Stops it the hard way and waits until it is gone.
    func destroy() async {
        send(SIGKILL)
        _ = await finish()
    }
}

/// A folder of its own for one test: store, configuration, scratch; and the programs run in it.
final class Stage: Sendable {
    let folder: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "longshore-test-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    /// Where the build put the programs: beside the test bundle.
    static let programs: URL = {
        let own = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        return own.deletingLastPathComponent()
    }()

    static let repository: URL = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    func path(_ name: String) -> String { folder.appending(path: name).path }

    func write(_ text: String, to name: String) throws {
        let file = folder.appending(path: name)
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
    }

    func environment(_ more: [String: String] = [:]) -> [String: String] {
        [
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": folder.path, "LONGSHORE_HOME": path("home"),
            "LONGSHORE_CONFIG": path("config"), "SECRET_OF_THE_HOST": "do-not-leak",
        ].merging(more) { $1 }
    }

    /// Starts one of our programs (`longshore …`) or one of the system's (`/usr/bin/skopeo …`).
    func start(_ command: [String], environment more: [String: String] = [:]) throws -> RunningProgram {
        let program = command[0]
        let executable: URL
        if program.hasPrefix("/") {
            executable = URL(fileURLWithPath: program)
        } else {
            executable = Stage.programs.appending(path: program)
        }
        return try RunningProgram(
            executable, Array(command.dropFirst()), environment: environment(more), folder: folder, in: folder)
    }

    func run(_ command: String..., environment more: [String: String] = [:]) async throws -> Finished {
        try await start(command, environment: more).finish()
    }

    /// A cargo whose whole behaviour is its shell script.
    @discardableResult
    func cargo(_ name: String, script: String, yaml: String = "") throws -> String {
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

/// Polls until the condition holds; false after the deadline. For what another process does in its own time.
func eventually(within seconds: Double = 30, _ condition: () async throws -> Bool) async rethrows -> Bool {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while ContinuousClock.now < deadline {
        if try await condition() { return true }
        try? await Task.sleep(for: .milliseconds(50))
    }
    return try await condition()
}
