internal import CargoArtifact

/// What an unpacked layer may come to at most.
public struct UnpackLimits: Hashable, Sendable {
    public var bytes: Int64
    /// Files, folders and links.
    public var entries: Int

    /// Bounds above what any layer may declare.
    static let hard = UnpackLimits(bytes: 256 << 30, entries: 2_000_000)
    /// Bounds for a layer that declares nothing.
    static let undeclared = UnpackLimits(bytes: 1 << 30, entries: 100_000)
    static let bytesAnnotation = "dev.longshore.unpacked.bytes"
    static let entriesAnnotation = "dev.longshore.unpacked.entries"

    public init(bytes: Int64, entries: Int) {
        self.bytes = bytes
        self.entries = entries
    }

    /// What the layer's annotations declare.
    init(_ layer: Descriptor) throws {
        guard let bytes = layer.annotations?[UnpackLimits.bytesAnnotation],
            let entries = layer.annotations?[UnpackLimits.entriesAnnotation]
        else {
            self = .undeclared
            return
        }
        guard let bytes = Int64(bytes), let entries = Int(entries), (0...UnpackLimits.hard.bytes).contains(bytes),
            (0...UnpackLimits.hard.entries).contains(entries)
        else { throw Refusal("unpacked-size", "the layer \(layer.digest) declares an unpacked size beyond every bound") }
        self.init(bytes: bytes, entries: entries)
    }
}
