import Foundation
import TestStage
import Testing

/// Rules of the house that no compiler checks.
@Suite struct HouseTests {
    /// RULES.md 8: what is pushed is stored and handed out as bytes. Of it the server reads JSON alone, bounded in size and
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
}
