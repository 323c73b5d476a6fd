import CargoArtifact
import Testing

@Suite struct ONNXHeaderTests {
    private func header(_ builder: ONNXBuilder) throws -> ONNXHeader {
        try ONNXHeader(reading: MemoryBytes(builder.file))
    }

    @Test func sayWhatAnHonestModelSays() throws {
        let header = try header(.small())
        #expect(header.irVersion == 9)
        #expect(header.opset == 21)
        #expect(header.producer == "tests")
        #expect(header.graphName == "small")
        #expect(header.inputs.map(\.name) == ["x"])
        #expect(header.inputs.first?.shape == [.symbol("batch"), .size(4)])
        #expect(header.outputs.first?.type?.name == "FLOAT")
        #expect(header.parameterCount == 8)
        #expect(header.weightBytes == 32)
        #expect(header.nodeCount == 1)
        #expect(header.facts.quantization == "FLOAT")
        #expect(header.externalFiles.isEmpty)
    }

    @Test func operationsFollowMetadataAndEnds() throws {
        func operations(_ metadata: [(String, String)], texts: Bool = false) throws -> [String]? {
            var builder = ONNXBuilder.small()
            for (key, value) in metadata {
                builder.model.message(14) {
                    $0.text(1, key)
                    $0.text(2, value)
                }
            }
            if texts {
                builder.value(11, "input_ids", type: 7, [.size(1)])
                builder.value(12, "sentence_embedding", type: 1, [.size(4)])
            }
            return try header(builder).facts.operations
        }
        #expect(try operations([]) == ["infer"])
        #expect(try operations([("task", "text-to-image")]) == ["infer", "images/generations"])
        #expect(try operations([("tokenizer", "bytes")]) == ["infer"])
        #expect(try operations([("tokenizer", "bytes")], texts: true) == ["infer", "embeddings"])
        // Labels may be long or hold line feeds: they are passed over or kept, never refused.
        let labels = [("labels", String(repeating: "label\n", count: 10_000)), ("short", "a\nb")]
        #expect(try operations(labels + [("task", "text-to-image")]) == ["infer", "images/generations"])
    }

    @Test func weightsInsideTheFileAreSkipped() throws {
        var builder = ONNXBuilder.small()
        builder.initializer("big", type: 1, [1 << 20], raw: 4 << 20)
        let source = CountingSource(builder.file)
        #expect(try ONNXHeader(reading: source).weightBytes == 32 + 4 << 20)
        #expect(source.bytesRead <= 128 << 10)
    }

    @Test func weightsBesideTheFileAreNamed() throws {
        var builder = ONNXBuilder.small()
        builder.external("a", [1024], [("location", "weights/data.bin"), ("offset", "4096"), ("length", "4096")])
        builder.external("b", [256], [("location", "weights/data.bin")])
        let header = try header(builder)
        #expect(header.externalFiles.map(\.location) == ["weights/data.bin"])
        #expect(header.externalFiles.map(\.leastBytes) == [8192])
        #expect(header.weightBytes == 32 + 5120)
    }

    @Test func weightsOfNestedGraphsAndConstantsAreFound() throws {
        var builder = ONNXBuilder.small()
        builder.graph.message(1) { node in
            node.message(5) { attribute in
                attribute.message(6) { graph in
                    graph.message(5) { ONNXBuilder.external(&$0, "inner", [2], [("location", "inner.bin")]) }
                    graph.message(1) { node in
                        node.message(5) { $0.message(5) { ONNXBuilder.external(&$0, "c", [2], [("location", "constant.bin")]) } }
                    }
                }
            }
        }
        builder.model.message(25) { function in
            function.message(7) { node in
                node.message(5) { $0.message(5) { ONNXBuilder.external(&$0, "f", [2], [("location", "function.bin")]) } }
            }
        }
        #expect(try header(builder).externalFiles.map(\.location) == ["constant.bin", "function.bin", "inner.bin"])
    }

    static let locations = [
        "", "../w", "a/../../w", "/etc/passwd", "a//b", "./w", "w/", "..", "C:w", "a\\..\\w", "w\u{0}x", "\\\\host\\share",
        String(repeating: "a/", count: 600) + "w",
    ]

    @Test(arguments: locations) func locationOutsideTheFolderIsRefused(_ location: String) throws {
        var builder = ONNXBuilder.small()
        builder.external("a", [4], [("location", location)])
        let refusal = #expect(throws: Refusal.self) { try header(builder) }
        #expect(refusal?.rule == (location.contains("\u{0}") ? "onnx-header" : "onnx-external-path"))
    }

    /// A location joined to the model's folder, as a reader does that believes it.
    @Test(arguments: ["../w", "a/../../w", "/etc/passwd", ".."]) func aReaderThatBelievesTheLocationLeavesItsFolder(
        _ location: String
    ) {
        var joined: [Substring] = location.hasPrefix("/") ? [] : ["models", "mine"]
        for part in location.split(separator: "/") {
            if part == ".." { _ = joined.popLast() } else { joined.append(part) }
        }
        #expect(!joined.starts(with: ["models", "mine"]))
        #expect(Self.locations.contains(location))
    }

    @Test func locationHiddenInAConstantIsRefused() throws {
        var builder = ONNXBuilder.small()
        builder.graph.message(1) { node in
            node.message(5) { $0.message(5) { ONNXBuilder.external(&$0, "c", [2], [("location", "../c")]) } }
        }
        #expect(throws: Refusal.self) { try header(builder) }
    }

    struct Hostile: CustomTestStringConvertible {
        let testDescription: String
        let change: @Sendable (inout ONNXBuilder) -> Void

        init(_ name: String, _ change: @escaping @Sendable (inout ONNXBuilder) -> Void) {
            testDescription = name
            self.change = change
        }
    }

    private static func nested(_ depth: Int, _ graph: inout ProtobufBuilder) {
        // Built from the inside out: a graph in an attribute of a node of a graph …
        var inner = ProtobufBuilder()
        for _ in 0..<depth {
            var outer = ProtobufBuilder()
            outer.message(1) { $0.message(5) { $0.data(6, inner.bytes) } }
            inner = outer
        }
        graph.bytes += inner.bytes
    }

    static let hostile: [Hostile] = [
        Hostile("a second graph") { $0.model.data(7, []) },
        Hostile("a second version") { $0.model.number(1, 9) },
        Hostile("operator set twice") { $0.model.message(8) { $0.number(2, 3) } },
        Hostile("tensor twice") { $0.initializer("w", type: 1, [4, 2], raw: 32) },
        Hostile("field number zero") { $0.graph.bytes += [0x02, 0x00] },
        Hostile("group") { $0.graph.bytes += [0x0b, 0x0c] },
        Hostile("varint of eleven bytes") { $0.graph.bytes += [0x18] + [UInt8](repeating: 0xff, count: 10) + [1] },
        Hostile("length past the end") { $0.model.bytes += [0x7a] + ProtobufBuilder.varint(1 << 40) },
        Hostile("length that overflows") { $0.model.bytes += [0x7a] + ProtobufBuilder.varint(.max) },
        Hostile("tensor that runs over its graph") { $0.graph.bytes += [0x2a, 0x7f] },
        Hostile("number where a message belongs") { $0.graph.number(5, 1) },
        Hostile("text where a number belongs") { $0.model.message(8) { $0.text(2, "x") } },
        Hostile("elements that overflow") { $0.initializer("v", type: 1, [1 << 40, 1 << 40], raw: 4) },
        Hostile("negative dimension") { $0.initializer("v", type: 1, [.max], raw: 4) },
        Hostile("absurd elements without bytes") { builder in
            builder.graph.message(5) { ONNXBuilder.tensor(&$0, "v", type: 1, [1 << 50], raw: nil) }
        },
        Hostile("fewer bytes than the shape needs") { $0.initializer("v", type: 1, [4], raw: 15) },
        Hostile("unknown element type") { $0.initializer("v", type: 77, [4], raw: 16) },
        Hostile("forty dimensions") { $0.initializer("v", type: 1, [UInt64](repeating: 1, count: 40), raw: 4) },
        Hostile("graphs nested without end") { nested(3000, &$0.graph) },
        Hostile("external offset that overflows") {
            $0.external("v", [4], [("location", "a"), ("offset", "9223372036854775807")])
        },
        Hostile("external offset below zero") { $0.external("v", [4], [("location", "a"), ("offset", "-1")]) },
        Hostile("external length of another shape") { $0.external("v", [4], [("location", "a"), ("length", "15")]) },
        Hostile("external location twice") { $0.external("v", [4], [("location", "a"), ("location", "b")]) },
        Hostile("more weight than any host holds") { $0.external("v", [1 << 50], [("location", "a")]) },
        Hostile("a name that is not text") { $0.graph.message(11) { $0.data(1, [0xff]) } },
        Hostile("five thousand inputs") { builder in
            for index in 0..<5000 { builder.value(11, "i\(index)", type: 1, []) }
        },
    ]

    @Test(arguments: hostile) func hostileModelIsRefused(_ hostile: Hostile) throws {
        var builder = ONNXBuilder.small()
        hostile.change(&builder)
        let refusal = #expect(throws: Refusal.self) { try header(builder) }
        #expect(refusal?.rule == "onnx-header")
        #expect(refusal?.message.hasSuffix(".") == true)
    }

    @Test func fileWithoutAGraphIsRefused() {
        for bytes in [[], [8, 9], Array("GGUF".utf8), [UInt8](repeating: 0xff, count: 100)] {
            #expect(throws: Refusal.self) { try ONNXHeader(reading: MemoryBytes(bytes)) }
        }
    }

    @Test func everyTruncationIsRefusedOrWhole() throws {
        let file = ONNXBuilder.small().file
        for length in 0..<file.count {
            #expect(throws: Refusal.self) { try ONNXHeader(reading: MemoryBytes(Array(file[..<length]))) }
        }
    }

    @Test func absurdNumberOfFieldsStopsAtTheBound() throws {
        // A sparse model: after its start everything is a field 0 of zeros, which ends at the first.
        var builder = ONNXBuilder.small()
        builder.model.bytes += Array(repeating: [UInt8(0x78), 0], count: 1000).flatMap { $0 }
        #expect(throws: Never.self) { try header(builder) }
        let source = CountingSource(builder.file, length: 1 << 40)
        #expect(throws: Refusal.self) { try ONNXHeader(reading: source) }
        #expect(source.bytesRead <= Int(1 << 20))
    }

    @Test func estimateCountsPastValuesOverTheContext() throws {
        var builder = ONNXBuilder.small()
        builder.value(11, "past_key_values.0.key", type: 10, [.symbol("batch"), .size(2), .symbol("past"), .size(8)])
        let estimate = try header(builder).estimate(context: 100)
        // Sixteen half floats for each of 100 tokens, twice: past and present live side by side.
        #expect(estimate.cache == 16 * 2 * 100 * 2)
        #expect(estimate.weights == 32)
        #expect(estimate.compute >= 16 + 8)
        #expect(throws: Refusal.self) { try header(builder).estimate(context: .max) }
    }
}
