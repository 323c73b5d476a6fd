/// What a model's header says, in one shape for every format: shown by `inspect`, matched by the scheduler.
public struct ModelFacts: Hashable, Sendable, Codable {
    /// `gguf` or `onnx`.
    public var format: String
    public var architecture: String?
    public var parameters: UInt64
    /// `Q4_K_M`, `F16`, …
    public var quantization: String?
    /// Bytes of the weights alone.
    public var weightBytes: UInt64
    /// Tokens that the model was trained for.
    public var contextLength: UInt64?
    public var embeddingLength: UInt64?
    public var blockCount: UInt64?
    public var headCount: UInt64?
    public var headCountKV: UInt64?
    public var vocabularySize: UInt64?
    public var tokenizer: String?
    public var chatTemplate: String?

    /// The fields of ModelPack's `config` object (CNCF model specification, config.md, "Model Config").
    public var modelPackConfig: JSONValue {
        var fields: [String: JSONValue] = ["format": .string(format), "paramSize": .string(Self.size(parameters))]
        if let architecture { fields["architecture"] = .string(architecture) }
        if let quantization {
            let precision = ["F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"][quantization]
            fields[precision == nil ? "quantization" : "precision"] = .string(precision ?? quantization)
        }
        return .object(fields)
    }

    /// `42`, `1.5k`, `110m`, `7.2b`, `1.1t`: at most one decimal, rounded down.
    public static func size(_ parameters: UInt64) -> String {
        var unit: UInt64 = 1_000_000_000_000
        for suffix in ["t", "b", "m", "k"] {
            if parameters >= unit {
                let tenths = parameters / (unit / 10)
                return tenths >= 1000 || tenths % 10 == 0 ? "\(tenths / 10)\(suffix)" : "\(tenths / 10).\(tenths % 10)\(suffix)"
            }
            unit /= 1000
        }
        return String(parameters)
    }
}

extension GGUFModel {
    public var facts: ModelFacts {
        ModelFacts(
            format: "gguf", architecture: architecture, parameters: parameterCount, quantization: quantization,
            weightBytes: weightBytes, contextLength: contextLength, embeddingLength: embeddingLength, blockCount: blockCount,
            headCount: headCount, headCountKV: headCountKV, vocabularySize: vocabularySize, tokenizer: tokenizer,
            chatTemplate: chatTemplate)
    }
}

extension ONNXHeader {
    public var facts: ModelFacts {
        ModelFacts(
            format: "onnx", architecture: graphName, parameters: parameterCount, quantization: dominantType?.name,
            weightBytes: weightBytes)
    }
}
