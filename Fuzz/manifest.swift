// rooms: CargoArtifact CargoPacking
// libraries: archive
// options: -max_len=8192
import CargoArtifact
import CargoPacking

/// Any text is a `cargo.yaml` whose config survives its own JSON, or a failure that names the file.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let text = String(validating: UnsafeBufferPointer(start: start, count: count), as: UTF8.self) else { return 0 }
    do {
        let config = try CargoSource(yaml: text).config
        let again = try CargoConfig.read(try CanonicalJSON.encode(config))
        precondition(again == config)
    } catch {
        precondition(error is SourceFailure, "\(error)")
    }
    return 0
}
