import CargoArtifact

/// Writes GGUF files for the tests, honest or not: every count and offset can be a lie.
struct GGUFBuilder {
    struct Tensor {
        var name: String
        var dimensions: [UInt64]
        var type: UInt32 = 0
        var offset: UInt64
    }

    var magic: UInt32 = 0x4655_4747
    var version: UInt32 = 3
    var tensorCount: UInt64?
    var entryCount: UInt64?
    var entries: [[UInt8]] = []
    var tensors: [Tensor] = []
    /// Bytes behind the header.
    var data = 0

    mutating func entry(_ key: String, _ type: UInt32, _ value: [UInt8]) {
        entries.append(Self.string(key) + Self.bytes(type) + value)
    }

    mutating func text(_ key: String, _ value: String) { entry(key, 8, Self.string(value)) }
    mutating func number(_ key: String, _ value: UInt32) { entry(key, 4, Self.bytes(value)) }

    mutating func array(_ key: String, of type: UInt32, count: UInt64, _ elements: [UInt8]) {
        entry(key, 9, Self.bytes(type) + Self.bytes(count) + elements)
    }

    var file: [UInt8] {
        var out = Self.bytes(magic) + Self.bytes(version)
        out += Self.bytes(tensorCount ?? UInt64(tensors.count)) + Self.bytes(entryCount ?? UInt64(entries.count))
        for entry in entries { out += entry }
        for tensor in tensors {
            out += Self.string(tensor.name) + Self.bytes(UInt32(tensor.dimensions.count))
            for dimension in tensor.dimensions { out += Self.bytes(dimension) }
            out += Self.bytes(tensor.type) + Self.bytes(tensor.offset)
        }
        out += [UInt8](repeating: 0, count: (32 - out.count % 32) % 32)
        return out + [UInt8](repeating: 7, count: data)
    }

    static func bytes<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian, Array.init)
    }

    static func string(_ text: String) -> [UInt8] { bytes(UInt64(text.utf8.count)) + Array(text.utf8) }

    /// A llama of four layers, 64 wide, eight query heads over two key heads.
    static func llama() -> GGUFBuilder {
        var builder = GGUFBuilder()
        builder.text("general.architecture", "llama")
        builder.number("general.file_type", 15)
        builder.number("llama.context_length", 8192)
        builder.number("llama.embedding_length", 64)
        builder.number("llama.block_count", 4)
        builder.number("llama.attention.head_count", 8)
        builder.number("llama.attention.head_count_kv", 2)
        builder.text("tokenizer.ggml.model", "gpt2")
        builder.text("tokenizer.chat_template", "{{ messages }}")
        builder.array("tokenizer.ggml.tokens", of: 8, count: 3, string("a") + string("b") + string("c"))
        builder.tensors = [
            Tensor(name: "token_embd.weight", dimensions: [64, 3], offset: 0),
            Tensor(name: "blk.0.attn_q.weight", dimensions: [64, 64], type: 8, offset: 768),
        ]
        builder.data = 768 + 128 * 34
        return builder
    }
}

/// A source that notes how many bytes were asked of it, and can pretend to be longer than it is.
final class CountingSource: ByteSource {
    let bytes: MemoryBytes
    let length: UInt64
    private(set) var bytesRead = 0

    init(_ bytes: [UInt8], length: UInt64? = nil) {
        self.bytes = MemoryBytes(bytes)
        self.length = length ?? UInt64(bytes.count)
    }

    /// Beyond the bytes at hand: zeros, as in a sparse file.
    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let count = Int(min(UInt64(buffer.count), length - offset))
        let here = bytes.read(at: offset, into: buffer)
        for index in here..<max(count, here) { buffer[index] = 0 }
        bytesRead += count
        return count
    }
}
