import CargoSandbox
import Testing

@Suite struct ConfinedProcessTests {
    @Test func standardOutputAndExitCodeComeBack() async throws {
        let result = try await Bench.shell("echo hello; echo oops >&2; exit 3")
        #expect(result.standardOutput == "hello\n")
        #expect(result.standardError == "oops\n")
        #expect(result.ending.exitCode == 3)
        #expect(result.ending.signal == nil)
    }

    @Test func aSignalIsToldApartFromAnExitCode() async throws {
        let result = try await Bench.shell("kill -9 $$")
        #expect(result.ending.exitCode == nil)
        #expect(result.ending.signal == 9)
        #expect(!result.ending.timedOut)
    }

    @Test func aTimeoutAsksFirst() async throws {
        let result = try await Bench.shell(
            "trap 'echo asked; exit 0' TERM; sleep 60 & wait $!", timeout: 0.2, grace: 10)
        #expect(result.standardOutput.contains("asked"))
        #expect(result.ending.timedOut)
        #expect(result.ending.exitCode == nil)
        #expect(result.ending.wallSeconds < 8)
    }

    @Test func whatIgnoresTheRequestIsKilled() async throws {
        let result = try await Bench.shell("trap '' TERM; while :; do :; done", timeout: 0.1, grace: 0.2)
        #expect(result.ending.timedOut)
        #expect(result.ending.signal == 9)
    }

    @Test func aCommandThatIsNotThereIsSaidSo() async throws {
        let error = await #expect(throws: SandboxError.self) { try await Bench.run(["no-such-command"]) }
        #expect(error?.code == .commandNotFound)
    }

    @Test func aHundredThousandLinesArriveInOrder() async throws {
        let result = try await Bench.shell("i=0; while [ $i -lt 100000 ]; do echo $i; i=$((i+1)); done")
        #expect(result.standardOutput == (0..<100_000).map { "\($0)\n" }.joined())
    }
}
