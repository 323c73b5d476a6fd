internal import CargoArtifact
internal import CargoFiles
internal import CargoStore
internal import Synchronization
internal import SystemPackage

/// Reads the headers of a model's weights before an engine does: what no real model says is refused with a sentence, in memory-safe code
/// and within its bounds, instead of crashing, filling or holding up an engine.
enum ModelHeader {
    /// Cargos whose verdict is remembered.
    private static let mostKnown = 1024
    private static let known = Mutex<[Digest: Refusal?]>([:])

    /// The verdict of an earlier look, if there was one.
    static func verdict(_ cargo: Digest) -> Refusal?? { known.withLock { $0[cargo] } }

    /// Throws `Refusal` for weights that no engine is to see. Blocks; reads once of each cargo.
    static func check(_ cargo: StoredCargo) throws {
        if let verdict = verdict(cargo.digest) {
            if let verdict { throw verdict }
            return
        }
        let verdict: Refusal?
        do {
            try read(cargo)
            verdict = nil
        } catch let refusal as Refusal {
            verdict = refusal
        }
        known.withLock { known in
            if known.count >= mostKnown { known.removeAll() }
            known[cargo.digest] = .some(verdict)
        }
        if let verdict { throw verdict }
    }

    private static func read(_ cargo: StoredCargo) throws {
        guard let weights = cargo.config.serving?.weights else { return }
        for case .file(let path, let blob) in cargo.parts {
            switch cargo.config.kind {
            // A model may be split into several files of the same format.
            case .gguf where path == weights || path.hasSuffix(".gguf"):
                _ = try GGUFHeader(reading: try WeightBytes(blob))
            case .onnx where path == weights: _ = try ONNXHeader(reading: try WeightBytes(blob))
            default: break
            }
        }
    }
}

/// A stored weights file as the bytes that a header reader asks for.
private struct WeightBytes: ByteSource {
    let file: File
    let length: UInt64

    init(_ path: FilePath) throws {
        file = try File.open(path)
        length = UInt64(clamping: try file.status().size)
    }

    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        guard let offset = Int64(exactly: offset) else { return 0 }
        return try file.read(into: buffer, at: offset)
    }
}
