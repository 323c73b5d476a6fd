/// An element type of ONNX (`TensorProto.DataType`).
public struct ONNXType: Hashable, Sendable {
    public let number: UInt64
    public let name: String
    /// Bits of one element; 0 for strings.
    public let bits: UInt64

    /// nil for numbers that ONNX does not have.
    public init?(number: UInt64) {
        guard number >= 1, number <= UInt64(Self.table.count) else { return nil }
        self.number = number
        (name, bits) = Self.table[Int(number) - 1]
    }

    private static let table: [(String, UInt64)] = [
        ("FLOAT", 32), ("UINT8", 8), ("INT8", 8), ("UINT16", 16), ("INT16", 16), ("INT32", 32), ("INT64", 64), ("STRING", 0),
        ("BOOL", 8), ("FLOAT16", 16), ("DOUBLE", 64), ("UINT32", 32), ("UINT64", 64), ("COMPLEX64", 64), ("COMPLEX128", 128),
        ("BFLOAT16", 16), ("FLOAT8E4M3FN", 8), ("FLOAT8E4M3FNUZ", 8), ("FLOAT8E5M2", 8), ("FLOAT8E5M2FNUZ", 8), ("UINT4", 4),
        ("INT4", 4), ("FLOAT4E2M1", 4), ("FLOAT8E8M0", 8), ("UINT2", 2), ("INT2", 2), ("FLOAT6E2M3", 6), ("FLOAT6E3M2", 6),
    ]
}

/// A stretch of a file beside the model, where a tensor's bytes lie (`TensorProto.external_data`).
public struct ONNXExternalData: Hashable, Sendable {
    /// Longest path in bytes.
    static let longestLocation = 1024

    /// A relative path below the model's folder, its parts separated by `/`.
    public let location: String
    /// Bytes from the start of that file.
    public let offset: UInt64
    public let length: UInt64

    /// Refuses every location that could leave the model's folder. Links inside it are for whoever opens the file to refuse.
    static func check(location: String) throws(Refusal) {
        let parts = location.split(separator: "/", omittingEmptySubsequences: false)
        let safe =
            !location.isEmpty && location.utf8.count <= longestLocation
            && parts.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
            && location.utf8.allSatisfy { $0 >= 32 && $0 != 127 && $0 != UInt8(ascii: "\\") && $0 != UInt8(ascii: ":") }
        guard safe else {
            throw Refusal(
                "onnx-external-path",
                "The ONNX model keeps weights at '\(location.prefix(120))', which is no plain path below its own folder; "
                    + "save it again with its data file beside it.")
        }
    }
}

/// A tensor of an ONNX model that holds weights: its name, shape and place, without its numbers.
public struct ONNXTensor: Hashable, Sendable {
    public let name: String
    public let type: ONNXType
    public let dimensions: [UInt64]
    public let elements: UInt64
    public let bytes: UInt64
    /// nil where the numbers lie in the model file itself.
    public let external: ONNXExternalData?
}

/// One axis of a value: a number, a name for what only a run knows, or nothing.
public enum ONNXDimension: Hashable, Sendable {
    case size(UInt64)
    case symbol(String)
    case unknown
}

/// An input or output of a graph.
public struct ONNXValue: Hashable, Sendable {
    public let name: String
    /// nil where the value is no tensor (a sequence, a map, an optional).
    public let type: ONNXType?
    /// nil where the rank is unknown.
    public let shape: [ONNXDimension]?

    /// Bytes of the value; `open` gives the size of an axis that has none, by its place.
    func bytes(_ open: (Int) -> UInt64) throws(Refusal) -> UInt64 {
        guard let type, let shape else { return 0 }
        var elements: UInt64 = 1
        for (index, dimension) in shape.enumerated() {
            let size: UInt64 =
                switch dimension {
                case .size(let size): size
                case .symbol, .unknown: open(index)
                }
            elements = try ModelEstimate.product(elements, size)
        }
        return try ModelEstimate.product(elements, type.bits == 0 ? 64 : type.bits) / 8
    }
}
