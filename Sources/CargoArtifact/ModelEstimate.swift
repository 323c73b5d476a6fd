/// The memory that running a model takes, in bytes, from its header alone.
///
/// An upper estimate: it fills `resources` where the author gave none, and tells the scheduler what fits where.
public struct ModelEstimate: Hashable, Sendable, Codable {
    /// The context where neither author nor header says one, and the most that a header alone may claim, in tokens.
    public static let defaultContext: UInt64 = 4096
    /// Tokens that llama.cpp computes at once (its default `--ubatch-size`).
    static let batch: UInt64 = 512
    /// What an engine itself holds besides the model, bytes.
    public static let engineBytes: UInt64 = 256 << 20
    /// Sums from here on are refused: no JSON reader keeps them exact.
    static let most: UInt64 = 1 << 53

    public var weights: UInt64
    /// Keys and values of all layers over the whole context, two bytes each, and the states of recurrent layers.
    public var cache: UInt64
    /// Intermediate results.
    public var compute: UInt64
    /// Tokens that `cache` and `compute` are for.
    public var context: UInt64?

    public var total: UInt64 { weights + cache + compute }

    /// `resources` with memory, and the memory of GPUs that it asks for without saying how much, filled in.
    public func filling(_ resources: Resources) -> Resources {
        let step: UInt64 = 64 << 20
        func rounded(_ bytes: UInt64) -> ByteCount { ByteCount(Int64((bytes + step - 1) / step * step)) }
        var filled = resources
        if filled.memory == nil { filled.memory = rounded(total + Self.engineBytes) }
        if let gpu = filled.gpu, gpu.vram == nil, gpu.count != 0 {
            let share = UInt64(max(gpu.count ?? 1, 1))
            filled.gpu?.vram = rounded(weights / share + cache / share + compute + Self.engineBytes)
        }
        return filled
    }

    /// A product that ends as a refusal where it leaves the bound.
    static func product(_ factors: UInt64...) throws(Refusal) -> UInt64 {
        var result: UInt64 = 1
        for factor in factors {
            let (product, overflow) = result.multipliedReportingOverflow(by: factor)
            result = overflow ? most : product
            if factor == 0 { return 0 }
        }
        guard result < most else { throw tooMuch }
        return result
    }

    static func sum(_ terms: UInt64...) throws(Refusal) -> UInt64 {
        var result: UInt64 = 0
        for term in terms {
            guard term < most - result else { throw tooMuch }
            result += term
        }
        return result
    }

    private static var tooMuch: Refusal {
        Refusal("model-estimate", "The model's header asks for more memory than any host has; lower the context or get it again.")
    }
}

extension GGUFModel {
    /// Most layers that an estimate walks over.
    static let mostBlocks: UInt64 = 65_536

    /// The context for which the model is estimated and run: the author's, else the header's up to the default.
    public func context(asked: UInt64?) -> UInt64 {
        asked ?? min(contextLength ?? ModelEstimate.defaultContext, ModelEstimate.defaultContext)
    }

    /// `context`: tokens, as the author wrote them; nil takes the header's, up to `ModelEstimate.defaultContext`.
    public func estimate(context asked: UInt64? = nil) throws(Refusal) -> ModelEstimate {
        let context = context(asked: asked)
        guard let blocks = blockCount, blocks > 0, blocks <= Self.mostBlocks, let embedding = embeddingLength else {
            return ModelEstimate(weights: weightBytes, cache: 0, compute: weightBytes / 10, context: nil)
        }
        let heads = perLayer("attention.head_count") ?? []
        let keyValueHeads = perLayer("attention.head_count_kv") ?? heads
        let head = heads.max().flatMap { $0 > 0 ? embedding / $0 : nil } ?? 0
        let width = try ModelEstimate.sum(
            number("attention.key_length") ?? head, number("attention.value_length") ?? head)
        let recurrent = try recurrentState()
        var cache: UInt64 = 0
        for layer in 0..<Int(blocks) {
            let count = keyValueHeads.count == 1 ? keyValueHeads[0] : layer < keyValueHeads.count ? keyValueHeads[layer] : 0
            cache = try ModelEstimate.sum(cache, try ModelEstimate.product(count, width, context, 2), recurrent)
        }
        // The larger of the widest layer (attention scores without flash attention) and of the logits, in 32-bit floats.
        let batch = min(ModelEstimate.batch, max(context, 1))
        let scores = try ModelEstimate.product(context, try ModelEstimate.sum(1, heads.max() ?? 0))
        let layer = try ModelEstimate.product(
            4, batch, try ModelEstimate.sum(1, try ModelEstimate.product(4, embedding), scores))
        let logits = try ModelEstimate.product(4, batch, try ModelEstimate.sum(embedding, vocabularySize ?? 0))
        let compute = max(layer, logits)
        _ = try ModelEstimate.sum(weightBytes, cache, compute)
        return ModelEstimate(weights: weightBytes, cache: cache, compute: compute, context: context)
    }

    /// Bytes of one recurrent layer's state (convolution and state space, 32-bit floats); 0 for attention alone.
    private func recurrentState() throws(Refusal) -> UInt64 {
        guard let inner = number("ssm.inner_size") else { return 0 }
        let columns = try ModelEstimate.sum(number("ssm.conv_kernel") ?? 0, number("ssm.state_size") ?? 0)
        return try ModelEstimate.product(4, inner, columns)
    }
}

extension ONNXHeader {
    /// `context`: tokens that stand for a symbolic length in inputs named `past…`; other symbols count as one.
    public func estimate(context asked: UInt64? = nil) throws(Refusal) -> ModelEstimate {
        let context = asked ?? ModelEstimate.defaultContext
        var cache: UInt64 = 0
        var ends: UInt64 = 0
        for value in inputs where value.name.hasPrefix("past") {
            cache = try ModelEstimate.sum(cache, try value.bytes { $0 == 0 ? 1 : context })
        }
        for value in inputs + outputs where !value.name.hasPrefix("past") && !value.name.hasPrefix("present") {
            ends = try ModelEstimate.sum(ends, try value.bytes { _ in 1 })
        }
        // Present values are written beside the past ones; two of the largest intermediate tensors live at once.
        let floor = min(weightBytes / 10, 1 << 30)
        let compute = try ModelEstimate.sum(ends, max(floor, try ModelEstimate.product(2, largestIntermediateBytes)))
        cache = try ModelEstimate.product(2, cache)
        _ = try ModelEstimate.sum(weightBytes, cache, compute)
        return ModelEstimate(weights: weightBytes, cache: cache, compute: compute, context: cache > 0 ? context : nil)
    }
}
