import Foundation
import Testing

/// Short runs of `scripts/chaos` and `scripts/schemathesis`, which `make chaos` and `make schemathesis` run at length.
@Suite struct ChaosTests {
    /// PostgreSQL where it is installed.
    private static let stores =
        FileManager.default.fileExists(atPath: "/usr/lib/postgresql") ? ["sqlite", "postgres"] : ["sqlite"]
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Runs a script with the built programs; its exit code and all that it printed.
    private func run(_ script: String, _ arguments: String...) throws -> (code: Int32, text: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["python3", Self.root.path + "/scripts/" + script, Self.root.path + "/.build/debug"] + arguments
        let output = Pipe()
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = String(decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text)
    }

    @Test(.timeLimit(.minutes(3)), arguments: stores)
    func jobsSurviveKilledCoordinatorsAndAgents(_ store: String) throws {
        let (code, text) = try run(
            "chaos", "--store", store, "--kills", "6", "--clients", "16", "--agents", "4", "--only", "kills")
        #expect(code == 0 && text.contains("held    no acknowledged job is lost"), "\(text)")
    }

    @Test(.timeLimit(.minutes(3)), .enabled(if: stores.contains("postgres"), "PostgreSQL is not installed"))
    func jobsSurviveADatabaseThatCrashesUnderLoad() throws {
        let (code, text) = try run("chaos", "--store", "postgres", "--clients", "8", "--agents", "4", "--only", "restarts")
        #expect(code == 0 && text.contains("held    no acknowledged job is lost"), "\(text)")
    }

    @Test(.timeLimit(.minutes(3)), .enabled(if: geteuid() == 0, "mounting a small disk needs root"))
    func aFullDiskRefusesNewJobsAndEndsOldOnes() throws {
        let (code, text) = try run("chaos", "--only", "full")
        #expect(code == 0 && text.contains("held    all old jobs end"), "\(text)")
    }

    @Test(.timeLimit(.minutes(3)), .enabled(if: FileManager.default.fileExists(atPath: "/usr/bin/faketime"), "no faketime"))
    func leasesOutliveALeapingClockAndAStoppedCoordinator() throws {
        let (code, text) = try run("chaos", "--only", "clock", "--only", "stopped", "--pause", "6")
        #expect(code == 0 && text.contains("held    all 50 attempts complete"), "\(text)")
    }

    @Test(.timeLimit(.minutes(3)), .enabled(if: geteuid() == 0, "an agent that confines with every mechanism needs root"))
    func aHostThatIsCutOffNeverRunsBesideItsSuccessor() throws {
        let (code, text) = try run("chaos", "--only", "cut", "--pause", "16")
        #expect(code == 0 && text.contains("held    no two attempts overlap"), "\(text)")
    }

    @Test(.timeLimit(.minutes(10)))
    func streamsEndWhateverHostsDie() throws {
        let (code, text) = try run("chaos-streams", "10", "--clients", "16", "--hosts", "3", "--every", "1.5")
        #expect(code == 0 && text.contains("held    no job, lease or request is left open"), "\(text)")
    }

    @Test(.timeLimit(.minutes(3)), .enabled(if: geteuid() == 0, "an agent that confines with every mechanism needs root"))
    func aJobThatBringsDownThreeHostsIsADeadLetter() throws {
        let (code, text) = try run("chaos", "--only", "poison")
        #expect(code == 0 && text.contains("held    a job that brings down three hosts"), "\(text)")
    }

    /// The script installs its wheel below the build folder at the first run.
    @Test(.timeLimit(.minutes(10)))
    func theDocumentAllowsWhateverIsAnswered() throws {
        let (code, text) = try run("schemathesis", "--examples", "8")
        #expect(code == 0, "\(text)")
    }
}
