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
    /// What can be asked of it, by the path below `/v1`, or `infer`; nil where the packer did not say.
    public var operations: [String]?

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
            chatTemplate: chatTemplate, operations: operations)
    }

    /// Architectures whose output is a vector for a text.
    private static let embedders: Set<String> = [
        "bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "neo-bert", "modern-bert", "gemma-embedding",
        "t5encoder",
    ]

    /// What it can be asked. Chats need a template of the model's own: one for all would be wrong for most.
    var operations: [String] {
        // llama.cpp's `llama_pooling_type`: 1 to 3 make one vector of a text, 4 ranks texts.
        switch number("pooling_type") {
        case 1, 2, 3: return ["embeddings"]
        case 4: return []
        default: break
        }
        if let architecture, Self.embedders.contains(architecture) { return ["embeddings"] }
        return metadata["tokenizer.chat_template"] == nil ? ["completions"] : ["chat/completions", "completions"]
    }
}

extension ONNXHeader {
    public var facts: ModelFacts {
        ModelFacts(
            format: "onnx", architecture: graphName, parameters: parameterCount, quantization: dominantType?.name,
            weightBytes: weightBytes, operations: operations)
    }

    /// What it can be asked: tensors always; texts and pictures where its metadata say that it takes them as our engine gives them.
    var operations: [String] {
        var operations = ["infer"]
        if metadata["tokenizer"] == "bytes", inputs.contains(where: { $0.name == "input_ids" }),
            outputs.contains(where: { $0.name == "sentence_embedding" })
        {
            operations.append("embeddings")
        }
        if metadata["task"] == "text-to-image" { operations.append("images/generations") }
        return operations
    }
}
