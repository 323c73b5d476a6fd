/// How the numbers of a GGUF tensor are stored: `ggml_type`, its name and its block.
public struct GGUFTensorType: Hashable, Sendable {
    public let number: UInt32
    public let name: String
    /// Elements in one block.
    public let blockElements: UInt64
    /// Bytes of one block.
    public let blockBytes: UInt64

    /// nil for numbers that ggml never had or has withdrawn.
    public init?(number: UInt32) {
        guard let row = Self.table[number] else { return nil }
        self.number = number
        (name, blockElements, blockBytes) = row
    }

    private static let table: [UInt32: (String, UInt64, UInt64)] = [
        0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
        7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
        12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
        16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
        20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
        24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
        29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
        39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
    ]
}

/// One tensor of a GGUF file: its name, shape and place, without its numbers.
public struct GGUFTensor: Hashable, Sendable {
    /// Most dimensions (ggml's GGML_MAX_DIMS).
    static let mostDimensions = 4
    /// Longest name in bytes: twice ggml's own bound, as image engines build it.
    static let longestName = 128

    public let name: String
    /// Innermost first, as ggml has them.
    public let dimensions: [UInt64]
    public let type: GGUFTensorType
    /// Bytes from the start of the data section.
    public let offset: UInt64
    public let elements: UInt64
    public let bytes: UInt64

    init(_ cursor: inout HeaderCursor) throws {
        name = try cursor.name(try cursor.integer(UInt64.self), atMost: Self.longestName, what: "tensor name")
        let rank = try cursor.integer(UInt32.self)
        guard rank <= Self.mostDimensions else {
            throw cursor.refusal("gives the tensor '\(name)' \(rank) dimensions where \(Self.mostDimensions) are the most")
        }
        var dimensions: [UInt64] = []
        var elements: UInt64 = 1
        for _ in 0..<rank {
            let dimension = try cursor.integer(UInt64.self)
            let (product, overflow) = elements.multipliedReportingOverflow(by: dimension)
            guard !overflow, product <= UInt64(Int64.max) else {
                throw cursor.refusal("gives the tensor '\(name)' more elements than 64 bits can count")
            }
            elements = product
            dimensions.append(dimension)
        }
        let number = try cursor.integer(UInt32.self)
        guard let type = GGUFTensorType(number: number) else {
            throw Refusal(
                cursor.rule, "The tensor '\(name)' has type \(number), which no current ggml knows; convert the model again.")
        }
        guard (dimensions.first ?? 1) % type.blockElements == 0 else {
            throw cursor.refusal("gives the tensor '\(name)' rows that are no whole blocks of \(type.name)")
        }
        let (bytes, overflow) = (elements / type.blockElements).multipliedReportingOverflow(by: type.blockBytes)
        guard !overflow else { throw cursor.refusal("gives the tensor '\(name)' more bytes than 64 bits can count") }
        self.dimensions = dimensions
        self.elements = elements
        self.type = type
        self.bytes = bytes
        offset = try cursor.integer(UInt64.self)
    }
}
