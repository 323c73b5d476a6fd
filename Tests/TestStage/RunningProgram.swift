public import Foundation

/// What a finished program left behind.
public struct Finished: Sendable {
    /// The exit code, or 128 + the signal that ended it.
    public let code: Int32
    public let stdout: Data
    public let stderr: String

    public var text: String { String(decoding: stdout, as: UTF8.self) }
}

/// A running program of this package, or of the system, with its output in files: nothing can block on a pipe.
public final class RunningProgram: Sendable {
    public let stdoutFile: URL
    public let stderrFile: URL
    private let process: Process
    private let ended: AsyncStream<Int32>

    init(_ executable: URL, _ arguments: [String], environment: [String: String], folder: URL, in scratch: URL) throws {
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
        let outputs = try [stdoutFile, stderrFile].map { try FileHandle(forWritingTo: $0) }
        process.standardOutput = outputs[0]
        process.standardError = outputs[1]
        let (stream, continuation) = AsyncStream.makeStream(of: Int32.self, bufferingPolicy: .bufferingNewest(1))
        process.terminationHandler = { ended in
            let signalled = ended.terminationReason == .uncaughtSignal
            continuation.yield(signalled ? 128 + ended.terminationStatus : ended.terminationStatus)
            continuation.finish()
        }
        ended = stream
        self.process = process
        try process.run()
        // The program has them now. A run of the suite starts thousands, and Foundation lists every open descriptor at
        // each start.
        for output in outputs { try output.close() }
    }

    public var pid: pid_t { process.processIdentifier }
    public var isRunning: Bool { process.isRunning }
    public var stdout: Data { (try? Data(contentsOf: stdoutFile)) ?? Data() }
    public var stderr: String { String(decoding: (try? Data(contentsOf: stderrFile)) ?? Data(), as: UTF8.self) }

    public func send(_ signal: Int32) { kill(pid, signal) }

    /// Waits for the end. Called once.
    public func finish() async -> Finished {
        var code: Int32 = -1
        for await status in ended { code = status }
        return Finished(code: code, stdout: stdout, stderr: stderr)
    }

    /// Stops it the hard way and waits until it is gone.
    public func destroy() async {
        send(SIGKILL)
        _ = await finish()
    }
}
