/// Everything that an ONNX model says except its weights' numbers: `ModelProto` of onnx.proto, read field by field.
///
/// Weights inside the file are skipped, weights beside it are named with their place. Whatever the file says, the work is
/// bounded by the constants here and in `ProtobufReader`; what does not fit ends as a `Refusal` with the rule `onnx-header`,
/// or `onnx-external-path` for weights outside the model's folder.
public struct ONNXHeader: Sendable {
    /// Weight tensors.
    public static let mostTensors = 65_536
    /// Inputs, and outputs, of the main graph.
    public static let mostValues = 4096
    /// Axes of a tensor.
    public static let mostDimensions = 32
    /// Operator sets.
    public static let mostOperatorSets = 256
    /// Metadata entries that are kept.
    public static let mostMetadata = 256

    public internal(set) var irVersion: UInt64 = 0
    /// Version of each operator set by its domain; the standard one's domain is empty.
    public internal(set) var operatorSets: [String: UInt64] = [:]
    public internal(set) var producer: String?
    public internal(set) var producerVersion: String?
    public internal(set) var graphName: String?
    /// What the author wrote of it: `task`, `tokenizer`, …; longer values than `ProtobufReader.longestName` bytes are left out.
    public internal(set) var metadata: [String: String] = [:]
    /// Nodes of all graphs.
    public internal(set) var nodeCount = 0
    /// What a run must give: inputs without those that initializers fill.
    public internal(set) var inputs: [ONNXValue] = []
    public internal(set) var outputs: [ONNXValue] = []
    /// Initializers of all graphs, and constants whose numbers lie beside the model.
    public internal(set) var tensors: [ONNXTensor] = []
    /// Bytes of the largest tensor between two nodes whose shape the file gives.
    public internal(set) var largestIntermediateBytes: UInt64 = 0

    /// Reads the header of `source`. Throws a `Refusal`, or what the source throws.
    public init(reading source: any ByteSource) throws {
        var reader = ONNXReader(source)
        self = try reader.model()
    }

    init() {}

    /// Version of the standard operator set.
    public var opset: UInt64? { operatorSets[""] ?? operatorSets["ai.onnx"] }

    /// Elements of all weight tensors.
    public var parameterCount: UInt64 { tensors.reduce(0) { $0 + $1.elements } }

    /// Bytes of all weight tensors, wherever they lie.
    public var weightBytes: UInt64 { tensors.reduce(0) { $0 + $1.bytes } }

    /// The type that holds most of the weights' bytes.
    public var dominantType: ONNXType? {
        var bytes: [ONNXType: UInt64] = [:]
        for tensor in tensors { bytes[tensor.type, default: 0] += tensor.bytes }
        return bytes.max { ($0.value, $1.key.number) < ($1.value, $0.key.number) }?.key
    }

    /// The files beside the model that it needs, sorted, and the fewest bytes that each must have.
    ///
    /// Whoever opens one does so below the model's folder without following links, and refuses a shorter file.
    public var externalFiles: [(location: String, leastBytes: UInt64)] {
        var least: [String: UInt64] = [:]
        for external in tensors.lazy.compactMap(\.external) {
            least[external.location] = max(least[external.location] ?? 0, external.offset + external.length)
        }
        return least.sorted { $0.key < $1.key }.map { (location: $0.key, leastBytes: $0.value) }
    }
}
