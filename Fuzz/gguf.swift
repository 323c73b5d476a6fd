// rooms: CargoArtifact
// options: -max_len=65536
import CargoArtifact

/// Any bytes are a GGUF model that is read and estimated, or a refusal; nothing traps and little is read.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    do {
        let model = try GGUFModel(GGUFHeader(reading: MemoryBytes(bytes)))
        let facts = model.facts
        precondition(facts.weightBytes <= UInt64(count))
        _ = facts.modelPackConfig
        _ = try model.estimate().filling(Resources())
        _ = try model.estimate(context: 1 << 20).filling(Resources(gpu: .init()))
    } catch {
        precondition(error is Refusal)
    }
    return 0
}
