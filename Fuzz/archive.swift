// rooms: CargoArtifact CargoFiles CargoArchive
// options: -max_len=65536
import CargoArchive
import CargoArtifact
import CargoFiles
import SystemPackage

/// Any bytes are an archive whose every byte can be checked, or a refusal, and what is accepted from front to back is accepted
/// as a file too; nothing traps.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let folder = try? Folder.open("/dev/shm"), let temporary = try? folder.makeTemporary(prefix: "longshore-fuzz-") else {
        return 0
    }
    _ = try? folder.remove(temporary.name)
    var isStreamed = false
    do {
        try temporary.file.write(UnsafeRawBufferPointer(start: start, count: count), at: 0)
        // A reader of streams does not seek: a file that stands at its beginning is one.
        isStreamed = (try? stream(temporary.file)) != nil
        let archive = try CargoArchive(file: temporary.file)
        precondition(archive.blobs.allSatisfy { $0.size <= Int64(count) })
        _ = try archive.config()
        try archive.checkBlobs(threads: 1)
        try archive.checkCanonical()
    } catch {
        precondition(!isStreamed)
        precondition(error is Refusal || error is StrictJSONFailure || error is DecodingError, "\(error)")
    }
    return 0
}

private func stream(_ file: File) throws {
    let stream = try ArchiveStream(file)
    try stream.readLayers { blob, read in try CargoArchive.check(blob, read) }
    _ = try stream.documents.config()
}
