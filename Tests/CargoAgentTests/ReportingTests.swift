import CargoArtifact
import CargoWire
import Testing

@testable import CargoAgent

@Suite struct ReportingTests {
    private func model(_ id: String, _ format: String?, _ quantization: String? = nil) -> ServedModel {
        ServedModel(id: id, source: .cargo, operations: [.chat], presence: .stored, format: format, quantization: quantization)
    }

    @Test func `a report says what was measured of this host and its models`() {
        var metrics = HostMetrics(
            gpus: [
                GPUReading(index: 0, name: "A", vramTotal: 100, vramFree: 10),
                GPUReading(index: 1, name: "B", vramTotal: 100, vramFree: 60), GPUReading(index: 2, name: "C"),
            ],
            models: [
                "a": ModelSpeed(tokensPerSecond: 42, requests: 3), "b": ModelSpeed(requests: 1),
                "gone": ModelSpeed(tokensPerSecond: 7, requests: 1),
            ])
        metrics.memoryFree = 4096
        let report = Reporting.report(
            models: [model("a", "gguf", "Q4_K_M"), model("b", "onnx")], metrics: metrics, formats: ["gguf", "wasm"])
        #expect(report.freeMemory == ByteCount(4096))
        // One job stands on one GPU: the most free one counts, not their sum.
        #expect(report.freeVRAM == ByteCount(60))
        #expect(report.models?.map(\.id) == ["a", "b"])
        #expect(report.formats == ["Q4_K_M", "gguf", "onnx", "wasm"])
        #expect(report.speed == ["a": 42])
    }

    @Test func `a host that measures and serves nothing says nothing`() {
        let report = Reporting.report(models: nil, metrics: nil, formats: [])
        #expect(report == HostReport())
        #expect(Reporting.report(models: [], metrics: HostMetrics(), formats: []).models == [])
    }
}
