import CargoEndpoints
import CargoWire
import Synchronization
import SystemPackage
import Testing

@testable import CargoMeter

@Suite struct HostMeterTests {
    @Test func `the kernel's tables are read as proc(5) says`() {
        let first = MachineReading(
            stat: "cpu  100 20 30 1000 50 5 5 0 7 0\ncpu0 1 2 3\n",
            meminfo: "MemTotal:       16384000 kB\nMemFree:          100 kB\nMemAvailable:    8192000 kB\n")
        #expect(first.processors == .init(busy: 160, all: 1210))
        #expect(first.memoryTotal == Int64(16_384_000 * 1024))
        #expect(first.memoryFree == Int64(8_192_000 * 1024))
        let later = MachineReading.Processors(busy: 210, all: 1310)
        #expect(later.percent(since: first.processors ?? later) == 50)
        #expect(later.percent(since: later) == nil)
        #expect(MachineReading(stat: "", meminfo: "").processors == nil)
    }

    @Test func `this machine is measured, and its tools are asked once for many who ask at once`() async {
        let asked = Mutex(0)
        let meter = HostMeter(folder: "/") {
            asked.withLock { $0 += 1 }
            return [GPUReading(index: 0, name: "Test", utilization: 5)]
        }
        let all = await withTaskGroup(of: HostMetrics.self) { group in
            for _ in 0..<20 { group.addTask { await meter.current() } }
            return await group.reduce(into: [HostMetrics]()) { $0.append($1) }
        }
        #expect(asked.withLock { $0 } == 1)
        #expect(all.allSatisfy { $0.gpus.first?.utilization == 5 })
        #expect(all.allSatisfy { ($0.memoryTotal ?? 0) > 0 && ($0.memoryFree ?? 0) > 0 && ($0.diskTotal ?? 0) > 0 })
    }

    @Test func `a tool that hangs, floods or fails costs its time and no more`() {
        let start = ContinuousClock.now
        #expect(ToolRun.output("/bin/sh", ["-c", "sleep 60"], patience: 200) == nil)
        #expect(ToolRun.output("/bin/sh", ["-c", "cat /dev/zero"], patience: 5000) == nil)
        #expect(ToolRun.output("/bin/sh", ["-c", "echo x; exit 3"]) == nil)
        #expect(ToolRun.output("/nowhere/tool", []) == nil)
        #expect(ContinuousClock.now - start < .seconds(20))
        #expect(ToolRun.output("/bin/sh", ["-c", "echo $0 $1 $HOME", "a b"]) == Array("a b\n".utf8))
    }

    /// Says three pieces, and fails when it is told to.
    private struct Speaker: ModelService {
        let failure: ModelFailure?

        func models() async -> [ServedModel] { [] }

        @concurrent func answer(
            _ request: ModelRequest, account: String,
            head: @Sendable (AnswerHead) async throws -> Void, body: @Sendable ([UInt8]) async throws -> Void
        ) async throws -> ModelUsage? {
            if let failure { throw failure }
            try await head(AnswerHead(status: 200, contentType: "text/event-stream"))
            for _ in 0..<3 {
                try await body([1])
                try await Task.sleep(for: .milliseconds(5))
            }
            return ModelUsage(promptTokens: 1, completionTokens: 11)
        }
    }

    @Test func `answers are timed by model, and failures of the model are counted`() async throws {
        let speeds = ModelSpeeds()
        let request = ModelRequest(operation: .chat, model: "m", body: "{}", stream: true)
        func ask(_ failure: ModelFailure?) async {
            _ = try? await MeteredModels(Speaker(failure: failure), speeds: speeds).answer(
                request, account: "a", head: { _ in }, body: { _ in })
        }
        await ask(nil)
        await ask(ModelFailure(.failed, message: "boom"))
        await ask(ModelFailure(.badRequest, message: "not the model's fault"))
        let speed = try #require(speeds.current()["m"])
        #expect(speed.requests == 2)
        #expect(speed.failures == 1)
        #expect((speed.firstTokenMS ?? -1) >= 0)
        // Ten tokens after the first, within two waits of at least five milliseconds.
        #expect((speed.tokensPerSecond ?? 0) > 0)
        #expect((speed.tokensPerSecond ?? 0) <= 1000)
    }
}
