internal import CargoArchive
internal import CargoArtifact

/// The binary files of the examples that `longshore init` writes, each as small as one that works can be.
enum ExampleFiles {
    // MARK: gguf

    private static let (width, inner, layers, heads, keyHeads) = (64, 128, 2, 4, 2)

    /// A llama with random weights and one token a byte, the same each time: it loads, and babbles.
    static func gguf() -> [UInt8] {
        var random = Numbers()
        let keys = width / heads * keyHeads
        let tokens =
            ["<unk>", "<s>", "</s>"]
            + (0..<256).map { "<0x" + ($0 < 16 ? "0" : "") + String($0, radix: 16, uppercase: true) + ">" }
        // Columns first, as GGUF counts dimensions.
        var tensors: [(name: String, shape: [Int], scale: Float)] = [
            ("token_embd.weight", [width, tokens.count], 8), ("output.weight", [width, tokens.count], 4),
            ("output_norm.weight", [width], 0),
        ]
        for layer in 0..<layers {
            for (name, shape) in [
                ("attn_norm", [width]), ("ffn_norm", [width]), ("attn_q", [width, width]), ("attn_k", [width, keys]),
                ("attn_v", [width, keys]), ("attn_output", [width, width]), ("ffn_gate", [width, inner]),
                ("ffn_up", [width, inner]), ("ffn_down", [inner, width]),
            ] { tensors.append(("blk.\(layer).\(name).weight", shape, shape.count == 1 ? 0 : 1)) }
        }
        var values = ExampleBytes()
        var count: UInt64 = 0
        func key(_ name: String, _ type: UInt32) {
            values.text(name)
            values.integer(type)
            count += 1
        }
        func text(_ name: String, _ value: String) {
            key(name, 8)
            values.text(value)
        }
        func number(_ name: String, _ value: Int) {
            key(name, 4)
            values.integer(UInt32(value))
        }
        func list(_ name: String, _ type: UInt32, _ count: Int) {
            key(name, 9)
            values.integer(type)
            values.integer(UInt64(count))
        }
        text("general.architecture", "llama")
        text("general.name", "example")
        number("general.file_type", 0)
        number("llama.context_length", 2048)
        number("llama.embedding_length", width)
        number("llama.block_count", layers)
        number("llama.feed_forward_length", inner)
        number("llama.attention.head_count", heads)
        number("llama.attention.head_count_kv", keyHeads)
        number("llama.rope.dimension_count", width / heads)
        key("llama.attention.layer_norm_rms_epsilon", 6)
        values.float(1e-5)
        text("tokenizer.ggml.model", "llama")
        text("tokenizer.ggml.pre", "default")
        list("tokenizer.ggml.tokens", 8, tokens.count)
        for token in tokens { values.text(token) }
        list("tokenizer.ggml.scores", 6, tokens.count)
        for _ in tokens { values.float(0) }
        list("tokenizer.ggml.token_type", 5, tokens.count)
        // Unknown, control, control, then bytes.
        for place in tokens.indices { values.integer(Int32(place == 0 ? 2 : place < 3 ? 3 : 6)) }
        number("tokenizer.ggml.bos_token_id", 1)
        number("tokenizer.ggml.eos_token_id", 2)
        number("tokenizer.ggml.unknown_token_id", 0)
        text(
            "tokenizer.chat_template",
            "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}\n{% endfor %}<|assistant|>\n")
        var file = ExampleBytes()
        file.raw("GGUF".utf8)
        file.integer(UInt32(3))
        file.integer(UInt64(tensors.count))
        file.integer(count)
        file.raw(values.bytes)
        var data = ExampleBytes()
        for tensor in tensors {
            file.text(tensor.name)
            file.integer(UInt32(tensor.shape.count))
            for dimension in tensor.shape { file.integer(UInt64(dimension)) }
            file.integer(UInt32(0))
            file.integer(UInt64(data.bytes.count))
            let spread = tensor.scale * (3 / Float(tensor.shape[0])).squareRoot()
            for _ in 0..<tensor.shape.reduce(1, *) { data.float(tensor.scale == 0 ? 1 : random.next() * spread) }
            data.pad(to: 32)
        }
        file.pad(to: 32)
        file.raw(data.bytes)
        return file.bytes
    }

    /// Numbers between -1 and 1, the same each time (SplitMix64).
    private struct Numbers {
        private var state: UInt64 = 20

        mutating func next() -> Float {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return Float((z ^ (z >> 31)) >> 40) / Float(1 << 23) - 1
        }
    }

    // MARK: onnx

    /// y [n, 2] = x [n, 4] times the weights: sum and difference of the first two and the last two numbers.
    static func onnx() -> [UInt8] {
        let weights: [Float] = [1, 1, 1, 1, 1, -1, 1, -1]
        func value(_ name: String, _ columns: UInt64) -> [UInt8] {
            let rows = ExampleBytes.message { $0.field(2, "n") }
            let width = ExampleBytes.message { $0.field(1, columns) }
            let shape = ExampleBytes.message {
                $0.field(1, rows)
                $0.field(1, width)
            }
            let tensor = ExampleBytes.message {
                $0.field(1, 1)
                $0.field(2, shape)
            }
            return ExampleBytes.message {
                $0.field(1, name)
                $0.field(2, ExampleBytes.message { $0.field(1, tensor) })
            }
        }
        let node = ExampleBytes.message {
            $0.field(1, "x")
            $0.field(1, "weights")
            $0.field(2, "y")
            $0.field(4, "MatMul")
        }
        let tensor = ExampleBytes.message {
            $0.field(1, 4)
            $0.field(1, 2)
            $0.field(2, 1)
            $0.field(8, "weights")
            $0.field(9, ExampleBytes.message { bytes in for weight in weights { bytes.float(weight) } })
        }
        let graph = ExampleBytes.message {
            $0.field(1, node)
            $0.field(2, "example")
            $0.field(5, tensor)
            $0.field(11, value("x", 4))
            $0.field(12, value("y", 2))
        }
        return ExampleBytes.message {
            $0.field(1, 8)
            $0.field(2, "longshore")
            $0.field(7, graph)
            $0.field(
                8,
                ExampleBytes.message {
                    $0.field(1, "")
                    $0.field(2, 17)
                })
        }
    }

    // MARK: wasm

    /// The module of `main.wat`.
    static func wasm() -> [UInt8] {
        var module = ExampleBytes()
        module.raw([0x00, 0x61, 0x73, 0x6D, 0x01, 0x00, 0x00, 0x00])
        func section(_ id: UInt8, _ content: [UInt8]) {
            module.raw([id])
            module.varint(UInt64(content.count))
            module.raw(content)
        }
        func name(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + text.utf8 }
        section(1, [2, 0x60, 4, 0x7F, 0x7F, 0x7F, 0x7F, 1, 0x7F, 0x60, 0, 0])
        section(2, [1] + name("wasi_snapshot_preview1") + name("fd_write") + [0, 0])
        section(3, [1, 1])
        section(5, [1, 0, 1])
        section(7, [2] + name("memory") + [2, 0] + name("_start") + [0, 1])
        let store: [UInt8] = [0x36, 2, 0]
        let call: [UInt8] = [0x41, 1, 0x41, 0, 0x41, 1, 0x41, 20, 0x10, 0, 0x1A]
        let body: [UInt8] = [0, 0x41, 0, 0x41, 8] + store + [0x41, 4, 0x41, 6] + store + call + [0x0B]
        section(10, [1, UInt8(body.count)] + body)
        section(11, [1, 0, 0x41, 8, 0x0B] + name("hello\n"))
        return module.bytes
    }

    // MARK: container

    /// An image as `docker save` writes it, whose one file `/hello` prints a word without any library.
    static func image() -> [UInt8] {
        let program = hello()
        let layer = tar([("hello", program, true)])
        let config = CanonicalJSON.encode(
            .object([
                "architecture": .string(architecture), "os": .string("linux"),
                "config": .object(["Cmd": .array([.string("/hello")])]),
                "rootfs": .object([
                    "type": .string("layers"), "diff_ids": .array([.string(Digest(of: layer).description)]),
                ]),
            ]))
        let manifest = CanonicalJSON.encode(
            .array([.object(["Config": .string("config.json"), "Layers": .array([.string("layer.tar")])])]))
        return tar([("config.json", config, false), ("layer.tar", layer, false), ("manifest.json", manifest, false)])
    }

    private static func tar(_ files: [(name: String, bytes: [UInt8], executable: Bool)]) -> [UInt8] {
        var out = ExampleBytes()
        for file in files {
            out.raw(TarHeader.entry(path: file.name, kind: .file(executable: file.executable), size: Int64(file.bytes.count)))
            out.raw(file.bytes)
            out.pad(to: TarHeader.block)
        }
        out.raw(repeatElement(0, count: TarHeader.trailer))
        return out.bytes
    }

    #if arch(arm64)
        private static let architecture = "arm64"
        private static let machine: UInt16 = 183
    #else
        private static let architecture = "amd64"
        private static let machine: UInt16 = 62
    #endif

    /// write(1, word, 6); exit_group(0) as a static ELF program of one segment.
    private static func hello() -> [UInt8] {
        let word = Array("hello\n".utf8)
        var code = ExampleBytes()
        #if arch(arm64)
            for instruction: UInt32 in [
                0xD280_0020, 0x1000_00E1, 0xD280_00C2, 0xD280_0808, 0xD400_0001, 0xD280_0000, 0xD280_0BC8, 0xD400_0001,
            ] { code.integer(instruction) }
        #else
            code.raw([0xB8, 1, 0, 0, 0, 0xBF, 1, 0, 0, 0, 0x48, 0x8D, 0x35, 16, 0, 0, 0, 0xBA, 6, 0, 0, 0, 0x0F, 0x05])
            code.raw([0xB8, 231, 0, 0, 0, 0x31, 0xFF, 0x0F, 0x05])
        #endif
        code.raw(word)
        let (start, base): (UInt64, UInt64) = (64 + 56, 0x40_0000)
        let size = start + UInt64(code.bytes.count)
        var elf = ExampleBytes()
        elf.raw([0x7F, 0x45, 0x4C, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        elf.integer(UInt16(2))
        elf.integer(machine)
        elf.integer(UInt32(1))
        for value in [base + start, 64, 0] { elf.integer(value) }
        elf.integer(UInt32(0))
        for value: UInt16 in [64, 56, 1, 0, 0, 0] { elf.integer(value) }
        // One segment, loaded whole, to be read and executed.
        elf.integer(UInt32(1))
        elf.integer(UInt32(5))
        for value in [0, base, base, size, size, 0x1000] { elf.integer(value) }
        elf.raw(code.bytes)
        return elf.bytes
    }
}
