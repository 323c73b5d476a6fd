import Foundation
import TestStage
import Testing

/// What `inspect` tells a person about a model before a byte of it is loaded.
@Suite struct InspectJourney {
    /// The header of a llama of four layers with one tensor.
    private func gguf() -> Data {
        func bytes(_ value: some FixedWidthInteger) -> Data { withUnsafeBytes(of: value.littleEndian) { Data($0) } }
        func text(_ text: String) -> Data { bytes(UInt64(text.utf8.count)) + Data(text.utf8) }
        let numbers: [(String, UInt32)] = [
            ("general.file_type", 1), ("llama.context_length", 8192), ("llama.embedding_length", 64), ("llama.block_count", 4),
            ("llama.attention.head_count", 8), ("llama.attention.head_count_kv", 2),
        ]
        var file = Data("GGUF".utf8) + bytes(UInt32(3)) + bytes(UInt64(1)) + bytes(UInt64(numbers.count + 1))
        file += text("general.architecture") + bytes(UInt32(8)) + text("llama")
        for (key, value) in numbers { file += text(key) + bytes(UInt32(4)) + bytes(value) }
        file += text("token_embd.weight") + bytes(UInt32(2)) + bytes(UInt64(64)) + bytes(UInt64(1000)) + bytes(UInt32(1))
        file += bytes(UInt64(0))
        file += Data(count: (32 - file.count % 32) % 32)
        return file + Data(repeating: 7, count: 64 * 1000 * 2)
    }

    @Test func `a model's architecture, parameters, context, sizes and estimate are shown`() async throws {
        let stage = try Stage()
        try stage.write("name: test/model\nversion: 1.0.0\nkind: gguf\nmodel: {weights: m.gguf}\n", to: "src/cargo.yaml")
        try gguf().write(to: URL(fileURLWithPath: stage.path("src/m.gguf")))
        let pack = try await stage.run("longshore", "pack", stage.path("src"), "-o", stage.path("m.cargo"))
        try #require(pack.code == 0, "\(pack.stderr)")
        let inspect = try await stage.run("longshore", "inspect", stage.path("m.cargo"))
        #expect(inspect.code == 0, "\(inspect.stderr)")
        for line in [
            "architecture llama", "parameters   64k (64000)", "quantization F16", "tensors      125.0 KiB",
            "trained for  8192 tokens", "context      4096 tokens", "signature    none",
        ] {
            #expect(inspect.text.contains(line + "\n"), "'\(line)' is missing in\n\(inspect.text)")
        }
        #expect(inspect.text.contains("\nestimate     ") && inspect.text.contains("weights 125.0 KiB, cache "))
        #expect(inspect.text.contains("\nmemory       "))
        let nothing = try await stage.run("longshore", "inspect", stage.path("absent.cargo"))
        #expect(nothing.code == 1 && nothing.stderr.contains("absent.cargo"), "\(nothing.stderr)")
    }
}
