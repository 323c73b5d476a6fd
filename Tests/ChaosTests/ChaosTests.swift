import Foundation
import Testing

/// A short run of `scripts/chaos`, which `make chaos` runs at length.
@Suite struct ChaosTests {
    /// PostgreSQL where it is installed.
    private static let stores =
        FileManager.default.fileExists(atPath: "/usr/lib/postgresql") ? ["sqlite", "postgres"] : ["sqlite"]

    @Test(.timeLimit(.minutes(3)), arguments: stores)
    func jobsSurviveKilledCoordinatorsAndAgents(_ store: String) throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            "python3", root.path + "/scripts/chaos", root.path + "/.build/debug", "--store", store, "--kills", "6", "--clients",
            "16",
            "--agents", "4", "--only", "kills",
        ]
        let output = Pipe()
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = String(decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0, "\(text)")
        #expect(text.contains("held    no acknowledged job is lost"), "\(text)")
    }
}
