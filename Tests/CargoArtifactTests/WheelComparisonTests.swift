import CargoArtifact
import Foundation
import Testing

/// The Python of the build folder, with the formats' own packages.
private enum Wheels {
    static let python = ".build/venv/bin/python"
    static let isInstalled: Bool = (try? run("import gguf, onnx")) != nil

    struct PythonFailed: Error { let status: Int32 }

    /// Runs a script with arguments; its output is one JSON object.
    @discardableResult static func run(_ script: String, _ arguments: [String] = []) throws -> Data {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: python)
        process.arguments = ["-c", script] + arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = FileHandle.nullDevice
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw PythonFailed(status: process.terminationStatus) }
        return output
    }
}

/// Our readers beside the formats' own Python packages, over files that those packages write.
@Suite(.enabled(if: Wheels.isInstalled, "needs .build/venv with gguf and onnx: run make setup"))
struct WheelComparisonTests {
    private func scratch() throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appending(path: "wheels-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        return folder
    }

    private func source(_ url: URL) throws -> MemoryBytes { MemoryBytes([UInt8](try Data(contentsOf: url))) }

    struct GGUFReport: Decodable {
        struct Tensor: Decodable, Equatable {
            var name: String
            var type: String
            var shape: [UInt64]
            var offset: UInt64
            var bytes: UInt64
        }
        var tensors: [Tensor]
        var keys: [String]
        var alignment: UInt64
    }

    static let writeGGUF = """
        import sys, json, numpy as np, gguf
        from gguf import GGMLQuantizationType as T
        folder, split = sys.argv[1], int(sys.argv[2])
        w = gguf.GGUFWriter(folder + "/m.gguf", "llama", split_max_tensors=split)
        w.add_context_length(2048); w.add_embedding_length(256); w.add_block_count(2); w.add_head_count(4)
        w.add_head_count_kv(2); w.add_file_type(17); w.add_chat_template("{{ x }}"); w.add_tokenizer_model("gpt2")
        w.add_token_list([f"t{i}" for i in range(50000)]); w.add_token_scores([0.5] * 50000)
        w.add_float64("x.double", 1.5); w.add_int8("x.small", -3); w.add_bool("x.yes", True)
        w.add_array("x.list", [1, 2, 3]); w.add_custom_alignment(64)
        rng = np.random.default_rng(1)
        for t in (T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q5_K, T.Q6_K, T.IQ4_XS, T.MXFP4, T.TQ1_0):
            rows = np.zeros(gguf.quant_shape_to_byte_shape((3, 256), t), dtype=np.uint8)
            if t == T.F32: w.add_tensor("w." + t.name, rng.random((3, 256), dtype=np.float32))
            elif t == T.F16: w.add_tensor("w." + t.name, rng.random((3, 256)).astype(np.float16))
            else: w.add_tensor("w." + t.name, rows, raw_dtype=t)
        w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
        if not split:
            r = gguf.GGUFReader(folder + "/m.gguf")
            print(json.dumps({"alignment": int(r.alignment), "keys": [k for k in r.fields if not k.startswith("GGUF.")],
              "tensors": [{"name": t.name, "type": t.tensor_type.name, "shape": [int(n) for n in t.shape],
              "offset": int(t.data_offset), "bytes": int(t.n_bytes)} for t in r.tensors]}))
        """

    @Test func ggufFilesReadAsTheirOwnPackageReadsThem() throws {
        let folder = try scratch()
        defer { try? FileManager.default.removeItem(at: folder) }
        let output = try Wheels.run(Self.writeGGUF, [folder.path, "0"])
        let report = try JSONDecoder().decode(GGUFReport.self, from: output)
        let header = try GGUFHeader(reading: source(folder.appending(path: "m.gguf")))
        let ours = header.tensors.map {
            GGUFReport.Tensor(
                name: $0.name, type: $0.type.name, shape: $0.dimensions, offset: header.dataOffset + $0.offset, bytes: $0.bytes)
        }
        #expect(ours == report.tensors)
        #expect(ours.count == 10)
        #expect(header.metadata.keys.sorted() == report.keys.sorted())
        #expect(header.alignment == 64 && report.alignment == 64)
        #expect(header.metadata["x.double"] == .float(1.5))
        #expect(header.metadata["x.small"] == .signed(-3))
        #expect(header.metadata["x.yes"] == .bool(true))
        #expect(header.metadata["tokenizer.ggml.tokens"]?.count == 50_000)
        let model = try GGUFModel(header)
        #expect(model.facts.quantization == "Q5_K_M")
        #expect(model.facts.headCountKV == 2)
        #expect(model.facts.chatTemplate == "{{ x }}")
    }

    @Test func splitFilesOfTheirOwnPackageAreOneModel() throws {
        let folder = try scratch()
        defer { try? FileManager.default.removeItem(at: folder) }
        try Wheels.run(Self.writeGGUF, [folder.path, "4"])
        let names = try GGUFModel.fileNames(of: "m-00001-of-00003.gguf")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == names)
        let model = try GGUFModel(names.map { try GGUFHeader(reading: source(folder.appending(path: $0))) })
        #expect(model.parameterCount == 10 * 3 * 256)
        #expect(model.contextLength == 2048)
    }

    @Test func blockSizesAreGgmls() throws {
        let script = """
            import json, gguf
            print(json.dumps({str(int(k)): [k.name, *v] for k, v in gguf.constants.GGML_QUANT_SIZES.items()}))
            """
        let output = try Wheels.run(script)
        let table = try #require(JSONSerialization.jsonObject(with: output) as? [String: [Any]])
        for (number, row) in table where number != "9" {  // ggml stores Q8_1 in 36 bytes; the package says 40
            let number = try #require(UInt32(number))
            let type = try #require(GGUFTensorType(number: number), "ggml type \(row)")
            #expect(type.name == row[0] as? String)
            #expect(Int(type.blockElements) == row[1] as? Int)
            #expect(Int(type.blockBytes) == row[2] as? Int)
        }
    }

    struct ONNXReport: Decodable {
        var ir: UInt64
        var opset: UInt64
        var names: [String]
        var elements: UInt64
        var inputs: [String]
        var outputs: [String]
        var nodes: Int
    }

    static let writeONNX = """
        import sys, json, numpy as np, onnx
        from onnx import helper as h, numpy_helper as nh, TensorProto as T
        folder = sys.argv[1]
        rng = np.random.default_rng(1)
        inits = [nh.from_array(rng.random((64, 32), dtype=np.float32), "w"), nh.from_array(np.arange(32, dtype=np.int64), "i"),
          h.make_tensor("f", T.FLOAT16, [3], [1.0, 2.0, 3.0]), h.make_tensor("q", T.INT4, [5], [1, 2, 3, 4, 5]),
          h.make_tensor("s", T.STRING, [2], [b"a", b"b"]), h.make_tensor("d", T.DOUBLE, [2], [1.0, 2.0]),
          nh.from_array(rng.random((8, 8)).astype(np.float16), "h"), h.make_tensor("z", T.FLOAT, [0], [])]
        then = h.make_graph([h.make_node("Identity", ["c"], ["t"])], "then", [], [h.make_tensor_value_info("t", T.FLOAT, [1])],
          [nh.from_array(np.ones(1, dtype=np.float32), "c")])
        nodes = [h.make_node("MatMul", ["x", "w"], ["y"]), h.make_node("If", ["b"], ["u"], then_branch=then, else_branch=then)]
        g = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, ["n", 64]), h.make_tensor_value_info("b", T.BOOL, []),
          h.make_tensor_value_info("w", T.FLOAT, [64, 32]), h.make_tensor_sequence_value_info("l", T.FLOAT, None)],
          [h.make_tensor_value_info("y", T.FLOAT, ["n", 32])], inits)
        m = h.make_model(g, producer_name="wheel", opset_imports=[h.make_opsetid("", 21), h.make_opsetid("com.x", 1)])
        onnx.save(m, folder + "/m.onnx")
        onnx.save(m, folder + "/e.onnx", save_as_external_data=True, all_tensors_to_one_file=True, location="e.data", size_threshold=0)
        m = onnx.load(folder + "/m.onnx")
        all = list(m.graph.initializer) + [t for n in m.graph.node for a in n.attribute for t in a.g.initializer]
        print(json.dumps({"ir": m.ir_version, "opset": m.opset_import[0].version, "names": sorted(t.name for t in all),
          "elements": sum(int(np.prod(t.dims)) for t in all), "nodes": 4,
          "inputs": [i.name for i in m.graph.input if i.name != "w"], "outputs": [o.name for o in m.graph.output]}))
        """

    @Test func onnxFilesReadAsTheirOwnPackageReadsThem() throws {
        let folder = try scratch()
        defer { try? FileManager.default.removeItem(at: folder) }
        let output = try Wheels.run(Self.writeONNX, [folder.path])
        let report = try JSONDecoder().decode(ONNXReport.self, from: output)
        for file in ["m.onnx", "e.onnx"] {
            let header = try ONNXHeader(reading: source(folder.appending(path: file)))
            #expect(header.irVersion == report.ir)
            #expect(header.opset == report.opset)
            #expect(header.operatorSets["com.x"] == 1)
            #expect(header.producer == "wheel")
            #expect(header.tensors.map(\.name).sorted() == report.names)
            #expect(header.parameterCount == report.elements)
            #expect(header.inputs.map(\.name) == report.inputs)
            #expect(header.outputs.map(\.name) == report.outputs)
            #expect(header.nodeCount == report.nodes)
            #expect(header.inputs.first?.shape == [.symbol("n"), .size(64)])
            #expect(header.facts.quantization == "FLOAT")
        }
        let external = try ONNXHeader(reading: source(folder.appending(path: "e.onnx"))).externalFiles
        #expect(external.map(\.location) == ["e.data"])
        let size = try FileManager.default.attributesOfItem(atPath: folder.appending(path: "e.data").path)[.size] as? UInt64
        #expect(external.first?.leastBytes == size)
    }
}
