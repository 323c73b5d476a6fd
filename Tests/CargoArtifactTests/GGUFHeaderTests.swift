import Testing

@testable import CargoArtifact

@Suite struct GGUFHeaderTests {
    private func model(_ builder: GGUFBuilder) throws -> GGUFModel {
        try GGUFModel(GGUFHeader(reading: MemoryBytes(builder.file)))
    }

    @Test func sayWhatAnHonestHeaderSays() throws {
        let model = try model(.llama())
        let facts = model.facts
        #expect(facts.architecture == "llama")
        #expect(facts.quantization == "Q4_K_M")
        #expect(facts.contextLength == 8192)
        #expect(facts.embeddingLength == 64)
        #expect(facts.blockCount == 4)
        #expect(facts.headCount == 8)
        #expect(facts.headCountKV == 2)
        #expect(facts.vocabularySize == 3)
        #expect(facts.tokenizer == "gpt2")
        #expect(facts.chatTemplate == "{{ messages }}")
        #expect(facts.parameters == 64 * 3 + 64 * 64)
        #expect(facts.weightBytes == 768 + 128 * 34)
        #expect(model.headers[0].tensors.map(\.bytes) == [768, 128 * 34])
    }

    @Test func operationsFollowPoolingArchitectureAndTemplate() throws {
        #expect(try model(.llama()).facts.operations == ["chat/completions", "completions"])
        var plain = GGUFBuilder.llama()
        plain.entries.removeAll { $0.starts(with: GGUFBuilder.string("tokenizer.chat_template")) }
        #expect(try model(plain).facts.operations == ["completions"])
        for (pooling, operations) in [
            (UInt32(0), ["chat/completions", "completions"]), (1, ["embeddings"]), (3, ["embeddings"]), (4, []),
        ] {
            var builder = GGUFBuilder.llama()
            builder.number("llama.pooling_type", pooling)
            #expect(try model(builder).facts.operations == operations)
        }
        var bert = GGUFBuilder()
        bert.text("general.architecture", "nomic-bert")
        bert.tensors = GGUFBuilder.llama().tensors
        bert.data = GGUFBuilder.llama().data
        #expect(try model(bert).facts.operations == ["embeddings"])
    }

    @Test func everyMetadataTypeIsRead() throws {
        var builder = GGUFBuilder()
        let values: [(UInt32, [UInt8], GGUFValue)] = [
            (0, [200], .unsigned(200)), (1, [0xff], .signed(-1)), (2, GGUFBuilder.bytes(UInt16(40_000)), .unsigned(40_000)),
            (3, GGUFBuilder.bytes(Int16(-2)), .signed(-2)), (4, GGUFBuilder.bytes(UInt32.max), .unsigned(4_294_967_295)),
            (5, GGUFBuilder.bytes(Int32(-3)), .signed(-3)), (6, GGUFBuilder.bytes(Float(0.5).bitPattern), .float(0.5)),
            (7, [1], .bool(true)), (8, GGUFBuilder.string("héllo"), .string("héllo")),
            (10, GGUFBuilder.bytes(UInt64.max), .unsigned(.max)), (11, GGUFBuilder.bytes(Int64.min), .signed(.min)),
            (12, GGUFBuilder.bytes(Double(2.25).bitPattern), .float(2.25)),
        ]
        for (type, bytes, _) in values { builder.entry("key.\(type)", type, bytes) }
        builder.array("key.array", of: 5, count: 2, GGUFBuilder.bytes(Int32(7)) + GGUFBuilder.bytes(Int32(8)))
        let header = try GGUFHeader(reading: MemoryBytes(builder.file))
        for (type, _, value) in values { #expect(header.metadata["key.\(type)"] == value) }
        #expect(header.metadata["key.array"] == .array(of: .int32, count: 2, values: [.signed(7), .signed(8)]))
    }

    @Test func weightsAreNeverRead() throws {
        var builder = GGUFBuilder.llama()
        builder.tensors = [.init(name: "w", dimensions: [1 << 30], offset: 0)]
        builder.data = 0
        let source = CountingSource(builder.file, length: 8 << 30)
        #expect(try GGUFHeader(reading: source).tensors.first?.bytes == 4 << 30)
        #expect(source.bytesRead <= 64 << 10)
    }

    @Test func estimateCountsCacheByLayersHeadsAndContext() throws {
        let estimate = try model(.llama()).estimate(context: 1000)
        // 4 layers, 2 heads, 8 for keys and 8 for values, 1000 tokens, 2 bytes.
        #expect(estimate.cache == 4 * 2 * 16 * 1000 * 2)
        #expect(estimate.weights == 768 + 128 * 34)
        #expect(estimate.compute == 4 * 512 * (1 + 4 * 64 + 1000 * 9))
        #expect(estimate.context == 1000)
        #expect(try model(.llama()).estimate().context == 4096)
    }

    @Test func estimateFillsOnlyWhatTheAuthorLeftOut() throws {
        let estimate = ModelEstimate(weights: 1 << 30, cache: 1 << 29, compute: 1, context: 4096)
        #expect(estimate.filling(Resources()).memory == ByteCount(Int64(1792 + 64) << 20))
        #expect(estimate.filling(Resources()).gpu == nil)
        #expect(estimate.filling(Resources(memory: ByteCount(5))).memory == ByteCount(5))
        #expect(estimate.filling(Resources(gpu: .init(count: 2))).gpu?.vram == ByteCount(Int64(1024 + 64) << 20))
        #expect(estimate.filling(Resources(gpu: .init(count: 1, vram: ByteCount(9)))).gpu?.vram == ByteCount(9))
    }

    @Test func headCountsOfEachLayerAreSummed() throws {
        var builder = GGUFBuilder()
        builder.text("general.architecture", "x")
        builder.number("x.block_count", 3)
        builder.number("x.embedding_length", 8)
        builder.number("x.attention.head_count", 2)
        builder.number("x.attention.key_length", 10)
        builder.number("x.attention.value_length", 6)
        builder.array("x.attention.head_count_kv", of: 4, count: 3, [2, 0, 1].flatMap { GGUFBuilder.bytes(UInt32($0)) })
        #expect(try model(builder).estimate(context: 100).cache == 3 * 16 * 100 * 2)
    }

    struct Hostile: CustomTestStringConvertible {
        let name: String
        let change: @Sendable (inout GGUFBuilder) -> Void
        var testDescription: String { name }

        init(_ name: String, _ change: @escaping @Sendable (inout GGUFBuilder) -> Void) {
            self.name = name
            self.change = change
        }
    }

    static let hostile: [Hostile] = [
        Hostile("another magic") { $0.magic = 0x4655_4748 },
        Hostile("version 1") { $0.version = 1 },
        Hostile("big-endian version") { $0.version = 0x0300_0000 },
        Hostile("absurd tensor count") { $0.tensorCount = .max },
        Hostile("one tensor too many") { $0.tensorCount = 3 },
        Hostile("absurd metadata count") { $0.entryCount = 1 << 60 },
        Hostile("key twice") { $0.number("llama.block_count", 5) },
        Hostile("key longer than the file") { $0.entries.append(GGUFBuilder.bytes(UInt64.max)) },
        Hostile("key of control characters") { $0.number("a\u{0}b", 1) },
        Hostile("key that is not UTF-8") { $0.entries.append(GGUFBuilder.bytes(UInt64(1)) + [0xff, 4, 0, 0, 0, 1, 0, 0, 0]) },
        Hostile("string past the end") { $0.entry("s", 8, GGUFBuilder.bytes(UInt64(1) << 40)) },
        Hostile("unknown value type") { $0.entry("s", 13, [0]) },
        Hostile("array count that overflows") { $0.array("a", of: 10, count: 1 << 62, []) },
        Hostile("array of a billion strings") { $0.array("a", of: 8, count: 1 << 30, []) },
        Hostile("array of an unknown type") { $0.array("a", of: 99, count: 1, [0]) },
        Hostile("arrays nested without end") { builder in
            let layer = GGUFBuilder.bytes(UInt32(9)) + GGUFBuilder.bytes(UInt64(1))
            builder.entry("a", 9, Array(repeating: layer, count: 10_000).flatMap { $0 })
        },
        Hostile("alignment of zero") { $0.number("general.alignment", 0) },
        Hostile("alignment that is no power of two") { $0.number("general.alignment", 48) },
        Hostile("alignment past everything") { $0.number("general.alignment", 1 << 31) },
        Hostile("tensor twice") { $0.tensors[1].name = $0.tensors[0].name },
        Hostile("tensor name too long") { $0.tensors[0].name = String(repeating: "x", count: 129) },
        Hostile("five dimensions") { $0.tensors[0].dimensions = [1, 1, 1, 1, 1] },
        Hostile("elements that overflow") { $0.tensors[0].dimensions = [1 << 32, 1 << 32] },
        Hostile("elements that overflow to zero bytes") { $0.tensors[0].dimensions = [1 << 62, 1] },
        Hostile("withdrawn tensor type") { $0.tensors[0].type = 4 },
        Hostile("unknown tensor type") { $0.tensors[0].type = .max },
        Hostile("rows that are no whole blocks") { $0.tensors[1].dimensions = [63, 64] },
        Hostile("offset unaligned") { $0.tensors[1].offset = 769 },
        Hostile("offset past the end") { $0.tensors[1].offset = 1 << 40 },
        Hostile("offset that overflows") { $0.tensors[1].offset = .max - 31 },
        Hostile("tensors that overlap") { $0.tensors[1].offset = 736 },
        Hostile("data cut off") { $0.data -= 1 },
    ]

    @Test(arguments: hostile) func hostileHeaderIsRefused(_ hostile: Hostile) throws {
        #expect(throws: Never.self) { try GGUFHeader(reading: MemoryBytes(GGUFBuilder.llama().file)) }
        var builder = GGUFBuilder.llama()
        hostile.change(&builder)
        let refusal = #expect(throws: Refusal.self) { try GGUFHeader(reading: MemoryBytes(builder.file)) }
        #expect(refusal?.rule == "gguf-header")
        #expect(refusal?.message.hasSuffix(".") == true)
    }

    /// What a reader does that believes the file: the bytes that it would ask memory for, or read from past the end.
    private struct Believer {
        let file: [UInt8]
        var at = 24
        /// The largest promise that the file does not keep.
        var most = 0.0

        init(_ file: [UInt8]) {
            self.file = file
            let (tensors, entries) = (number(8), number(16))
            most = Double(tensors) * 24 + Double(entries) * 12
            for _ in 0..<min(entries, 64) where at + 8 <= file.count {
                let length = number(at)
                most = max(most, Double(length))
                guard length < UInt64(file.count - at) else { return }
                at += 8 + Int(length)
                guard skipValue(type: UInt32(truncatingIfNeeded: number(at)), from: at + 4) else { return }
            }
        }

        private func number(_ offset: Int) -> UInt64 {
            guard offset >= 0, offset + 8 <= file.count else { return 0 }
            return (0..<8).reduce(0) { $0 | UInt64(file[offset + $1]) << (8 * UInt64($1)) }
        }

        private mutating func skipValue(type: UInt32, from start: Int) -> Bool {
            let sizes: [UInt32: Int] = [0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8]
            if let size = sizes[type] {
                at = start + size
                return true
            }
            if type == 8 {
                let length = number(start)
                most = max(most, Double(length))
                guard length < UInt64(file.count) else { return false }
                at = start + 8 + Int(length)
                return true
            }
            // An array: its elements are asked for at once.
            let element = UInt32(truncatingIfNeeded: number(start))
            let count = number(start + 4)
            most = max(most, Double(count) * Double(sizes[element] ?? 16))
            guard element == 8, count < 64 else { return false }
            at = start + 12
            for _ in 0..<count {
                let length = number(at)
                guard length < UInt64(file.count) else { return false }
                at += 8 + Int(length)
            }
            return true
        }
    }

    @Test(arguments: [
        "absurd tensor count", "absurd metadata count", "key longer than the file", "string past the end",
        "array count that overflows", "array of a billion strings",
    ])
    func aReaderThatBelievesTheCountsAsksForMoreThanAnyMachineHas(_ name: String) throws {
        #expect(Believer(GGUFBuilder.llama().file).most < 1e6)
        var builder = GGUFBuilder.llama()
        try #require(Self.hostile.first { $0.name == name }).change(&builder)
        #expect(Believer(builder.file).most >= 8e9)
        #expect(throws: Refusal.self) { try GGUFHeader(reading: MemoryBytes(builder.file)) }
    }

    @Test func everyTruncationIsRefused() throws {
        let file = GGUFBuilder.llama().file
        for length in stride(from: 0, to: file.count, by: 7) {
            #expect(throws: Refusal.self) { try GGUFHeader(reading: MemoryBytes(Array(file[..<length]))) }
        }
    }

    @Test func absurdVocabularyStopsAtTheReadBound() throws {
        // A sparse file: the strings of the array are zeros, each eight bytes long, for 64 GiB.
        var builder = GGUFBuilder()
        builder.array("tokenizer.ggml.tokens", of: 8, count: 8 << 30, [])
        let source = CountingSource(builder.file, length: 80 << 30)
        #expect(throws: Refusal.self) { try GGUFHeader(reading: source) }
        #expect(source.bytesRead <= Int(GGUFHeader.mostBytesRead))
    }

    @Test func estimateOfAnAbsurdModelIsRefused() throws {
        for key in ["llama.embedding_length", "llama.attention.key_length", "llama.attention.head_count_kv"] {
            var builder = GGUFBuilder()
            builder.text("general.architecture", "llama")
            for name in ["llama.embedding_length", "llama.attention.key_length", "llama.attention.head_count_kv"] {
                builder.entry(name, 10, GGUFBuilder.bytes(name == key ? UInt64.max / 2 : 64))
            }
            builder.number("llama.block_count", 4)
            let model = try model(builder)
            #expect(throws: Refusal.self) { try model.estimate() }
        }
        let plain = try model(.llama())
        #expect(throws: Refusal.self) { try plain.estimate(context: .max) }
    }

    // MARK: Split files

    private func part(_ number: UInt16, of count: UInt16, tensors: [String], total: Int32 = 3) throws -> GGUFHeader {
        var builder = GGUFBuilder()
        builder.entry("split.no", 2, GGUFBuilder.bytes(number))
        builder.entry("split.count", 2, GGUFBuilder.bytes(count))
        builder.entry("split.tensors.count", 5, GGUFBuilder.bytes(total))
        if number == 0 { builder.text("general.architecture", "llama") }
        for (index, name) in tensors.enumerated() {
            builder.tensors.append(.init(name: name, dimensions: [8], offset: UInt64(index * 32)))
        }
        builder.data = tensors.count * 32
        return try GGUFHeader(reading: MemoryBytes(builder.file))
    }

    @Test func splitFilesAreOneModel() throws {
        let model = try GGUFModel([part(0, of: 2, tensors: ["a"]), part(1, of: 2, tensors: ["b", "c"])])
        #expect(model.parameterCount == 24)
        #expect(model.weightBytes == 96)
        #expect(model.architecture == "llama")
    }

    @Test func splitFilesThatDoNotBelongTogetherAreRefused() throws {
        let sets: [[GGUFHeader]] = [
            [],
            [try part(0, of: 2, tensors: ["a"])],
            [try part(1, of: 2, tensors: ["a"]), try part(0, of: 2, tensors: ["b", "c"])],
            [try part(0, of: 2, tensors: ["a"]), try part(1, of: 3, tensors: ["b", "c"])],
            [try part(0, of: 2, tensors: ["a", "b"]), try part(1, of: 2, tensors: ["b"])],
            [try part(0, of: 2, tensors: ["a"]), try part(1, of: 2, tensors: ["b"])],
        ]
        for headers in sets { #expect(throws: Refusal.self) { try GGUFModel(headers) } }
    }

    @Test func namesOfSplitFilesAreDerived() throws {
        #expect(
            try GGUFModel.fileNames(of: "m-00002-of-00003.gguf")
                == ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"])
        for name in ["m.gguf", "-00001-of-00003.gguf", "m-0001-of-00003.gguf", "m-00001-of-0000x.gguf", "m-00001-of-00003.bin"] {
            #expect(try GGUFModel.fileNames(of: name) == [name])
        }
        for name in ["m-00000-of-00003.gguf", "m-00004-of-00003.gguf", "m-00001-of-99999.gguf", "m-00001-of-00000.gguf"] {
            #expect(throws: Refusal.self) { try GGUFModel.fileNames(of: name) }
        }
    }

    @Test func sizesAreWrittenAsModelPackWritesThem() {
        let sizes: [(UInt64, String)] = [
            (42, "42"), (999, "999"), (1500, "1.5k"), (110_000_000, "110m"), (7_240_000_000, "7.2b"), (999_999_999, "999m"),
            (671_000_000_000, "671b"), (1_100_000_000_000, "1.1t"),
        ]
        for (count, text) in sizes {
            let facts = ModelFacts(format: "gguf", parameters: count, quantization: "F16", weightBytes: 0)
            #expect(
                facts.modelPackConfig
                    == .object(["format": .string("gguf"), "paramSize": .string(text), "precision": .string("float16")]))
        }
    }
}
