// rooms: CargoArtifact CargoFiles CargoStore
// libraries: archive
// options: -max_len=32768
import CargoArtifact
import CargoFiles
import CargoStore
import SystemPackage

/// Any bytes are a layer that unpacks within its bounds and inside its folder, or a refusal.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let shared = try? Folder.open("/dev/shm"), let temporary = try? shared.makeTemporary(prefix: "longshore-fuzz-") else {
        return 0
    }
    _ = try? shared.remove(temporary.name)
    let name = temporary.name + ".tree"
    guard (try? shared.makeFolder(name)) == true, let tree = try? shared.folder(name) else { return 0 }
    defer { try? shared.removeTree(name) }
    do {
        try temporary.file.write(UnsafeRawBufferPointer(start: start, count: count), at: 0)
        try TreeUnpacker.unpack(temporary.file, into: tree, limits: UnpackLimits(bytes: 1 << 20, entries: 200))
    } catch {
        precondition(error is Refusal, "\(error)")
    }
    return 0
}
