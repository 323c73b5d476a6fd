import Foundation
import TestStage
import Testing

/// Rules of the house that no compiler checks.
@Suite struct HouseTests {
    /// docs/rules.md 8: what is pushed is stored and handed out as bytes. Of it the server reads JSON alone, bounded in size and
    /// depth, in memory-safe code; whoever adds a reader of models or archives there runs it in a confined child.
    @Test func `the server parses no model and no archive of what is pushed`() throws {
        let readers = ["TreeUnpacker", "GGUF", "ONNX", "CArchive", "archive_read", "CargoArchive(", "unpackImage", ".ingest("]
        var files = 0
        for room in ["CargoRegistry", "CargoGateway", "CargoCoordinator", "CargoQueue", "CargoWebhooks", "longshore-coordinator"]
        {
            let folder = Stage.repository.appending(path: "Sources/" + room)
            for file in try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            where file.pathExtension == "swift" {
                files += 1
                let text = try String(contentsOf: file, encoding: .utf8)
                for line in text.split(separator: "\n") where !line.trimmingPrefix(while: \.isWhitespace).hasPrefix("//") {
                    for reader in readers where line.contains(reader) {
                        Issue.record("\(room)/\(file.lastPathComponent) reads pushed content with \(reader): \(line)")
                    }
                }
            }
        }
        #expect(files > 30)
    }

    /// docs/rules.md 26: a Python engine runs wheels whose bytes were chosen once.
    @Test func `wheels of engines are locked by hash`() throws {
        let engines = Stage.repository.appending(path: "cargos/engines")
        var wheels = 0
        for engine in try FileManager.default.contentsOfDirectory(at: engines, includingPropertiesForKeys: nil) {
            let file = engine.appending(path: "requirements.txt")
            guard let text = try? String(contentsOf: file, encoding: .utf8) else { continue }
            for wheel in text.replacing("\\\n", with: " ").split(separator: "\n") where !wheel.hasPrefix("#") {
                wheels += 1
                #expect(wheel.contains("==") && wheel.contains("--hash=sha256:"), "\(engine.lastPathComponent): \(wheel)")
            }
        }
        #expect(wheels > 3)
    }

    @Test func `every test that the rules name is there`() throws {
        let rules = try String(contentsOf: Stage.repository.appending(path: "docs/rules.md"), encoding: .utf8)
        let tests = Stage.repository.appending(path: "Tests")
        let files = try #require(FileManager.default.enumerator(at: tests, includingPropertiesForKeys: nil))
        let code = try files.compactMap { $0 as? URL }.filter { $0.pathExtension == "swift" }
            .map { try String(contentsOf: $0, encoding: .utf8) }.joined(separator: "\n")
        let rows = rules.split(separator: "\n").filter { $0.wholeMatch(of: /\| \d+ \|.*/) != nil }
        #expect(rows.count == 27)
        for row in rows {
            let named = row.matches(of: /`(\w+)\/([^`]+)`/)
            #expect(!named.isEmpty, "\(row.prefix(8))")
            for test in named {
                #expect(code.contains("struct \(test.1) {") || code.contains("func \(test.1)("), "\(test.0): no such suite")
                #expect(code.contains("func `\(test.2)`(") || code.contains("func \(test.2)("), "\(test.0): no such test")
            }
        }
    }
}
