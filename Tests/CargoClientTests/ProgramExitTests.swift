import CargoWire
import Testing

@testable import CargoClient

@Suite struct ProgramExitTests {
    @Test func `a local run exits as the cargo did`() {
        #expect(ProgramExit.code(of: ExitReport(exitCode: 0)) == 0)
        #expect(ProgramExit.code(of: ExitReport(exitCode: 3)) == 3)
        #expect(ProgramExit.code(of: ExitReport(exitCode: nil, signal: 9)) == 137)
        #expect(ProgramExit.code(of: ExitReport(exitCode: nil, signal: 9, timedOut: true)) == 124)
        #expect(ProgramExit.code(of: ExitReport(exitCode: nil, signal: 9, oomKilled: true)) == 137)
        #expect(ProgramExit.code(of: ExitReport(exitCode: 0), limit: true) == 125)
        #expect(ProgramExit.code(of: ExitReport(exitCode: nil)) == 125)
    }

    private func job(_ status: JobStatus, _ exit: ExitReport? = nil, _ error: JobErrorCode? = nil) -> Job {
        var job = Job(id: "x", status: status, tier: 1, priority: 50, attempt: 1, createdAt: "")
        job.exit = exit
        job.exitCode = exit?.exitCode
        job.error = error.map { JobError($0, "") }
        return job
    }

    @Test func `a job elsewhere exits as it would have here`() {
        #expect(ProgramExit.code(of: job(.complete, ExitReport(exitCode: 0))) == 0)
        #expect(ProgramExit.code(of: job(.error, ExitReport(exitCode: 3), .exitNonzero)) == 3)
        #expect(ProgramExit.code(of: job(.error, ExitReport(exitCode: nil, signal: 9), .signalled)) == 137)
        #expect(ProgramExit.code(of: job(.error, ExitReport(exitCode: nil, signal: 15, timedOut: true), .timedOut)) == 124)
        #expect(ProgramExit.code(of: job(.error, nil, .refused)) == 126)
        #expect(ProgramExit.code(of: job(.error, nil, .commandNotFound)) == 127)
        #expect(ProgramExit.code(of: job(.error, nil, .poison)) == 125)
        #expect(ProgramExit.code(of: job(.error, ExitReport(exitCode: 0), .outputLimit)) == 125)
        #expect(ProgramExit.code(of: job(.cancelled, ExitReport(exitCode: nil, signal: 15), .cancelled)) == 130)
    }
}
