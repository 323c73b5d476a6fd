import CargoSandbox
import Testing

@Suite struct CallTracerTests {
    @Test func deniedCallsAreCountedByNameAndStayDenied() async throws {
        var spec = Bench.spec([
            "/usr/bin/python3", "-c",
            "import os,ctypes\nc=ctypes.CDLL(None,use_errno=True)\nfor i in range(3): print(c.unshare(0x10000000),ctypes.get_errno())",
        ])
        spec.tracesCalls = true
        let process = try await Bench.sandbox.launch(spec, as: Bench.sandbox.reserveUser())
        async let ending = process.wait(timeout: 30, grace: 0)
        var output: [UInt8] = []
        while let piece = try await process.nextOutput() { output += piece.bytes }
        #expect(try await ending.exitCode == 0)
        #expect(String(decoding: output, as: UTF8.self) == "-1 1\n-1 1\n-1 1\n")
        #expect(process.deniedCalls["unshare"] == 3)
    }
}
