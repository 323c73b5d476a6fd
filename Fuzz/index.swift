// rooms: CargoArtifact
// options: -max_len=16384
import CargoArtifact

/// Any bytes are JSON that has one canonical form, and perhaps an index or manifest, or they are refused.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    guard let value = try? StrictJSON.parse(bytes, limit: 1 << 16) else { return 0 }
    let canonical = CanonicalJSON.encode(value)
    guard let again = try? StrictJSON.parse(canonical, limit: .max) else { preconditionFailure("canonical JSON is refused") }
    precondition(CanonicalJSON.encode(again) == canonical)
    if let index = try? StrictJSON.decode(ImageIndex.self, from: bytes, limit: 1 << 16) {
        precondition((try? StrictJSON.decode(ImageIndex.self, from: CanonicalJSON.encode(index), limit: .max)) == index)
    }
    for type in [MediaType.imageManifest, MediaType.imageIndex] {
        _ = try? RootContent(root: bytes, mediaType: type) { _ in bytes }
    }
    _ = try? CargoConfig.read(bytes)
    _ = try? ChunkTable(json: bytes)
    return 0
}
