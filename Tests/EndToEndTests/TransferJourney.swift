import Foundation
import TestStage
import Testing

/// A large cargo on its way from the registry to a host.
@Suite(.serialized) struct TransferJourney {
    let stage: Stage

    init() throws { stage = try Stage() }

    /// Publishes a cargo with 40 MiB that nothing can compress: three chunks of its table.
    private func publish(_ harbour: Harbour) async throws -> String {
        let source = try stage.cargo("test/large", script: "sha256sum < data.bin\n", yaml: "files: [main.sh, data.bin]\n")
        var generator = SystemRandomNumberGenerator()
        let words = (0..<(40 << 17)).map { _ in generator.next() }
        try words.withUnsafeBytes { Data($0) }.write(to: URL(fileURLWithPath: source + "/data.bin"))
        let archive = stage.path("large.cargo")
        let pack = try await stage.run("longshore", "pack", source, "--key", "test", "-o", archive)
        try #require(pack.code == 0, "\(pack.stderr)")
        let push = try await stage.run("longshore", "push", archive, "test/large:1.0.0")
        try #require(push.code == 0, "\(push.stderr)")
        return archive
    }

    /// Runs with the loader's trace; what was printed, and whether libcurl was loaded.
    private func traced(_ command: [String]) async throws -> (output: String, curl: Bool) {
        let trace = stage.path("trace-" + UUID().uuidString)
        let finished = try await stage.start(command, environment: ["LD_DEBUG": "files", "LD_DEBUG_OUTPUT": trace]).finish()
        #expect(finished.code == 0, "\(finished.stderr)")
        let folder = URL(fileURLWithPath: trace).deletingLastPathComponent()
        let name = URL(fileURLWithPath: trace).lastPathComponent
        let traces = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasPrefix(name) }
        let lines = try traces.map { try String(contentsOf: folder.appending(path: $0), encoding: .utf8) }.joined()
        return (finished.text, lines.contains("libcurl"))
    }

    @Test func `a large cargo is transferred and runs, and a local run loads no libcurl`() async throws {
        let harbour = try await Harbour.open(stage)
        let archive = try await publish(harbour)
        let local = try await traced(["cargo-run", archive])
        #expect(!local.curl)
        try FileManager.default.removeItem(atPath: stage.path("home"))
        let pulled = try await traced(["cargo-run", "test/large:1.0.0"])
        #expect(pulled.curl)
        #expect(pulled.output == local.output)
        #expect(try FileManager.default.contentsOfDirectory(atPath: stage.path("home/partial")) == [])
        await harbour.close()
    }

    @Test func `many hosts' runs of one uncached cargo share one transfer`() async throws {
        let harbour = try await Harbour.open(stage)
        _ = try await publish(harbour)
        let runs = try (0..<6).map { _ in try stage.start(["cargo-run", "test/large:1.0.0"]) }
        var outputs: Set<String> = []
        for run in runs {
            let finished = await run.finish()
            #expect(finished.code == 0, "\(finished.stderr)")
            outputs.insert(finished.text)
        }
        #expect(outputs.count == 1)
        #expect(try FileManager.default.contentsOfDirectory(atPath: stage.path("home/partial")) == [])
        await harbour.close()
    }
}
