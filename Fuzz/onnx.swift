// rooms: CargoArtifact
// options: -max_len=65536
import CargoArtifact

/// Any bytes are an ONNX model that is read and estimated, or a refusal; no location leaves the model's folder.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    do {
        let header = try ONNXHeader(reading: MemoryBytes(bytes))
        for file in header.externalFiles {
            precondition(!file.location.hasPrefix("/") && !file.location.split(separator: "/").contains(".."))
        }
        _ = header.facts.modelPackConfig
        _ = try header.estimate().filling(Resources())
        _ = try header.estimate(context: 1 << 20).filling(Resources(gpu: .init()))
    } catch {
        precondition(error is Refusal)
    }
    return 0
}
