/// A model in one or several GGUF files: the headers together, and what they say.
public struct GGUFModel: Sendable {
    /// Files that one model may be split into.
    public static let mostFiles = 1024

    /// In the order of their numbers.
    public let headers: [GGUFHeader]

    /// The metadata of the first file, which speaks for all.
    public var metadata: [String: GGUFValue] { headers[0].metadata }

    public init(_ header: GGUFHeader) throws(Refusal) {
        try self.init([header])
    }

    /// `headers`: of all the files that `fileNames(of:)` lists, in that order.
    public init(_ headers: [GGUFHeader]) throws(Refusal) {
        func refusal(_ message: String) -> Refusal { Refusal("gguf-split", message) }
        guard let first = headers.first, headers.count <= Self.mostFiles else {
            throw refusal("A model has 1 to \(Self.mostFiles) GGUF files, not \(headers.count); give all of them.")
        }
        let count = first.metadata["split.count"]?.integer ?? 1
        guard max(count, 1) == headers.count else {
            throw refusal("The model is split into \(count) GGUF files and \(headers.count) are here; put all of them together.")
        }
        if headers.count > 1 {
            var names: Set<String> = []
            for (index, header) in headers.enumerated() {
                guard header.metadata["split.no"]?.integer == UInt64(index), header.metadata["split.count"]?.integer == count
                else { throw refusal("GGUF file \(index + 1) of \(count) is of another model or number; get it again.") }
                for tensor in header.tensors where !names.insert(tensor.name).inserted {
                    throw refusal("Two of the GGUF files hold the tensor '\(tensor.name)'; get the files again.")
                }
            }
            if let tensors = first.metadata["split.tensors.count"]?.integer, tensors != names.count {
                throw refusal("The GGUF files hold \(names.count) tensors instead of \(tensors); get the files again.")
            }
        }
        var elements: UInt64 = 0
        var bytes: UInt64 = 0
        for tensor in headers.lazy.flatMap(\.tensors) {
            let (newElements, first) = elements.addingReportingOverflow(tensor.elements)
            let (newBytes, second) = bytes.addingReportingOverflow(tensor.bytes)
            guard !first, !second else { throw refusal("The model counts more weights than 64 bits can hold; get it again.") }
            (elements, bytes) = (newElements, newBytes)
        }
        self.headers = headers
        parameterCount = elements
        weightBytes = bytes
    }

    /// Elements of all tensors.
    public let parameterCount: UInt64
    /// Bytes of all tensors, without padding.
    public let weightBytes: UInt64

    /// All files of the model that `name` (without folders) is one of: `x-00001-of-00003.gguf` names three, others themselves.
    public static func fileNames(of name: String) throws(Refusal) -> [String] {
        // PREFIX-nnnnn-of-nnnnn.gguf
        let bytes = Array(name.utf8)
        let tail = 20
        func number(_ digits: ArraySlice<UInt8>) -> Int? {
            guard digits.allSatisfy({ (48...57).contains($0) }) else { return nil }
            return digits.reduce(0) { $0 * 10 + Int($1 - 48) }
        }
        guard bytes.count > tail, name.hasSuffix(".gguf") else { return [name] }
        let suffix = bytes.suffix(tail)
        let start = suffix.startIndex
        guard suffix[start] == 45, suffix[start + 6..<start + 10].elementsEqual("-of-".utf8),
            let index = number(suffix[start + 1..<start + 6]), let count = number(suffix[start + 10..<start + 15])
        else { return [name] }
        guard count >= 1, index >= 1, index <= count, count <= mostFiles else {
            throw Refusal("gguf-split", "'\(name)' names part \(index) of \(count), and a model has at most \(mostFiles) parts.")
        }
        let prefix = String(decoding: bytes.dropLast(tail), as: UTF8.self)
        func padded(_ number: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: 5 - digits.count) + digits
        }
        return (1...count).map { "\(prefix)-\(padded($0))-of-\(padded(count)).gguf" }
    }
}

extension GGUFModel {
    public var architecture: String? { metadata["general.architecture"]?.text }
    /// `llama`, `gpt2`, `bert`, …: how the tokenizer works.
    public var tokenizer: String? { metadata["tokenizer.ggml.model"]?.text }
    /// Jinja; comes from the signed model alone.
    public var chatTemplate: String? { metadata["tokenizer.chat_template"]?.text }
    public var contextLength: UInt64? { number("context_length") }
    public var embeddingLength: UInt64? { number("embedding_length") }
    public var blockCount: UInt64? { number("block_count") }
    public var expertCount: UInt64? { number("expert_count") }
    public var vocabularySize: UInt64? { metadata["tokenizer.ggml.tokens"]?.count ?? number("vocab_size") }
    /// The most query heads of any layer.
    public var headCount: UInt64? { perLayer("attention.head_count")?.max() }
    /// The most key and value heads of any layer.
    public var headCountKV: UInt64? { perLayer("attention.head_count_kv")?.max() ?? headCount }

    /// `Q4_K_M`, `F16`, …: what the file says of itself, else the type that holds most of its bytes.
    public var quantization: String? {
        if let number = metadata["general.file_type"]?.integer, let name = Self.fileTypes[number & ~1024] { return name }
        var bytes: [GGUFTensorType: UInt64] = [:]
        for tensor in headers.lazy.flatMap(\.tensors) { bytes[tensor.type, default: 0] += tensor.bytes }
        return bytes.max { ($0.value, $1.key.number) < ($1.value, $0.key.number) }?.key.name
    }

    func number(_ key: String) -> UInt64? {
        architecture.flatMap { metadata["\($0).\(key)"]?.integer }
    }

    /// A key that has one value for all layers, or one for each.
    func perLayer(_ key: String) -> [UInt64]? {
        guard let architecture, let value = metadata["\(architecture).\(key)"] else { return nil }
        if case .array(_, _, let values) = value {
            let numbers = values.compactMap(\.integer)
            return numbers.isEmpty ? nil : numbers
        }
        return value.integer.map { [$0] }
    }

    /// llama.cpp's `llama_ftype`.
    private static let fileTypes: [UInt64: String] = [
        0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
        13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
        21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
        29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
        40: "Q1_0",
    ]
}
