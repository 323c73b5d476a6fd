// rooms: CargoArtifact CargoFiles CargoArchive
// options: -max_len=65536
import CargoArchive
import CargoArtifact
import CargoFiles
import SystemPackage

/// Any bytes are an archive whose every byte can be checked, or a refusal; nothing traps.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let folder = try? Folder.open("/dev/shm"), let temporary = try? folder.makeTemporary(prefix: "longshore-fuzz-") else {
        return 0
    }
    _ = try? folder.remove(temporary.name)
    do {
        try temporary.file.write(UnsafeRawBufferPointer(start: start, count: count), at: 0)
        let archive = try CargoArchive(file: temporary.file)
        precondition(archive.blobs.allSatisfy { $0.size <= Int64(count) })
        _ = try archive.config()
        try archive.checkBlobs(threads: 1)
        try archive.checkCanonical()
    } catch {
        precondition(error is Refusal || error is StrictJSONFailure || error is DecodingError, "\(error)")
    }
    return 0
}
